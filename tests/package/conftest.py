"""Where the packages are that `make deb` and `make rpm` have built, and a throw-away system to install them in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.package.scratch import TOP, Scratch


def _only(pattern: str, target: str) -> Path:
    found = sorted((TOP / "dist").glob(pattern))
    assert len(found) == 1, f"dist/ has {len(found)} files {pattern}; run 'make {target}'"
    return found[0]


@pytest.fixture(scope="session")
def deb() -> Path:
    """The DEB in dist/."""
    return _only("*.deb", "deb")


@pytest.fixture(scope="session")
def rpm() -> Path:
    """The RPM in dist/."""
    return _only("*.rpm", "rpm")


@pytest.fixture(scope="session")
def unpacked(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The DEB's files."""
    target = tmp_path_factory.mktemp("deb")
    subprocess.run(["dpkg-deb", "--extract", str(deb), str(target)], check=True, timeout=60)
    return target


@pytest.fixture(scope="session")
def control(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The DEB's control files and maintainer scripts."""
    target = tmp_path_factory.mktemp("control")
    subprocess.run(["dpkg-deb", "--control", str(deb), str(target)], check=True, timeout=60)
    return target


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    """This machine's system, changes to which are lost."""
    if os.geteuid() != 0:
        pytest.skip("installing a package, even into a throw-away system, needs root")
    return Scratch(tmp_path)
