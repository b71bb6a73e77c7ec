# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed where.

Two ways in:

- ``pip install .`` gives the library ``drbdocfs_boot`` alone, for tools that want the configuration's reader or model.
- ``python3 setup.py install_system --root=DIR`` lays out the whole product below DIR, as the DEB and the RPM ship it:
  the library in a private directory, units, generator, helpers, command, manual pages,
  completions, documents, message catalog, settings of the kernel. It reads the source tree and writes below DIR only.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import ClassVar

from setuptools import Command, find_packages, setup

try:
    from setuptools.errors import SetupError
except ImportError:  # setuptools before 59, as Oracle Linux 9 has it
    from distutils.errors import DistutilsSetupError as SetupError  # type: ignore[assignment]

SOURCE = Path(__file__).resolve().parent
PACKAGE = "drbdocfs_boot"

# Places as written in the units, the library and the pages -> the option that names another one, which is then written
# into what is installed: nothing is looked for at run time.
PLACES = {
    "/usr/libexec/drbdocfs-boot": "libexecdir",
    "/usr/share/doc/drbdocfs-boot": "docdir",
    "/etc/default/o2cb": "o2cbfile",
}

# In a checkout this line finds the library beside the script; installed, it names the private directory.
LIBRARY_LINE = re.compile(r"^LIBRARY = .*$", re.MULTILINE)

# Scripts that stand alone, to be copied to hosts without the product.
SELF_CONTAINED = ("libexec/witness", "libexec/data-check")

# What both packages run when they are installed or removed.
FOR_SCRIPTLETS = ("other-units", "renew-follow", "what-stays")

# What belongs into the private directory. Anything else found there (byte code, an editor's backup) stays out.
LIBRARY_SUFFIXES = (".py", ".configspec")
LIBRARY_NAMES = ("py.typed",)
# The page that describes all units.
UNITS_PAGE = "drbdocfs.target.7"
# Not for the administrator, and so not installed.
DEVELOPERS_DOCUMENTS = ("benchmarks.md", "development.md", "packaging.md")
UNIT_SUFFIXES = (".service", ".target", ".mount", ".slice", ".socket", ".timer", ".path")


def version() -> str:
    """The version, which stands in drbdocfs_boot/__init__.py and nowhere else. Reads, does not import."""
    text = (SOURCE / PACKAGE / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__(?:\s*:\s*\w+)?\s*=\s*"([^"]+)"', text, re.MULTILINE)
    if found is None:
        raise SetupError("drbdocfs_boot/__init__.py has no line __version__ = \"…\"")
    return found.group(1)


