"""The guide's set-up as a tree of files, for the tests of the import."""

from __future__ import annotations

import os
from pathlib import Path

RESOURCE = """\
resource r0 {
	meta-disk internal;
	device /dev/drbd0;
	disk /dev/loop7;

	syncer { rate 1000M; }
        net {
                allow-two-primaries;
                after-sb-0pri discard-zero-changes;
        }
	startup { become-primary-on both; }

	on server1 { address 10.181.76.0:7789; }
	on server2 { address 10.181.76.1:7789; }
}
"""
CLUSTER = """\
cluster:
	node_count = 2
	name = web

node:
	ip_port = 7777
	ip_address = 10.181.76.0
	number = 1
	name = server1
	cluster = web

node:
	ip_port = 7777
	ip_address = 10.181.76.1
	number = 2
	name = server2
	cluster = web
"""
# As the guide's script did its work; its own text is not to be had any more.
LOOP_SCRIPT = """\
#!/bin/bash
#
# chkconfig: 2345 20 80
# description: loop device for DRBD
### BEGIN INIT INFO
# Provides: loop-for-drbd
# Required-Start: $local_fs
# Required-Stop: $local_fs
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
# Short-Description: loop device for DRBD
### END INIT INFO

DEVICE=/dev/loop7
FILE="/drbd-loop.img"

start() {
    echo -n "Setting up $DEVICE: "
    if losetup $DEVICE >/dev/null 2>&1; then
        echo "there already"
        return 0
    fi
    modprobe loop
    losetup $DEVICE ${FILE} && echo OK
}

stop() {
    losetup -d $DEVICE
}

case "$1" in
    start) start ;;
    stop) stop ;;
    restart) stop; start ;;
    *) echo "Usage: $0 {start|stop|restart}"; exit 1 ;;
esac
"""
RC_LOCAL = "#!/bin/sh\n# by hand\ntouch /var/lock/subsys/local\nmount /dev/drbd0\nexit 0\n"
FSTAB = "/dev/vda  /  ext4  errors=remount-ro  0 1\n/dev/drbd0  /mnt/storage  ocfs2  noauto,noatime  0 0\n"
NEW = """\
# Written by 'drbdocfs import' on DATE from the old boot set-up.
# Reference of all keys: drbdocfs.conf(5).

[web]
resource      = r0                      # /etc/drbd.d/r0.res:1
device        = /dev/drbd0              # /etc/drbd.d/r0.res:3
backing_file  = /drbd-loop.img          # /etc/init.d/loop-for-drbd:24
loop_device   = /dev/loop7              # /etc/drbd.d/r0.res:4
cluster       = web                     # /etc/ocfs2/cluster.conf:1
mountpoint    = /mnt/storage            # /etc/fstab:2
"""

# Run by the installed command's Python: an import that ends after so many steps, as if the power had gone.
CUT = """\
import os
import sys

sys.path.insert(0, "/usr/share/drbdocfs-boot")

from drbdocfs_boot.cli import main
from drbdocfs_boot.tools import changes

real, left = changes._do, [int(sys.argv[1])]


def do(one, step):
    if not left[0]:
        sys.stdout.flush()
        os._exit(0)
    left[0] -= 1
    real(one, step)


changes._do = do
assert main(["import", "--write"]) == 0
assert left == [0]
"""


class Host:
    """A root directory that is filled file by file."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        path.chmod(mode)

    def link(self, name: str, target: str) -> None:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def remove(self, name: str) -> None:
        (self.root / name.lstrip("/")).unlink()

    def text(self, name: str) -> str:
        path = self.root / name.lstrip("/")
        return path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else ""

    def tree(self, without: str = "/var/lib/drbdocfs") -> dict[str, str]:
        """Each name with its kind, mode, and content or target."""
        found = {}
        for directory, names, files in os.walk(self.root):
            for name in names + files:
                path = Path(directory) / name
                short = str(path)[len(str(self.root)) :]
                if short == without or short.startswith(without + "/") or short in ("/var/lib", "/var"):
                    continue
                if path.is_symlink():
                    found[short] = f"link {os.readlink(path)}"
                else:
                    mode = path.stat().st_mode
                    content = path.read_bytes() if path.is_file() else b""
                    found[short] = f"{mode:o} {content!r}"
        return found


def guide(root: Path) -> Host:
    """The guide's set-up on a Debian host: everything at boot by init scripts and rc.local."""
    host = Host(root)
    host.put("/etc/hostname", "server1\n")
    host.put("/etc/drbd.conf", 'include "drbd.d/global_common.conf";\ninclude "drbd.d/*.res";\n')
    host.put("/etc/drbd.d/global_common.conf", "global {\n\tusage-count no;\n}\n")
    host.put("/etc/drbd.d/r0.res", RESOURCE)
    host.put("/etc/ocfs2/cluster.conf", CLUSTER)
    host.put("/etc/default/o2cb", "O2CB_ENABLED=true\nO2CB_BOOTCLUSTER=web\n")
    host.put("/etc/fstab", FSTAB)
    host.put("/etc/rc.local", RC_LOCAL, 0o755)
    host.put("/etc/init.d/loop-for-drbd", LOOP_SCRIPT, 0o755)
    for name in ("drbd", "o2cb", "ocfs2", "ssh"):
        host.put(f"/etc/init.d/{name}", "#!/bin/sh\necho distribution\n", 0o755)
    for level in "2345":
        for number, name in (("01", "loop-for-drbd"), ("02", "drbd"), ("01", "o2cb"), ("03", "ocfs2"), ("01", "ssh")):
            host.link(f"/etc/rc{level}.d/S{number}{name}", f"../init.d/{name}")
    for level in "016":
        for name in ("loop-for-drbd", "drbd"):
            host.link(f"/etc/rc{level}.d/K01{name}", f"../init.d/{name}")
    host.link("/etc/systemd/system/multi-user.target.wants/drbd.service", "/lib/systemd/system/drbd.service")
    host.link("/etc/systemd/system/multi-user.target.wants/ssh.service", "/lib/systemd/system/ssh.service")
    return host
