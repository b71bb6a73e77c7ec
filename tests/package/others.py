"""What both packages say, once, of other units that are enabled: packaging/other-units."""

from __future__ import annotations

from pathlib import Path

from tests.package.scratch import Scratch


def check(scratch: Scratch, package: Path, install: str, remove: str) -> None:
    """Install in a copy of this system with and without such units; `install PACKAGE` and `remove` are commands.

    Debian enables o2cb and ocfs2 wherever they are installed: without a cluster they are not worth a word.
    """
    scratch.run(
        f"""
        for unit in drbd o2cb ocfs2; do
            printf '[Service]\\nExecStart=/bin/true\\n[Install]\\nWantedBy=multi-user.target\\n' \\
                >/etc/systemd/system/$unit.service
        done
        systemctl.real --root=/ disable drbd.service
        systemctl.real --root=/ enable o2cb.service ocfs2.service
        rm -f /etc/ocfs2/cluster.conf
        {install} /scratch/{package.name} >/scratch/quiet 2>&1
        {remove}

        mkdir -p /etc/ocfs2
        : >/etc/ocfs2/cluster.conf
        systemctl.real --root=/ enable drbd.service
        ln -s /lib/systemd/system/drbd@.target /etc/systemd/system/multi-user.target.wants/drbd@r0.target
        others() {{ find /etc/systemd /etc/rc?.d ! -name drbdocfs.target ! -name multi-user.target.wants | sort; }}
        others >/tmp/before
        {install} /scratch/{package.name} >/scratch/first 2>&1
        {install} /scratch/{package.name} >/scratch/upgrade 2>&1
        others | diff /tmp/before -
        """,
        package,
    )
    said = {name: (scratch.shared / name).read_text(encoding="utf-8") for name in ("quiet", "first", "upgrade")}
    assert "left as it is: drbd.service o2cb.service ocfs2.service drbd@r0.target\n" in said["first"], said
    assert "'drbdocfs import'" in said["first"]
    assert "left as it is" not in said["quiet"] + said["upgrade"], said
