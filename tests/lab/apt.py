"""Where this machine gets its Debian packages from: the lab's image comes from the same place."""

from __future__ import annotations

import subprocess
from pathlib import Path

SUITES = {"12": "bookworm", "13": "trixie", "sid": "sid"}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# Aliases under which a machine may follow Debian itself.
_ALIASES = ("stable", "oldstable", "testing", "unstable", "sid")
# What a mirror may need to be reached or believed; the rest of apt's settings is this machine's own affair.
_PASSED_ON = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")


class NoMirror(Exception):
    """This machine's apt knows no mirror of Debian."""


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout


def _codename() -> str:
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    return ""


def _targets() -> dict[str, str]:
    """{suite: address} of the `main` components that apt is configured with."""
    found: dict[str, str] = {}
    listing = _output(
        "apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"
    )
    for line in listing.splitlines():
        suite, component, address = line.split(" ", 2)
        if component == "main":
            found.setdefault(suite, address.strip())
    return found


def sources(release: str) -> list[str]:
    """Lines of a sources.list for that release, from the mirrors of this machine.

    Raises NoMirror where apt is not configured for Debian.
    """
    targets = _targets()
    host = [name for name in (_codename(), *_ALIASES) if name in targets]
    if not host:
        raise NoMirror(f"apt is configured for no suite of Debian, only for: {', '.join(sorted(targets)) or 'nothing'}")
    suite = SUITES[release]
    wanted = [(targets[host[0]], suite)]
    security = targets.get(f"{host[0]}-security")
    if security and suite != "sid":
        wanted.append((security, f"{suite}-security"))
    trust = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    return [f"deb {trust}{address} {name} main" for address, name in wanted]


def options() -> list[str]:
    """This machine's apt settings that reaching its mirrors takes (proxy, certificates, old snapshots)."""
    return [
        line
        for line in _output("apt-config", "dump", "--format", '%F "%v";%n').splitlines()
        if line.startswith(_PASSED_ON) and not line.endswith(' "";')
    ]
