"""The RPM: the DEB's files, its own scriptlets. Dependencies cannot be tried here: no RPM distribution is at hand."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.package.scratch import Scratch


def _query(rpm: Path, *options: str) -> list[str]:
    command = ["rpm", "--query", "--package", *options, str(rpm)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()


def test_it_has_the_debs_files_and_modes(rpm: Path, deb: Path) -> None:
    ours = {}
    for line in _query(rpm, "--queryformat", r"[%{FILENAMES}\t%{FILEMODES:perms}\t%{FILEUSERNAME}/%{FILEGROUPNAME}\n]"):
        name, mode, owner = line.split("\t")
        ours[name] = (mode, owner)
    theirs = {}
    listing = subprocess.run(["dpkg-deb", "--contents", str(deb)], check=True, capture_output=True, text=True)
    for line in listing.stdout.splitlines():
        mode, owner, _size, _day, _time, name = line.partition(" -> ")[0].split(None, 5)
        theirs[re.sub(r"^/lib/", "/usr/lib/", name[1:].rstrip("/"))] = (mode, owner)

    def product(files: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
        """Without the directories of the system and what each kind of package has for itself."""
        lone = re.compile(r"/usr/share/(licenses/|lintian/|python3/|doc/drbdocfs-boot/(changelog|copyright))")
        # Whether manual pages are compressed is the distribution's affair, and where zsh looks for completions.
        return {
            re.sub(r"\.gz$", "", name).replace("/zsh/vendor-completions/", "/zsh/site-functions/"): value
            for name, value in files.items()
            if "drbdocfs" in name and not lone.match(name)
        }

    assert product(ours) == product(theirs)
    assert len(product(ours)) > 30


def test_dependencies(rpm: Path) -> None:
    required = {line.split(" ")[0] for line in _query(rpm, "--requires")}
    assert {"python3", "python3-configobj", "python3-pystemd"} <= required
    assert {"drbd-utils", "ocfs2-tools", "kmod", "systemd", "util-linux"} <= required
    # One package for every Python: no "python(abi) = 3.x".
    assert "python(abi)" not in required
    assert _query(rpm, "--queryformat", "%{ARCH}") == ["noarch"]


def test_install_and_erase(scratch: Scratch, rpm: Path) -> None:
    scratch.run(
        f"""
        rpm --install --nodeps /scratch/{rpm.name}
        test -e /etc/systemd/system/multi-user.target.wants/drbdocfs.target
        ls /usr/share/drbdocfs-boot/drbdocfs_boot/__pycache__/generator.*.pyc
        cp /scratch/systemctl.log /scratch/install.log; : >/scratch/systemctl.log
        echo '[web]' >/etc/drbdocfs/drbdocfs.conf
        rpm --erase --nodeps drbdocfs-boot
        test ! -e /etc/systemd/system/multi-user.target.wants/drbdocfs.target
        test ! -e /usr/share/drbdocfs-boot
        test ! -e /usr/libexec/drbdocfs-boot
        test "$(cat /etc/drbdocfs/drbdocfs.conf)" = '[web]'
        """,
        rpm,
    )
    install = (scratch.shared / "install.log").read_text(encoding="utf-8").splitlines()
    # Not running, so try-restart does nothing.
    assert install == ["--no-reload preset drbdocfs.target", "daemon-reload", "try-restart drbdocfs-follow.service"]
    erase = [call for call in scratch.systemctl() if "list-units" not in call]
    assert erase == [
        "--no-reload disable drbdocfs.target",
        "stop drbdocfs-follow.service",
        "daemon-reload",
    ]
