"""RPM distributions that this machine is not of, imitated by what their macros say, and packages built for them.

The paths are those of the distributions' own macro files, and each scriptlet macro does in plain words what theirs does
by systemd-update-helper: Fedora's and Oracle's of systemd's macros.systemd, openSUSE's of its systemd-rpm-macros.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.package.scratch import TOP, output

PYTHON = subprocess.run(
    ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
    check=True,
    capture_output=True,
    text=True,
).stdout.strip()

_ALL = f"""\
%_libexecdir /usr/libexec
%_unitdir /usr/lib/systemd/system
%_presetdir /usr/lib/systemd/system-preset
%_systemdgeneratordir /usr/lib/systemd/system-generators
%_journalcatalogdir /usr/lib/systemd/catalog
%_sysctldir /usr/lib/sysctl.d
%__python3 /usr/bin/python3
%python3_version {PYTHON}
%systemd_preun() \\
if [ $1 -eq 0 ]; then \\
    systemctl --no-reload disable --now %* || : \\
fi
"""

_REDHAT = """\
%_vendor redhat
%_defaultdocdir /usr/share/doc
%_docdir_fmt %%{NAME}
%systemd_requires \\
Requires(post): systemd \\
Requires(preun): systemd \\
Requires(postun): systemd
%systemd_post() \\
if [ $1 -eq 1 ]; then \\
    systemctl --no-reload preset %* || : \\
fi
%py_byte_compile() %1 -s -B -m compileall -q -s %{buildroot} -p / %2
"""

_SUSE = """\
%_vendor suse
%suse_version 1699
%_defaultdocdir /usr/share/doc/packages
%_docdir_fmt %%{NAME}
%systemd_requires \\
Requires(pre): systemd \\
Requires(post): systemd \\
Requires(preun): systemd \\
Requires(postun): systemd
%systemd_pre() \\
for unit in %*; do \\
    [ -e %{_unitdir}/$unit ] || touch /run/needs-preset-$unit \\
done
%systemd_post() \\
for unit in %*; do \\
    [ ! -e /run/needs-preset-$unit ] || systemctl --no-reload preset $unit || : \\
done
%py3_compile(O) %{__python3} -B -m compileall -q -s %{buildroot} -p / %1
"""


@dataclass(frozen=True)
class Distribution:
    """One distribution: its macros, and what the package has to have there."""

    name: str
    macros: str
    docdir: str = "/usr/share/doc/drbdocfs-boot"
    # What its packages are called, or have besides, where that is not as in Debian's.
    requires: frozenset[str] = frozenset({"python(abi)"})
    build_requires: frozenset[str] = frozenset({"python3-devel"})


FEDORA = Distribution("fedora", f"{_ALL}{_REDHAT}%fedora 43\n%dist .fc43\n")
ORACLE = Distribution("oracle", f"{_ALL}{_REDHAT}%rhel 9\n%oraclelinux 9\n%dist .el9\n")
OPENSUSE = Distribution(
    "opensuse",
    _ALL + _SUSE,
    docdir="/usr/share/doc/packages/drbdocfs-boot",
    requires=frozenset({"python(abi)", "ocfs2-tools-o2cb"}),
    build_requires=frozenset({"python-rpm-macros"}),
)
DISTRIBUTIONS = (FEDORA, OPENSUSE, ORACLE)


def build(distribution: Distribution, directory: Path) -> Path:
    """The RPM as the distribution's macros make it, which rpmlint has looked at.

    Raises AssertionError with what was said.
    """
    macros = directory / "macros"
    macros.write_text(distribution.macros, encoding="utf-8")
    output(["sh", str(TOP / "packaging/build-rpm"), str(macros), str(directory)], timeout=600)
    (package,) = directory.glob("*.rpm")
    return package


def query(package: Path, *options: str) -> list[str]:
    """Lines of `rpm --query` for a package file."""
    command = ["rpm", "--query", "--package", *options, str(package)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
