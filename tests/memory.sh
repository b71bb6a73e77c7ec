#!/bin/sh
# tests/memory.sh PYTEST…: run it with the tests' files in memory, where there is enough of it, as /run has them.
# On a disk, the units of ten thousand stacks alone cost up to half a minute of the file system's journal.
set -eu

memory=/dev/shm
needed=$((2 << 20)) # KiB; they take a third of it, with what the kernel keeps

usable() {
    [ -d "$memory" ] && [ -w "$memory" ] || return 1
    [ "$(stat --file-system --format=%T "$memory")" = tmpfs ] || return 1
    [ "$(df --output=avail "$memory" | tail -n 1)" -ge "$needed" ] || return 1
    awk -v needed="$needed" '$1 == "MemAvailable:" { enough = $2 >= needed } END { exit !enough }' /proc/meminfo || return 1
    # The tests write programs and start them.
    ! findmnt --noheadings --output OPTIONS --target "$memory" | grep -qw noexec
}

if usable; then
    # A short name: that of a socket in it has 108 bytes at most.
    place=$(mktemp -d "$memory/t.XXXXXX")
    trap 'rm -rf "$place"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    set -- "$@" --basetemp="$place"
fi
"$@"
