"""The RPM as it is built on Debian: its scriptlets. What is in it, and other distributions': test_same.py."""

from __future__ import annotations

from pathlib import Path

from tests.package import others, stays
from tests.package.scratch import Scratch
from tests.package.test_deb import TRY_RESTART


def test_install_and_erase(scratch: Scratch, rpm: Path) -> None:
    scratch.run(
        f"""
        rm -f /usr/sbin/policy-rc.d  # a container's, which forbids all services
        rpm --install --nodeps /scratch/{rpm.name}
        test -e /etc/systemd/system/multi-user.target.wants/drbdocfs.target
        ls /usr/share/drbdocfs-boot/drbdocfs_boot/__pycache__/generator.*.pyc
        cp /scratch/systemctl.log /scratch/install.log; : >/scratch/systemctl.log
        echo '[web]' >/etc/drbdocfs/drbdocfs.conf
        mkdir /run/drbdocfs
        : >/run/drbdocfs/web.attach
        rpm --upgrade --replacepkgs --nodeps /scratch/{rpm.name}
        cp /scratch/systemctl.log /scratch/again.log; : >/scratch/systemctl.log
        rpm --erase --nodeps drbdocfs-boot
        test ! -e /etc/systemd/system/multi-user.target.wants/drbdocfs.target
        test ! -e /usr/share/drbdocfs-boot
        test ! -e /usr/libexec/drbdocfs-boot
        test "$(cat /etc/drbdocfs/drbdocfs.conf)" = '[web]'
        """,
        rpm,
    )
    install = (scratch.shared / "install.log").read_text(encoding="utf-8").splitlines()
    assert install == ["--no-reload preset drbdocfs.target", "daemon-reload", TRY_RESTART]
    again = (scratch.shared / "again.log").read_text(encoding="utf-8").splitlines()
    assert again == ["daemon-reload", "daemon-reload", TRY_RESTART, TRY_RESTART.replace("try-restart", "start")]
    erase = scratch.systemctl()
    assert erase == [
        "--no-reload disable drbdocfs.target",
        "stop drbdocfs-follow.service",
        "daemon-reload",
    ]


def test_the_first_installation_says_what_else_is_enabled_and_leaves_it(scratch: Scratch, rpm: Path) -> None:
    others.check(scratch, rpm, "rpm --nodeps --upgrade --replacepkgs", "rpm --nodeps --erase drbdocfs-boot")


def test_removal_says_what_stays_mounted(scratch: Scratch, rpm: Path) -> None:
    stays.check_layers(scratch, rpm, "rpm --nodeps --install", "rpm --nodeps --erase drbdocfs-boot")


def test_removal_names_the_files_that_have_its_handler(scratch: Scratch, rpm: Path) -> None:
    stays.check_handler(scratch, rpm, "rpm --nodeps --install", "rpm --nodeps --erase drbdocfs-boot")
