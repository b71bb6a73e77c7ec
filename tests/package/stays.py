"""What both packages say, when they are removed, of what stays behind: packaging/what-stays."""

from __future__ import annotations

from pathlib import Path

from tests.package.scratch import Scratch

# Two stacks whose targets are off: one mounted, one attached.
_SYSTEMCTL = """\
#!/bin/sh
[ "$1" = list-units ] || exit 0
for pattern; do :; done
for unit in promote@web attach@db attach@web o2cb@pair; do
    case drbdocfs-$unit.service in
        $pattern) echo "drbdocfs-$unit.service loaded active exited Words about it" ;;
    esac
done
"""


def check_layers(scratch: Scratch, package: Path, install: str, remove: str) -> None:
    """Remove it in a copy of this system while stacks are up whose targets are not; `remove` is a command."""
    (scratch.shared / "up").write_text(_SYSTEMCTL, encoding="utf-8")
    scratch.run(
        f"""
        {install} /scratch/{package.name}
        cp /scratch/up /usr/bin/systemctl
        {remove} >/scratch/said 2>&1
        printf '#!/bin/sh\\n' >/usr/bin/systemctl
        {install} /scratch/{package.name}
        {remove} >/scratch/quiet 2>&1
        """,
        package,
    )
    said = (scratch.shared / "said").read_text(encoding="utf-8")
    assert "drbdocfs-boot: these stacks stay Primary, and mounted where they are mounted: web\n" in said, said
    assert "drbdocfs-boot: DRBD stays up for these stacks: db web\n" in said, said
    assert "drbdocfs-boot: these O2CB clusters stay online: pair\n" in said, said
    assert "unmount them before, or install it again and 'drbdocfs stop'.\n" in said, said
    quiet = (scratch.shared / "quiet").read_text(encoding="utf-8")
    assert "stay" not in quiet, quiet


_RESOURCE = """\
resource r0 {
    net { fencing resource-and-stonith; }
    handlers { fence-peer "/usr/libexec/drbdocfs-boot/fence-peer"; }
}
"""


def check_handler(scratch: Scratch, package: Path, install: str, remove: str) -> None:
    """Remove it while files of DRBD's name its fence-peer handler."""
    (scratch.shared / "r0.res").write_text(_RESOURCE, encoding="utf-8")
    scratch.run(
        f"""
        mkdir -p /etc/drbd.d
        cp /scratch/r0.res /etc/drbd.d/r0.res
        cp /scratch/r0.res '/etc/drbd.d/second one.res'
        sed 's/^/# /' /scratch/r0.res >/etc/drbd.d/old.res
        {install} /scratch/{package.name}
        {remove} >/scratch/said 2>&1
        rm /etc/drbd.d/r0.res '/etc/drbd.d/second one.res'
        {install} /scratch/{package.name}
        {remove} >/scratch/quiet 2>&1
        """,
        package,
    )
    said = (scratch.shared / "said").read_text(encoding="utf-8")
    assert "these files still name it: /etc/drbd.d/r0.res /etc/drbd.d/second one.res\n" in said, said
    assert "'fence-peer' and 'fencing'" in said, said
    assert "'drbdadm adjust'" in said, said
    quiet = (scratch.shared / "quiet").read_text(encoding="utf-8")
    assert "fence-peer" not in quiet, quiet
