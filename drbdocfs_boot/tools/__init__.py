"""The edge to the system: one small module per tool.  Everything here runs in the boot path (standard library only)."""
