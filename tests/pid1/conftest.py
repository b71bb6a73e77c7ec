"""A session of machines with the built package installed.

Environment: DRBDOCFS_PID1_BOOTS (how many boots with random failures, 100), DRBDOCFS_STANDIN_SEED (the first one's
seed, 1; a failed boot is repeated with its seed and one boot), DRBDOCFS_PID1_RELEASE (Debian release, 12).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pid1 import world
from tests.pid1.container import Machine, Session, base_root, machine

# Patterns of the units that an installation must not have started.
OURS = ("*drbdocfs*", "mnt-*")
TOP = Path(__file__).resolve().parents[2]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add to a failed test's report what its machine has said."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed and report.when == "call":
        found = getattr(item, "funcargs", {}).get("node")
        if isinstance(found, Machine):
            report.sections.append(("the machine", found.diagnosis()))


@pytest.fixture(scope="session")
def deb() -> Path:
    """The newest package in dist/."""
    found = sorted((TOP / "dist").glob("*.deb"), key=lambda path: path.stat().st_mtime)
    if not found:
        pytest.fail("there is no dist/*.deb: run 'make deb'")
    return found[-1]


@pytest.fixture(scope="session")
def session() -> Iterator[Session]:
    """The namespace of all machines, over Debian 12 or the release in DRBDOCFS_PID1_RELEASE."""
    if os.geteuid() != 0:
        pytest.skip("namespaces with mounts need root")
    found = Session(base_root(os.environ.get("DRBDOCFS_PID1_RELEASE", "12")))
    try:
        yield found
    finally:
        found.close()


@dataclass
class Installation:
    """What was seen on a running machine when the package was installed on it."""

    output: str
    enabled: str
    active: str
    calls: list[world.Call]


@pytest.fixture(scope="session")
def installation(session: Session, deb: Path) -> Installation:
    """The package, installed on a running machine; every later machine of the session has it."""
    with machine(session) as first:
        world.furnish(first)
        world.configure(first, world.stack("web"))
        first.boot()
        world.forget(first)
        (first.root / "root/drbdocfs-boot.deb").write_bytes(deb.read_bytes())
        output = first.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "-i", "/root/drbdocfs-boot.deb", limit=60)
        found = Installation(
            output,
            first.systemctl("is-enabled", "drbdocfs.target"),
            first.systemctl("list-units", "--plain", "--no-legend", "--state=active,activating,failed", *OURS),
            world.calls(first),
        )
        first.poweroff()
        world.forget(first)
        for name in ("root/drbdocfs-boot.deb", "etc/drbdocfs/drbdocfs.conf"):
            (first.root / name).unlink()
        first.leave_as_layer()
    return found


@pytest.fixture
def node(session: Session, installation: Installation) -> Iterator[Machine]:
    """A machine with the package and without a configuration, off."""
    with machine(session) as made:
        yield made
