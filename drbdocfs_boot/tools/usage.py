"""How full a file system is, asked in a child: on an OCFS2 whose I/O is frozen statvfs(2) blocks for ever."""

from __future__ import annotations

import time

from drbdocfs_boot.tools.run import Process

LIMIT = 2.0
STAT = ("stat", "--file-system", "--format=%S %b %f %a %c %d", "--")
# Children that still hang, by mount point: no second one is sent after the first.
_hanging: dict[str, Process] = {}


def ask_all(places: list[str]) -> dict[str, dict[str, int] | None]:
    """The same for several, by one child where all of them answer.  Raises as ``ask``."""
    if len(places) > 1 and not _hanging:
        process = Process([*STAT, *places])
        deadline = time.monotonic() + LIMIT
        text = _output(process, deadline)
        code = process.wait(max(0.0, deadline - time.monotonic()))
        process.end()
        lines = text.splitlines()
        if code == 0 and len(lines) == len(places):
            return {place: _parse(line) for place, line in zip(places, lines)}
    # Which one it is shows when each is asked by a child of its own.
    return {place: ask(place) for place in places}


def ask(place: str, limit: float = LIMIT) -> dict[str, int] | None:
    """``size``, ``used``, ``available`` bytes, ``files``, ``files_free``; None when it did not answer in ``limit``
    seconds, or an earlier question is still open.  Raises Failure (69) without stat(1), OSError."""
    old = _hanging.get(place)
    if old is not None:
        if old.wait(0) is None:
            return None
        del _hanging[place]
    process = Process([*STAT, place])
    deadline = time.monotonic() + limit
    text = _output(process, deadline)
    code = process.wait(max(0.0, deadline - time.monotonic()))
    if not process.end():
        _hanging[place] = process
    return _parse(text) if code == 0 else None


def _output(process: Process, deadline: float) -> bytes:
    text = b""
    while process.fds and time.monotonic() < deadline:
        for fd, data in process.read(max(0.0, deadline - time.monotonic())):
            if fd == process.out_fd:
                text += data
    return text


def _parse(text: bytes) -> dict[str, int] | None:
    words = text.split()
    if len(words) != 6:
        return None
    block, blocks, free, available, files, files_free = (int(word) for word in words)
    return {
        "size": block * blocks,
        "used": block * (blocks - free),
        "available": block * available,
        "files": files,
        "files_free": files_free,
    }
