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

place=
child=

# shellcheck disable=SC2317 # called by the traps
clear_up() {
    # A process of the tests may still be writing there while it ends.
    [ -z "$place" ] || rm -rf "$place" 2>/dev/null || { sleep 1 && rm -rf "$place"; }
}

# A signal that this process alone gets, as from a CI that ends a job, goes on to the tests.
# shellcheck disable=SC2317
pass_on() {
    [ -n "$child" ] || exit $((128 + $2))
    # A terminal has sent it to them as well, and pytest takes a second one for impatience.
    [ "$1" = INT ] && [ -t 0 ] || kill -s "$1" "$child" 2>/dev/null || :
}

trap clear_up EXIT
trap 'pass_on HUP 1' HUP
trap 'pass_on INT 2' INT
trap 'pass_on TERM 15' TERM

if usable; then
    # A short name: that of a socket in it has 108 bytes at most.
    place=$(mktemp -d "$memory/t.XXXXXX")
    set -- "$@" --basetemp="$place"
fi
# In the background, for while a shell waits for a program in the foreground it runs no trap. There it would have no standard input, and
# would not be interrupted.
exec 3<&0
env --default-signal=INT,QUIT "$@" <&3 3<&- &
child=$!
code=0
wait "$child" || code=$?
# A trap has ended that wait, but not the tests.
while kill -s 0 "$child" 2>/dev/null; do
    code=0
    wait "$child" || code=$?
done
exit "$code"
