"""Boot-time stack of loop device, dual-primary DRBD, O2CB and OCFS2 as ordered systemd units."""

__version__ = "0.1.0"

# The configuration.  Here, because the generator looks whether there is one before it imports anything else.
DIRECTORY = "/etc/drbdocfs"
MAIN_FILE = DIRECTORY + "/drbdocfs.conf"
MORE_FILES = DIRECTORY + "/conf.d"
