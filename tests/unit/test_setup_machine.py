"""packaging/setup-machine with stand-ins for the tools that ask for packages and install them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent

LOCKED = (
    "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)\n"
    "E: Unable to lock directory /var/lib/apt/lists/"
)
# The clock goes on only while something sleeps; apt gets the lock of the lists at the second in $WORK/locked.
TOOLS = {
    "apt-get": f"""
        echo "$*" >>"$WORK/log"
        case " $* " in
            *" update "*)
                if [ -e "$WORK/offline" ]; then echo 'E: Temporary failure resolving' >&2; exit 100; fi
                [ "$(cat "$WORK/clock")" -ge "$(cat "$WORK/locked")" ] || {{ echo "{LOCKED}" >&2; exit 100; }}
                ;;
            *" install "*)
                if [ -e "$WORK/unknown" ]; then echo 'E: Unable to locate package' >&2; exit 100; fi
                ;;
        esac""",
    "apt-cache": 'for name; do :; done; grep -qx "$name" "$WORK/known"',
    "dpkg-query": 'for name; do :; done; if grep -qx "$name" "$WORK/missing"; then exit 1; fi; printf installed',
    "pkg-config": '[ -e "$WORK/$2.pc" ]',
    "id": "echo 0",
    "date": 'cat "$WORK/clock"',
    "sleep": 'echo $(($(cat "$WORK/clock") + $1)) >"$WORK/clock"',
}


class Machine:
    """A checkout on a machine that has all packages but for those in the file `missing`."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.bin = place / "bin"
        for name in ("bin", ".venv", "packaging"):
            (place / name).mkdir()
        script = (TOP / "packaging/setup-machine").read_text(encoding="utf-8")
        script, count = re.subn(r"^PATH=", f"PATH={self.bin}:", script, flags=re.MULTILINE)
        assert count == 1
        self.write("packaging/setup-machine", script)
        shutil.copy(TOP / "packaging/requirements-dev.txt", place / "packaging")
        for name, body in TOOLS.items():
            self.write(f"bin/{name}", f"#!/bin/sh\n{body}\n")
            (self.bin / name).chmod(0o755)
        files = {"clock": "0", "locked": "0", "missing": "", "known": "systemd\n", "systemd.pc": ""}
        for name, text in files.items():
            self.write(name, text)
        # The environment of Python is there.
        stamp = subprocess.run(
            ["sh", "-c", 'echo "$(/usr/bin/python3 --version) $(cksum <packaging/requirements-dev.txt)"'],
            cwd=place, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        self.write(".venv/.stamp", stamp)

    def write(self, name: str, text: str) -> None:
        (self.place / name).write_text(text, encoding="utf-8")

    def run(self) -> subprocess.CompletedProcess[str]:
        command = ["sh", str(self.place / "packaging/setup-machine"), "build"]
        environment = {"PATH": "/usr/bin:/bin", "WORK": str(self.place)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    def apt(self) -> list[str]:
        """What apt-get was told, without its options."""
        log = self.place / "log"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return [" ".join(re.sub(r"(^| )(-o \S+|--\S+)(?= |$)", "", line).split()) for line in lines]

    def seconds(self) -> int:
        return int((self.place / "clock").read_text(encoding="utf-8"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nothing_is_asked_of_apt_where_all_is_there(machine: Machine) -> None:
    done = machine.run()
    assert (done.returncode, done.stderr, machine.apt()) == (0, "", [])


def test_systemd_itself_is_not_enough_where_systemd_pc_has_a_package_of_its_own(machine: Machine) -> None:
    (machine.place / "systemd.pc").unlink()
    machine.write("missing", "systemd-dev\n")
    machine.write("known", "systemd-dev\nsystemd\n")
    done = machine.run()
    assert done.returncode == 0, done.stderr
    assert machine.apt() == ["update", "install systemd-dev"]


def test_systemd_where_it_has_systemd_pc(machine: Machine) -> None:
    """Debian 12: systemd-dev is not known there."""
    machine.write("missing", "systemd-dev\n")
    assert machine.run().returncode == 0
    assert machine.apt() == []
    (machine.place / "systemd.pc").unlink()
    assert machine.run().returncode == 0
    assert machine.apt() == ["update", "install systemd"]


def test_the_lock_of_the_lists_is_waited_for(machine: Machine) -> None:
    machine.write("missing", "lintian\n")
    machine.write("known", "lintian\n")
    machine.write("locked", "12")
    done = machine.run()
    assert done.returncode == 0, done.stderr
    assert machine.apt() == ["update", "update", "update", "update", "install lintian"]
    assert "waiting for it" in done.stderr


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.slow
def test_lists_that_cannot_be_had_leave_it_to_the_installation(machine: Machine, there: bool) -> None:
    machine.write("missing", "lintian\n")
    machine.write("known", "lintian\n")
    machine.write("locked", "100000")
    if not there:
        machine.write("unknown", "")
    done = machine.run()
    assert (done.returncode == 0) == there
    assert machine.seconds() == 300
    assert "E: Could not get lock" in done.stderr
    assert machine.apt()[-1] == "install lintian"


def test_another_failure_is_not_waited_for(machine: Machine) -> None:
    machine.write("missing", "lintian\n")
    machine.write("known", "lintian\n")
    machine.write("offline", "")
    done = machine.run()
    assert (done.returncode, machine.seconds()) == (0, 0), done.stderr
    assert machine.apt() == ["update", "install lintian"]
    assert "E: Temporary failure resolving" in done.stderr
