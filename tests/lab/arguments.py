"""What can be chosen about a lab, alike for the demo, for trying things by hand and for pytest."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from .apt import SUITES


class _Adds(Protocol):
    """argparse's parsers, and pytest's groups of options."""

    def __call__(self, *names: str, **keywords: Any) -> Any: ...


def add(add_option: _Adds) -> None:
    """Add --release and --extra-modules by calling `add_option` as argparse's add_argument is called."""
    add_option("--release", choices=sorted(SUITES), default="12", help="the Debian release of the nodes (%(default)s)")
    add_option(
        "--extra-modules",
        type=Path,
        metavar="DIR",
        help="a folder of kernel modules to put in the nodes' image, where modprobe prefers them to Debian's own",
    )


def find_deb(given: Path | None) -> Path:
    """The package to install: the one given, or the newest in dist/; raises FileNotFoundError."""
    return _find(given, "drbdocfs-boot_*_all.deb", "make deb")


def find_rpm(given: Path | None) -> Path:
    """The RPM, likewise."""
    return _find(given, "drbdocfs-boot-*.noarch.rpm", "make rpm")


def _find(given: Path | None, pattern: str, command: str) -> Path:
    if given is not None:
        if not given.is_file():
            raise FileNotFoundError(f"{given}: no such package")
        return given
    dist = Path(__file__).resolve().parents[2] / "dist"
    built = sorted(dist.glob(pattern), key=lambda path: path.stat().st_mtime)
    if not built:
        raise FileNotFoundError(f"no package in {dist}: run `{command}` first")
    return built[-1]