class install_system(Command):  # noqa: N801 (the command's name on the command line)
    """Lay out the whole product below --root. Raises SetupError for a file that it does not know how to install."""

    description = "install library, units, generator, helpers, command and manual pages below --root (for packages)"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = [
        ("root=", None, "directory that everything is installed below (required; may be /)"),
        ("libdir=", None, "private directory of the library [/usr/share/drbdocfs-boot]"),
        ("unitdir=", None, "systemd's units [/usr/lib/systemd/system]"),
        ("generatordir=", None, "systemd's generators [/usr/lib/systemd/system-generators]"),
        ("presetdir=", None, "systemd's presets [/usr/lib/systemd/system-preset]"),
        ("catalogdir=", None, "the journal's message catalogs [/usr/lib/systemd/catalog]"),
        ("sysctldir=", None, "settings of the kernel [/usr/lib/sysctl.d]"),
        ("libexecdir=", None, "helpers of the units [/usr/libexec/drbdocfs-boot]"),
        ("bindir=", None, "the command [/usr/bin]"),
        ("mandir=", None, "manual pages [/usr/share/man]"),
        ("docdir=", None, "documents and examples [/usr/share/doc/drbdocfs-boot]"),
        ("bashdir=", None, "completions of bash [/usr/share/bash-completion/completions]"),
        ("zshdir=", None, "completions of zsh [/usr/share/zsh/site-functions]"),
        ("confdir=", None, "configuration [/etc/drbdocfs]"),
        ("o2cbfile=", None, "O2CB's own settings, which ocfs2-tools brings [/etc/default/o2cb]"),
    ]

    def initialize_options(self) -> None:
        """Defaults: the layout of a merged-/usr distribution."""
        self.root: str | None = None
        self.libdir = "/usr/share/drbdocfs-boot"
        self.unitdir = "/usr/lib/systemd/system"
        self.generatordir = "/usr/lib/systemd/system-generators"
        self.presetdir = "/usr/lib/systemd/system-preset"
        self.catalogdir = "/usr/lib/systemd/catalog"
        self.sysctldir = "/usr/lib/sysctl.d"
        self.libexecdir = "/usr/libexec/drbdocfs-boot"
        self.bindir = "/usr/bin"
        self.mandir = "/usr/share/man"
        self.docdir = "/usr/share/doc/drbdocfs-boot"
        self.bashdir = "/usr/share/bash-completion/completions"
        self.zshdir = "/usr/share/zsh/site-functions"
        self.confdir = "/etc/drbdocfs"
        self.o2cbfile = "/etc/default/o2cb"

    def finalize_options(self) -> None:
        """Check what was given. Raises SetupError without --root or for a relative directory."""
        if not self.root:
            raise SetupError("install_system needs --root=DIR")
        for option, _short, _help in self.user_options:
            name = option.rstrip("=")
            value = getattr(self, name)
            if name != "root" and (not value.startswith("/") or re.search(r'[\s"\\%]', value)):
                raise SetupError(f"--{name}={value}: not an absolute path in plain characters")

    def run(self) -> None:
        """Install everything."""
        self.install_library()
        self.install_units()
        self.install_scripts("generators", self.generatordir)
        self.install_scripts("libexec", self.libexecdir)
        for name in FOR_SCRIPTLETS:
            self.put(SOURCE / "packaging" / name, f"{self.libexecdir}/{name}", mode=0o755)
        self.install_scripts("bin", self.bindir)
        self.install_manual_pages()
        for catalog in sorted((SOURCE / "packaging" / "catalog").glob("*.catalog")):
            self.put(catalog, f"{self.catalogdir}/{catalog.name}")
        for settings in sorted((SOURCE / "packaging" / "sysctl").glob("*.conf")):
            self.put(settings, f"{self.sysctldir}/{settings.name}")
        for example in sorted((SOURCE / "packaging" / "examples").glob("*.conf")):
            self.put(example, f"{self.docdir}/examples/{example.name}")
        for part in sorted((SOURCE / "packaging" / "selinux").glob("drbdocfs.*")):
            self.put(part, f"{self.docdir}/examples/selinux/{part.name}")
        for document in sorted((SOURCE / "docs").glob("*.md")):
            if document.name not in DEVELOPERS_DOCUMENTS:
                self.put(document, f"{self.docdir}/{document.name}")
        for directory, name in ((self.bashdir, "drbdocfs"), (self.zshdir, "_drbdocfs")):
            self.put(SOURCE / "packaging" / "completions" / name, f"{directory}/{name}")
        self.make_directory(self.below_root(f"{self.confdir}/conf.d"))

    def install_library(self) -> None:
        """The package's sources; byte code is made on the target by the package, for the Python that is there."""
        for path in sorted((SOURCE / PACKAGE).rglob("*")):
            if path.suffix in LIBRARY_SUFFIXES or path.name in LIBRARY_NAMES:
                self.put(path, f"{self.libdir}/{path.relative_to(SOURCE).as_posix()}")

    def install_units(self) -> None:
        """Static units, their drop-ins, and the preset."""
        for path in self.entries("units"):
            if path.is_dir() and path.name.endswith(".d"):
                for dropin in sorted(path.glob("*.conf")):
                    self.put(dropin, f"{self.unitdir}/{path.name}/{dropin.name}")
            elif path.suffix == ".preset":
                self.put(path, f"{self.presetdir}/{path.name}")
            elif path.suffix in UNIT_SUFFIXES:
                self.put(path, f"{self.unitdir}/{path.name}")
            else:
                raise SetupError(f"{path.relative_to(SOURCE)}: not a unit, a drop-in directory or a preset")

    def install_manual_pages(self) -> None:
        """The pages, and for each unit a link of its name to the page of all units: `man drbdocfs-wait@.service`."""
        for page in sorted((SOURCE / "packaging" / "man").glob("*.[1-8]")):
            self.put(page, f"{self.mandir}/man{page.suffix[1:]}/{page.name}")
        for path in self.entries("units"):
            if path.suffix in UNIT_SUFFIXES and f"{path.name}.7" != UNITS_PAGE:
                link = self.below_root(f"{self.mandir}/man7/{path.name}.7")
                link.unlink(missing_ok=True)
                link.symlink_to(UNITS_PAGE)
                changed = path.stat().st_mtime_ns
                os.utime(link, ns=(changed, changed), follow_symlinks=False)

    def install_scripts(self, directory: str, target: str) -> None:
        """Scripts of one directory, the library's place written into each that uses it."""
        for path in self.entries(directory):
            text = path.read_text(encoding="utf-8")
            where = path.relative_to(SOURCE)
            if not text.startswith("#!"):
                raise SetupError(f"{where}: not a script (no #! line)")
            text, count = LIBRARY_LINE.subn(lambda _: f'LIBRARY = "{self.libdir}"', text)
            wanted = 0 if where.as_posix() in SELF_CONTAINED else 1
            if count != wanted:
                raise SetupError(f"{where}: {count} lines 'LIBRARY = …' where there must be {wanted or 'none'}")
            self.put(path, f"{target}/{path.name}", text, mode=0o755)

    def entries(self, directory: str) -> list[Path]:
        """What stands in a directory of the source tree, without hidden files, backups and byte code."""
        return sorted(
            path
            for path in (SOURCE / directory).iterdir()
            if not path.name.startswith(".") and not path.name.endswith("~") and path.name != "__pycache__"
        )

    def with_places(self, text: str) -> str:
        """The text with the places of this build. Manual pages write a hyphen as \\-, with which it stays one."""
        for place, option in PLACES.items():
            for hyphen in ("-", r"\-"):
                written = re.escape(place.replace("-", hyphen)) + r"(?![\w-]|\\-)"
                wanted = getattr(self, option).replace("-", hyphen)
                text = re.sub(written, wanted.replace("\\", r"\\"), text)
        return text

    def below_root(self, target: str) -> Path:
        """The place of an installed file below --root."""
        assert self.root is not None  # finalize_options() saw to it
        return Path(self.root) / target.lstrip("/")

    def make_directory(self, path: Path) -> None:
        """A directory that all may read, with its parents, whatever the umask; those that exist stay as they are."""
        missing = [directory for directory in (path, *path.parents) if not directory.exists()]
        for directory in reversed(missing):
            directory.mkdir()
            directory.chmod(0o755)

    def put(self, source: Path, target: str, text: str | None = None, mode: int = 0o644) -> None:
        """Write one file, the source's text if no other is given, with this build's places in it.

        With this mode, whatever the umask, and its source's time: two builds are the same bytes.
        """
        path = self.below_root(target)
        self.make_directory(path.parent)
        path.unlink(missing_ok=True)
        path.write_bytes(self.with_places(source.read_bytes().decode() if text is None else text).encode())
        path.chmod(mode)
        changed = source.stat().st_mtime_ns
        os.utime(path, ns=(changed, changed))


setup(
    name="drbdocfs-boot",
    version=version(),
    description="OCFS2 on dual-primary DRBD, mounted on both servers after every boot, by systemd units",
    license="GPL-2.0-or-later",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["drbdocfs.configspec", "py.typed"]},
    include_package_data=False,
    zip_safe=False,
    python_requires=">=3.9",
    install_requires=["configobj"],
    cmdclass={"install_system": install_system},
)
