"""Records of what was started and of what waits."""

from __future__ import annotations

import errno
import os
import re
import resource
import subprocess
import threading

import pytest

from drbdocfs_boot.tools import records

from .conftest import Box


def test_written_and_read(box: Box) -> None:
    assert records.read("web", "waiting") is None
    records.write("web", "waiting", RESOURCE="r0", REASON="a = b; ünïcödé", EMPTY="")
    assert (box.root / "run/drbdocfs/web.waiting").read_text() == "RESOURCE=r0\nREASON=a = b; ünïcödé\nEMPTY=\n"
    assert records.read("web", "waiting") == {"RESOURCE": "r0", "REASON": "a = b; ünïcödé", "EMPTY": ""}
    records.write("web", "waiting", RESOURCE="r1")
    assert records.read("web", "waiting") == {"RESOURCE": "r1"}
    records.remove("web", "waiting")
    records.remove("web", "waiting")
    assert records.read("web", "waiting") is None


def test_a_wait_that_was_killed_is_late_for_every_reader(box: Box) -> None:
    """It could not say so itself; nobody could tell it from one that waits by the file alone."""
    assert records.waiting("web") is None
    with subprocess.Popen(["/bin/sleep", "1000"]) as process:
        records.write("web", "waiting", STATE="boot", PID=str(process.pid))
        assert records.waiting("web") == {"STATE": "boot", "PID": str(process.pid)}
        process.kill()
    assert records.waiting("web") == {"STATE": "late", "PID": str(process.pid)}


@pytest.mark.parametrize("pid", [{}, {"PID": ""}, {"PID": "0"}])
def test_a_record_of_nobody_is_late(box: Box, pid: dict[str, str]) -> None:
    records.write("web", "waiting", STATE="boot", **pid)
    assert records.waiting("web") == {"STATE": "late", **pid}


def test_nothing_is_left_but_the_records(box: Box) -> None:
    for _ in range(3):
        records.write("web", "attach", RESOURCE="r0")
    assert os.listdir(box.root / "run/drbdocfs") == ["web.attach"]


def test_a_full_disk_is_told_with_the_file_and_leaves_no_half(box: Box) -> None:
    records.write("web", "attach", RESOURCE="r0")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # the kernel refuses as on a full disk, without a name
    try:
        with pytest.raises(OSError) as caught:
            records.write("web", "attach", RESOURCE="r1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == f"{box.root}/run/drbdocfs/web.attach"
    assert caught.value.errno == errno.EFBIG
    assert os.listdir(box.root / "run/drbdocfs") == ["web.attach"]
    assert records.read("web", "attach") == {"RESOURCE": "r0"}


@pytest.mark.parametrize("text", ["a\nRESOURCE=other", "a\r\nb", "a\n\nb", "\n", "a\x0bb\x0cc\x85d\u2028e"])
def test_a_line_end_in_a_value_begins_no_key(box: Box, text: str) -> None:
    records.write("web", "waiting", RESOURCE="r0", REASON=text, KIND="waiting")
    found = records.read("web", "waiting")
    assert found is not None
    assert found["RESOURCE"] == "r0"
    assert found["REASON"] == " ".join(text.splitlines())
    assert found["KIND"] == "waiting"


def test_bytes_that_are_no_text_survive(box: Box) -> None:
    device = os.fsdecode(b"/dev/drbd_\xff")
    records.write("web", "attach", DEVICE=device)
    assert records.read("web", "attach") == {"DEVICE": device}


def test_junk_in_a_record_is_passed_over(box: Box) -> None:
    box.write("/run/drbdocfs/web.waiting", "junk\n\nRESOURCE=r0\n=x\n#\n")
    assert records.read("web", "waiting") == {"RESOURCE": "r0", "": "x"}


def test_instances(box: Box) -> None:
    assert records.instances("attach") == []
    for name in ("b", "a", "it-s.a_2", "a.attach"):
        records.write(name, "attach", X="1")
    records.write("c", "waiting", X="1")
    box.write("/run/drbdocfs/.attach", "")
    box.write("/run/drbdocfs/d.attach.123.new", "X=1\n")
    assert records.instances("attach") == ["a", "a.attach", "b", "it-s.a_2"]
    assert records.instances("waiting") == ["c"]


def test_a_reader_sees_one_record_or_the_other_and_never_a_part(box: Box) -> None:
    records.write("web", "waiting", A="0" * 3000, B="0")
    done = threading.Event()
    torn = []

    def look() -> None:
        while not done.is_set():
            found = records.read("web", "waiting")
            if found is None or set(found) != {"A", "B"} or found["A"] != found["B"] * 3000:
                torn.append(found)

    reader = threading.Thread(target=look)
    reader.start()
    for n in range(500):
        records.write("web", "waiting", A=str(n % 10) * 3000, B=str(n % 10))
    done.set()
    reader.join()
    assert torn == []


def test_a_split_brain_is_remembered_since_it_was_first_found(box: Box) -> None:
    place = box.root / "var/lib/drbdocfs/web.split-brain"
    assert records.split_brain("web") == ""
    records.clear_split_brain("web")
    records.mark_split_brain("web")
    since = records.split_brain("web")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", since)
    place.write_text("2026-01-02 03:04:05 UTC\n")
    records.mark_split_brain("web")
    assert records.split_brain("web") == "2026-01-02 03:04:05 UTC"
    assert records.split_brain("db") == ""
    records.clear_split_brain("web")
    assert records.split_brain("web") == ""
    assert os.listdir(place.parent) == []


def test_an_empty_marker_counts(box: Box) -> None:
    box.write("/var/lib/drbdocfs/web.split-brain", "")
    assert records.split_brain("web") == "an unknown time"
