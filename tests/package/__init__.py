"""The built packages: what is in them, and what they do to a system."""
