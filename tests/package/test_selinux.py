"""The SELinux module: it compiles against a distribution's policy headers, and has the rules that docs/rpm.md says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from drbdocfs_boot import creating
from tests.package.scratch import TOP

MAKEFILE = Path("/usr/share/selinux/devel/Makefile")


@pytest.fixture(scope="module")
def cil(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The compiled module, as the text that the policy is linked of."""
    directory = tmp_path_factory.mktemp("selinux")
    for source in (TOP / "packaging/selinux").iterdir():
        shutil.copy(source, directory)
    subprocess.run(
        ["make", "-f", str(MAKEFILE), "NAME=targeted", "drbdocfs.pp"],
        cwd=directory,
        check=True,
        timeout=300,
        stdout=subprocess.DEVNULL,
    )
    command = ["/usr/libexec/selinux/hll/pp", "drbdocfs.pp"]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("domain", ["drbd_t", "kernel_generic_helper_t"])
def test_the_handler_leaves_the_domain_of_drbdadm(cil: str, domain: str) -> None:
    assert f"(typetransition {domain} drbdocfs_fence_exec_t process drbdocfs_fence_t)" in cil
    assert f"(allow {domain} drbdocfs_fence_t (process (transition)))" in cil
    assert "(allow drbdocfs_fence_t drbdocfs_fence_exec_t (file (entrypoint)))" in cil


def test_the_handler_and_nothing_else_is_labelled(cil: str) -> None:
    labels = [line for line in cil.splitlines() if line.startswith("(filecon")]
    wanted = f'(filecon "{creating.HANDLER}" file (system_u object_r drbdocfs_fence_exec_t ((s0) (s0))))'
    assert labels == [wanted]
