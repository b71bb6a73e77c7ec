#!/bin/sh
# tests/pythons.sh RELEASE…: the unit and generator tests by the Python of Debian 11 (3.9), 12 (3.11), 13 (3.13) or sid (3.14), each in
# a chroot of that release with the tools that `make check` brings itself. A line for each release; what the tools said is in
# build/pythons/RELEASE. Needs root, as chroots do.
set -eu

cd "$(dirname "$0")/.."
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C.UTF-8
export PATH LC_ALL
umask 022

if [ $# -eq 0 ]; then
    echo 'usage: tests/pythons.sh RELEASE… (11, 12, 13 or sid)' >&2
    exit 2
fi
if [ "$(id -u)" -ne 0 ]; then
    echo 'pythons: chroots need root' >&2
    exit 77
fi
if [ $# -gt 1 ]; then
    bad=0
    for release in "$@"; do
        sh tests/pythons.sh "$release" || bad=1
    done
    exit "$bad"
fi
# In namespaces of its own: what it mounts and starts ends with it.
if [ "${PYTHONS_INSIDE:-}" != yes ]; then
    export PYTHONS_INSIDE=yes
    exec unshare --mount --pid --ipc --fork --kill-child --mount-proc --propagation private sh tests/pythons.sh "$@"
fi

release=$1
work=$PWD/build/pythons/$release
rm -rf "$work"
mkdir -p "$work"
# In memory, where nothing that is bound into it can be taken for a part of it.
root=$(mktemp -d /tmp/pythons.XXXXXX)
mount -t tmpfs -o mode=755,size=6G tmpfs "$root"
exec 3>&1 </dev/null
step() {
    step=$1
    exec >"$work/$step.log" 2>&1
}
# shellcheck disable=SC2317 # called by the trap
ended() {
    status=$?
    set +e
    umount --recursive --lazy "$root"
    rmdir "$root"
    if [ "$status" -ne 0 ]; then
        tail -n 30 "$work/$step.log" >&3
        echo "Debian $release: $step failed, see build/pythons/$release/$step.log" >&3
    fi
}
trap ended EXIT
trap 'exit 130' INT TERM

step chroot
sh packaging/chroot "$release" "$work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
mkdir "$root/run/lock"  # where a link of the base system points at
sh packaging/source-tree "$root/src"
# This machine's own settings say where pip finds its packages, and whom it believes.
for file in /etc/pip.conf /root/.config/pip/pip.conf /root/.pip/pip.conf; do
    if [ -e "$file" ]; then
        mkdir -p "$root${file%/*}"
        cp "$file" "$root$file"
    fi
done
# Directories that they name are the same inside.
grep -rhoE '(file://)?/[^ ,]+' /etc/pip.conf /root/.config/pip /root/.pip 2>/dev/null |
    sed 's,^file://,,; s,/simple/*$,,' | sort -u | while read -r place; do
    if [ -d "$place" ]; then
        mkdir -p "$root$place"
        mount --bind -o ro "$place" "$root$place"
    fi
done
cp /etc/resolv.conf /etc/hosts "$root/etc"
certificates=${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}
if [ -e "$certificates" ]; then
    cp "$certificates" "$root/etc/callers.crt"
    # All of them: requests, which is in pip, takes some of its own before what pip was told.
    export PIP_CERT=/etc/callers.crt REQUESTS_CA_BUNDLE=/etc/callers.crt CURL_CA_BUNDLE=/etc/callers.crt SSL_CERT_FILE=/etc/callers.crt
fi

inside() {
    chroot "$root" env HOME=/root DEBIAN_FRONTEND=noninteractive sh -ec "cd /src; $1"
}

step setup
# The linters have run on the machine itself, and are not made for every Python.
sed -i '/^mypy/d; /^ruff/d; /^types-/d' "$root/src/packaging/requirements-dev.txt"
# Debian 11 has neither, and what is told by them is not tested here.
[ "$release" != 11 ] || sed -i 's/ python3-dbus-next|python3-dbus-fast//' "$root/src/packaging/setup-machine"
inside 'packaging/setup-machine check'

step tests
inside '.venv/bin/python -m pytest -p no:cacheprovider -q --numprocesses=2 --dist=worksteal tests/unit tests/generator'

echo "Debian $release, $(chroot "$root" python3 --version): $(tail -n 1 "$work/tests.log")" >&3
