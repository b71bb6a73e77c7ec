"""DEB and RPM hold the same product: what differs stands in the tables below, each with its reason; all else fails.

The RPM is the one of `make rpm`, and one for each of the distributions whose macros are imitated.
"""

from __future__ import annotations

import gzip
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.package import distributions
from tests.package.distributions import DISTRIBUTIONS, Distribution, query
from tests.package.scratch import TOP, Scratch
from tests.package.test_deb import TRY_RESTART

DEBIAN = Distribution("debian", "", requires=frozenset())

# Pattern of a path that only the DEB has -> why.
ONLY_DEB = {
    r"/usr/share/lintian/.*": "words for lintian",
    r"/usr/share/python3/runtime\.d/.*": "dh_python3 makes byte code anew for another Python",
    r"/usr/share/doc/drbdocfs-boot/(changelog.*|copyright)": "Debian's policy: licence and changelog lie there",
}
# Pattern of a path that only the RPM has -> why.
ONLY_RPM = {
    r"/usr/share/licenses/drbdocfs-boot.*": "%license",
    r"/var/lib/drbdocfs": "%ghost: rpm knows whose it is; dpkg has postrm's purge",
    r"/usr/share/drbdocfs-boot/.*__pycache__(/.*\.pyc)?": "byte code is made by the build's macro",
}
# Place in the DEB -> place in the RPM: what a distribution's macros and policies say.
PLACES = {"/usr/share/zsh/vendor-completions/": "/usr/share/zsh/site-functions/"}
# Debian's name of a package -> RPM's; "" where it is no dependency of an RPM.
NAMES = {
    "mount": "util-linux",
    "openssh-client": "openssh-clients",
    "python3-dbus-fast": "(python3-dbus-fast or python3-dbus-next)",
}
# rpm's own, and those of scriptlets.
RPMS_OWN = re.compile(r"rpmlib\(.*\)|/bin/sh|config\(drbdocfs-boot\)|/usr/bin/python3")


@dataclass(frozen=True)
class Built:
    """One RPM and where it is for."""

    distribution: Distribution
    package: Path


