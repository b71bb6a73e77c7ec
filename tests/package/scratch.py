"""A throw-away copy of the running system: an overlay in a mount namespace, with a systemctl that keeps a record."""

from __future__ import annotations

import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]

_UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--net", "--ipc", "--propagation", "private")

# $1 is an empty directory, $2 the script to run inside; files beside the script are found in /scratch.
_OUTSIDE = """\
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mkdir -p proc dev run tmp scratch
mount -t proc proc proc
mount --bind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount --bind "$2" scratch
mkdir -p run/systemd/system
mv usr/bin/systemctl usr/bin/systemctl.real
cp scratch/systemctl usr/bin/systemctl
chmod 755 usr/bin/systemctl
exec chroot . sh -eux /scratch/script
"""

# Enabling works on files alone; all else would speak to the machine's own systemd. What only asks is not recorded.
_SYSTEMCTL = """\
#!/bin/sh
case " $* " in
    *" is-enabled "*) SYSTEMD_OFFLINE=1 exec systemctl.real "$@" ;;
    *" is-active "*) exit 3 ;;
    *" list-units "*) exit 0 ;;
esac
echo "$*" >>/scratch/systemctl.log
case " $* " in
    *" preset "* | *" disable "*) SYSTEMD_OFFLINE=1 exec systemctl.real "$@" ;;
esac
"""


def output(command: list[str], *, timeout: float, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """What a command says in `timeout` seconds; raises AssertionError with it when the command fails."""
    done = subprocess.run(
        command,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


class Scratch:
    """Runs scripts in the copy; each run begins with a fresh one."""

    def __init__(self, directory: Path) -> None:
        self.overlay = directory / "overlay"
        self.shared = directory / "shared"
        self.overlay.mkdir()
        self.shared.mkdir()
        (self.shared / "systemctl").write_text(_SYSTEMCTL, encoding="utf-8")

    def run(self, script: str, *files: Path) -> str:
        """Run a shell script, with copies of the files in /scratch; returns its output.

        Raises AssertionError with the output when the script fails.
        """
        for file in files:
            (self.shared / file.name).write_bytes(file.read_bytes())
        (self.shared / "script").write_text(script, encoding="utf-8")
        return output(
            [*_UNSHARE, "sh", "-c", _OUTSIDE, "sh", str(self.overlay), str(self.shared)],
            timeout=300,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        )

    def systemctl(self) -> list[str]:
        """Arguments of every call of systemctl that the packages made."""
        log = self.shared / "systemctl.log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []
