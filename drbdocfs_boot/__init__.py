"""Boot-time stack of loop device, dual-primary DRBD, O2CB and OCFS2 as ordered systemd units."""

__version__ = "0.1.0"