@pytest.fixture(scope="session", params=(DEBIAN, *DISTRIBUTIONS), ids=lambda distribution: distribution.name)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The RPM of each distribution."""
    distribution: Distribution = request.param
    if distribution is DEBIAN:
        return Built(distribution, request.getfixturevalue("rpm"))
    return Built(distribution, distributions.build(distribution, tmp_path_factory.mktemp(distribution.name)))


def _debs() -> list[Path]:
    debs = sorted((TOP / "dist").glob("*.deb"))
    assert debs, "dist/ has no DEB; run 'make deb'"
    return debs


def _of_debs() -> dict[str, tuple[str, str]]:
    """{path: (mode, owner)} of all binary packages."""
    found = {}
    for deb in _debs():
        listing = subprocess.run(["dpkg-deb", "--contents", str(deb)], check=True, capture_output=True, text=True)
        for line in listing.stdout.splitlines():
            mode, owner, _size, _day, _time, name = line.partition(" -> ")[0].split(None, 5)
            found[re.sub(r"^/lib/", "/usr/lib/", name[1:].rstrip("/"))] = (mode, owner)
    return found


def _of_rpm(package: Path) -> dict[str, tuple[str, str]]:
    form = r"[%{FILENAMES}\t%{FILEMODES:perms}\t%{FILEUSERNAME}/%{FILEGROUPNAME}\n]"
    rows = (line.split("\t") for line in query(package, "--queryformat", form))
    return {name: (mode, owner) for name, mode, owner in rows}


def _product(files: dict[str, tuple[str, str]], only: dict[str, str], docdir: str) -> dict[str, tuple[str, str]]:
    """Without the directories of the system and what only this kind of package has, places as in the RPM."""
    found = {}
    for name, value in files.items():
        if "drbdocfs" not in name or any(re.fullmatch(pattern, name) for pattern in only):
            continue
        for place, other in {**PLACES, docdir: "/usr/share/doc/drbdocfs-boot"}.items():
            if name.startswith(place):
                name = other + name[len(place) :]
        found[name] = value
    return found


def test_files_modes_and_owners(built: Built) -> None:
    ours = _product(_of_rpm(built.package), ONLY_RPM, built.distribution.docdir)
    theirs = _product(_of_debs(), ONLY_DEB, "/usr/share/doc/drbdocfs-boot")
    assert ours == theirs
    assert len(ours) > 100


def test_texts_are_the_same_but_for_the_places(built: Built, tmp_path: Path) -> None:
    roots = (tmp_path / "deb", tmp_path / "rpm")
    for deb in _debs():
        subprocess.run(["dpkg-deb", "--extract", str(deb), str(roots[0])], check=True, timeout=60)
    roots[1].mkdir()
    archive = subprocess.run(["rpm2cpio", str(built.package)], check=True, capture_output=True, timeout=60).stdout
    subprocess.run(["cpio", "--quiet", "-id"], input=archive, cwd=roots[1], check=True, timeout=60)
    texts: tuple[dict[str, str], dict[str, str]] = ({}, {})
    both = (
        (_of_debs(), ONLY_DEB, "/usr/share/doc/drbdocfs-boot"),
        (_of_rpm(built.package), ONLY_RPM, built.distribution.docdir),
    )
    for root, found, (files, only, docdir) in zip(roots, texts, both):
        for name, (mode, _owner) in files.items():
            (there,) = _product({name: ("", "")}, only, docdir) or ("",)
            if mode[0] == "-" and there:
                path = root / name[1:]
                data = (path if path.exists() else root / name[len("/usr/") :]).read_bytes()
                found[there] = (gzip.decompress(data) if name.endswith(".gz") else data).decode()
    expected = texts[0]
    if built.distribution is not DEBIAN:
        docdir = built.distribution.docdir
        for debians, other in (
            ("/etc/default/o2cb", "/etc/sysconfig/o2cb"),
            ("/usr/share/doc/drbdocfs-boot", docdir),
            ("/usr/share/doc/drbdocfs\\-boot", docdir.replace("-", "\\-")),
        ):
            expected = {name: text.replace(debians, other) for name, text in expected.items()}
    assert texts[1] == expected
    assert len(expected) > 100


def test_dependencies(built: Built) -> None:
    def debs(field: str) -> set[str]:
        found = set()
        for deb in _debs():
            out = subprocess.run(["dpkg-deb", "--field", str(deb), field], check=True, capture_output=True, text=True)
            found |= {re.split(r"[ :|]", entry)[0] for entry in out.stdout.strip().split(", ") if entry.strip()}
        return {NAMES.get(name, name) for name in found if not name.startswith("drbdocfs-boot")}

    def rpms(what: str) -> set[str]:
        found = {re.sub(r" [<>=]+ \S+$", "", line) for line in query(built.package, what)}
        return {name for name in found if not RPMS_OWN.fullmatch(name)}

    suse = built.distribution is distributions.OPENSUSE
    required, recommended = debs("Depends"), debs("Recommends")
    if suse:  # No package of pystemd was found there; the boot does not need it.
        required, recommended = required - {"python3-pystemd"}, recommended | {"python3-pystemd"}
    assert rpms("--requires") == required | built.distribution.requires
    assert rpms("--recommends") == recommended
    # One package for every machine; byte code is of one Python, what is without is for all.
    assert query(built.package, "--queryformat", "%{ARCH}") == ["noarch"]


def test_what_it_takes_to_build(built: Built, tmp_path: Path) -> None:
    macros = tmp_path / "macros"
    macros.write_text(built.distribution.macros, encoding="utf-8")
    spec = TOP / "packaging/rpm/drbdocfs-boot.spec"
    out = subprocess.run(
        ["rpmspec", "--load", str(macros), "--query", "--buildrequires", str(spec)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    wanted = {"python3", "python3-setuptools"}
    if built.distribution is not DEBIAN:
        wanted |= {"systemd-rpm-macros"} | built.distribution.build_requires
    assert {line.split(" ")[0] for line in out.splitlines()} == wanted


def test_scriptlets_never_stop_a_stack(built: Built) -> None:
    """The preset is applied, the target disabled; the follow service alone is stopped or started anew."""
    lines = [line.strip() for line in query(built.package, "--scripts") if "drbdocfs" in line and "systemctl" in line]
    for line in lines:
        allowed = r"preset drbdocfs\.target|disable drbdocfs\.target"
        if "drbdocfs-follow.service" in line:
            allowed = r"disable --now|stop"
        assert re.search(allowed, line), line
    text = "\n".join(query(built.package, "--scripts"))
    assert not re.search(r"(disable --now|stop|restart|needs-restart)\s[^\n]*drbdocfs(@|\.target)", text)
    assert "drbdocfs-boot/what-stays || :" in text


def test_byte_code_belongs_to_the_package_where_a_macro_makes_it(built: Built) -> None:
    files = _of_rpm(built.package)
    sources = {name for name in files if name.startswith("/usr/share/drbdocfs-boot/") and name.endswith(".py")}
    suffix = f".cpython-{distributions.PYTHON.replace('.', '')}.pyc"
    compiled = {name for name in files if name.endswith(suffix)}
    expected = {re.sub(r"([^/]+)\.py$", rf"__pycache__/\1{suffix}", name) for name in sources}
    assert compiled == (set() if built.distribution is DEBIAN else expected)
    assert len(sources) > 50


def test_install_and_erase_by_the_macros(built: Built, scratch: Scratch) -> None:
    if built.distribution is DEBIAN:
        pytest.skip("test_rpm.py has it")
    scratch.run(
        f"""
        rm -f /usr/sbin/policy-rc.d  # a container's, which forbids all services
        rpm --install --nodeps /scratch/{built.package.name}
        test -e /etc/systemd/system/multi-user.target.wants/drbdocfs.target
        drbdocfs --version
        echo '[web]' >/etc/drbdocfs/drbdocfs.conf
        cp /scratch/systemctl.log /scratch/install.log; : >/scratch/systemctl.log
        rpm --erase --nodeps drbdocfs-boot
        test ! -e /etc/systemd/system/multi-user.target.wants/drbdocfs.target
        test ! -e /usr/share/drbdocfs-boot
        test ! -e /usr/libexec/drbdocfs-boot
        test ! -e /var/lib/drbdocfs
        test "$(cat /etc/drbdocfs/drbdocfs.conf)" = '[web]'
        """,
        built.package,
    )
    install = (scratch.shared / "install.log").read_text(encoding="utf-8").splitlines()
    assert install == ["--no-reload preset drbdocfs.target", "daemon-reload", TRY_RESTART]
    assert scratch.systemctl() == [
        "--no-reload disable drbdocfs.target",
        "--no-reload disable --now drbdocfs-follow.service",
    ]
