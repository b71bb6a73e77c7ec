"""Options and fixtures of the tests on two virtual machines."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from . import arguments
from .image import Image
from .image import image as make_image
from .lab import Lab, LabError, say


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lab", "two virtual machines")
    arguments.add(group.addoption)
    group.addoption("--deb", type=Path, help="the package to install (default: the newest in dist/)")


# The stories that take longest, which begin first: at the end of a run no worker is busy alone for long. The rest
# follows in the order of its files.
LONGEST = ("TestFromInstallationToPowerCut", "TestWithoutThePeer", "TestTheLink", "TestByThePowerSwitch", "TestOnAPair",
           "TestByHostAndByWitness", "TestFromNothing", "test_examples")  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Newer versions of xdist would put the stories with the most tests first instead, however short these are."""
    config.option.loadscopereorder = False


def place(nodeid: str) -> int:
    """Of a test in the order of the stories."""
    return next((number for number, story in enumerate(LONGEST) if story in nodeid), len(LONGEST))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of other folders have none of these names, and stay before or behind as they are."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    ordered = iter(sorted(here, key=lambda item: place(item.nodeid)))
    items[:] = [next(ordered) if Path(__file__).parent in item.path.parents else item for item in items]


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> Image:
    return make_image(request.config.getoption("--release"), request.config.getoption("--extra-modules"), say)


@pytest.fixture(scope="session")
def deb(request: pytest.FixtureRequest) -> Path:
    return arguments.find_deb(request.config.getoption("--deb"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the state of both nodes with any failure; the lab's own exceptions hold it already."""
    report = yield
    if report.failed and call.excinfo is not None and not call.excinfo.errisinstance(LabError):
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Lab):
                report.sections.append(("the nodes", value.report(f"{item.name} failed")))
    return report
