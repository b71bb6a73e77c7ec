"""The DEB: files, modes, maintainer scripts, installation and purge."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tests.package import others, stays
from tests.package.scratch import TOP, Scratch, output

LIBEXEC = ("attach", "broken", "follow", "holders", "loop", "o2cb", "promote", "wait")
# Run by DRBD, not by a unit; and what needs no library.
OF_DRBD = ("fence-peer",)
ALONE = ("data-check", "other-units", "renew-follow", "what-stays", "witness")
DEVELOPERS = {"benchmarks.md", "development.md", "packaging.md"}
DOCUMENTS = sorted({path.name for path in (TOP / "docs").glob("*.md")} - DEVELOPERS)
# Does nothing where it does not run, and does not wait for stacks that are being started.
TRY_RESTART = "--job-mode=ignore-dependencies try-restart drbdocfs-follow.service"
LAYERS = ("attach", "broken", "holders", "loop", "o2cb", "promote", "wait")


def _files(root: Path) -> dict[str, Path]:
    """Files and links by their path from /, with /lib as a merged system has it."""
    found = {}
    for path in root.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            name = "/" + path.relative_to(root).as_posix()
            found[re.sub(r"^/lib/", "/usr/lib/", name)] = path
    return found


def test_what_belongs_in_it_is_in_it(unpacked: Path) -> None:
    found = _files(unpacked)
    expected = {
        "/usr/bin/drbdocfs",
        "/usr/lib/systemd/system-generators/drbdocfs-generator",
        "/usr/lib/systemd/system-preset/90-drbdocfs-boot.preset",
        "/usr/lib/systemd/system/drbdocfs.target",
        "/usr/lib/systemd/system/drbdocfs@.target",
        "/usr/lib/systemd/system/drbdocfs-follow.service",
        "/usr/lib/systemd/catalog/drbdocfs-boot.catalog",
        "/usr/lib/sysctl.d/20-drbdocfs.conf",
        *(f"/usr/lib/systemd/system/drbdocfs-{layer}@.service" for layer in LAYERS),
        *(f"/usr/libexec/drbdocfs-boot/{name}" for name in LIBEXEC + OF_DRBD + ALONE),
        "/usr/share/drbdocfs-boot/drbdocfs_boot/__init__.py",
        "/usr/share/drbdocfs-boot/drbdocfs_boot/drbdocfs.configspec",
        "/usr/share/drbdocfs-boot/drbdocfs_boot/py.typed",
        "/usr/share/doc/drbdocfs-boot/examples/drbdocfs.conf",
        "/usr/share/doc/drbdocfs-boot/examples/fence.conf",
        "/usr/share/bash-completion/completions/drbdocfs",
        "/usr/share/zsh/vendor-completions/_drbdocfs",
        *(f"/usr/share/doc/drbdocfs-boot/{name}" for name in DOCUMENTS),
    }
    assert expected <= set(found)
    documents = {name for name in found if name.startswith("/usr/share/doc/") and name.endswith((".md", ".md.gz"))}
    assert documents == {f"/usr/share/doc/drbdocfs-boot/{name}" for name in DOCUMENTS}


def test_every_manual_page_is_in_it_and_one_of_each_units_name(unpacked: Path) -> None:
    packaged = {path.name: path for path in (unpacked / "usr/share/man").rglob("*") if not path.is_dir()}
    links = {
        f"{unit.name}.7.gz"
        for unit in (TOP / "units").iterdir()
        if unit.suffix in (".service", ".target") and unit.name != "drbdocfs.target"
    }
    pages = {f"{page.name}.gz" for page in (TOP / "packaging/man").glob("*.[1-8]")}
    assert set(packaged) == pages | links
    for name in links:
        assert packaged[name].resolve(strict=True).name == "drbdocfs.target.7.gz"


def test_man_finds_the_page_by_the_units_name(unpacked: Path) -> None:
    for name in ("drbdocfs-wait@.service", "drbdocfs-follow.service", "drbdocfs@.target"):
        done = subprocess.run(
            ["man", f"--manpath={unpacked}/usr/share/man", "--where", name],
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        )
        assert done.stdout.strip().endswith("drbdocfs.target.7.gz"), (name, done.stdout, done.stderr)


def test_the_library_is_the_checkouts(unpacked: Path) -> None:
    sources = {path.relative_to(TOP).as_posix(): path.read_bytes() for path in (TOP / "drbdocfs_boot").rglob("*.py")}
    library = unpacked / "usr/share/drbdocfs-boot"
    packaged = {path.relative_to(library).as_posix(): path.read_bytes() for path in library.rglob("*.py")}
    assert packaged == sources


def test_the_units_are_the_checkouts(unpacked: Path) -> None:
    found = _files(unpacked)
    for unit in (TOP / "units").iterdir():
        directory = "system-preset" if unit.suffix == ".preset" else "system"
        assert found[f"/usr/lib/systemd/{directory}/{unit.name}"].read_bytes() == unit.read_bytes()


def test_no_configuration_and_no_foreign_places(unpacked: Path) -> None:
    assert sorted(path.name for path in (unpacked / "etc").rglob("*")) == ["conf.d", "drbdocfs"]
    allowed = ("/usr/bin/", "/usr/lib/systemd/", "/usr/lib/sysctl.d/", "/usr/libexec/drbdocfs-boot/", "/usr/share/")
    assert [name for name in _files(unpacked) if not name.startswith(allowed)] == []
    assert [name for name in _files(unpacked) if "__pycache__" in name or name.endswith(".pyc")] == []


def test_modes_and_owners(deb: Path, unpacked: Path) -> None:
    found = _files(unpacked)
    programs = {name for name, path in found.items() if path.read_bytes().startswith(b"#!")}
    assert "/usr/bin/drbdocfs" in programs
    for name, path in found.items():
        wanted = 0o755 if name in programs else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == wanted, name
    listing = subprocess.run(["dpkg-deb", "--contents", str(deb)], check=True, capture_output=True, text=True)
    assert {line.split()[1] for line in listing.stdout.splitlines()} == {"root/root"}


def test_scripts_find_the_private_library(unpacked: Path) -> None:
    # dh_python3 adds a script of its own, which makes the byte code anew for another Python.
    scripts = [
        path
        for name, path in _files(unpacked).items()
        if path.read_bytes().startswith(b"#!")
        and not name.startswith("/usr/share/python3/")
        and name.rpartition("/")[2] not in ALONE
    ]
    assert len(scripts) == len(LIBEXEC) + len(OF_DRBD) + 2
    for path in scripts:
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"^LIBRARY = .*$", text, re.MULTILINE) == ['LIBRARY = "/usr/share/drbdocfs-boot"'], path.name
        expected = "#!/usr/bin/python3 -I" if path.name == "drbdocfs" else "#!/usr/bin/python3 -IS"
        assert text.split("\n", 1)[0] == expected


def test_every_program_of_the_units_is_packaged(unpacked: Path) -> None:
    found = _files(unpacked)
    called = set()
    for name, path in found.items():
        if name.startswith("/usr/lib/systemd/system/"):
            called |= set(re.findall(r"^Exec\w+=[-@:+!]*(/\S+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    others = {"/sbin/modprobe"}  # kmod's, on which the package depends
    assert called == {f"/usr/libexec/drbdocfs-boot/{name}" for name in LIBEXEC} | others


def test_every_manual_page_of_ours_that_is_named_is_packaged(unpacked: Path) -> None:
    found = _files(unpacked)
    named = set()
    for name, path in found.items():
        if not name.endswith(".gz"):
            named |= set(re.findall(r"(?:man:)?\b(drbdocfs[\w.-]*)\((\d)\)", path.read_text(encoding="utf-8")))
    assert named
    files = [f"/usr/share/man/man{section}/{page}.{section}.gz" for page, section in sorted(named)]
    assert [name for name in files if name not in found] == []


def test_dependencies(deb: Path) -> None:
    def field(name: str) -> list[str]:
        out = subprocess.run(["dpkg-deb", "--field", str(deb), name], check=True, capture_output=True, text=True)
        return [entry.split(" ")[0].split(":")[0] for entry in out.stdout.strip().split(", ")]

    depends = field("Depends")
    for package in ("python3", "python3-configobj", "python3-pystemd", "drbd-utils", "ocfs2-tools", "kmod", "systemd"):
        assert package in depends
    assert field("Recommends") == ["openssh-client", "python3-dbus-fast", "python3-rich"]
    assert field("Architecture") == ["all"]


def test_maintainer_scripts_start_nothing_and_touch_no_stack(control: Path) -> None:
    scripts = [path for path in control.iterdir() if path.name in ("preinst", "postinst", "prerm", "postrm")]
    assert {path.name for path in scripts} >= {"postinst", "prerm", "postrm"}
    for path in scripts:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.lstrip().startswith("#"):
                continue
            if "deb-systemd-invoke" in line:
                assert re.search(r"deb-systemd-invoke stop drbdocfs-follow\.service ", line), line
            assert "invoke-rc.d" not in line, path.name
            if "systemctl" in line:
                assert re.search(r"systemctl (--system daemon-reload|--quiet is-enabled) ?", line), line
    assert not (control / "conffiles").exists()


def test_install_upgrade_remove_purge(scratch: Scratch, deb: Path) -> None:
    """Dependencies are not in every build machine, hence --force-depends; all else is as on a user's machine."""
    output = scratch.run(
        f"""
        rm -f /usr/sbin/policy-rc.d  # a container's, which forbids all services
        dpkg --install --force-depends /scratch/{deb.name}
        test "$(readlink /etc/systemd/system/multi-user.target.wants/drbdocfs.target)" != ""
        ls /usr/share/drbdocfs-boot/drbdocfs_boot/__pycache__/generator.*.pyc
        echo '[web]' >/etc/drbdocfs/drbdocfs.conf
        mkdir -p /run/drbdocfs /tmp/units
        drbdocfs generate --to /tmp/units || test $? -eq 78
        : installed
        cp /scratch/systemctl.log /scratch/install.log; : >/scratch/systemctl.log

        systemctl.real --root=/ disable drbdocfs.target
        dpkg --install --force-depends /scratch/{deb.name}
        test ! -e /etc/systemd/system/multi-user.target.wants/drbdocfs.target
        test "$(cat /etc/drbdocfs/drbdocfs.conf)" = '[web]'
        : upgraded
        cp /scratch/systemctl.log /scratch/upgrade.log; : >/scratch/systemctl.log

        dpkg --remove drbdocfs-boot
        test "$(cat /etc/drbdocfs/drbdocfs.conf)" = '[web]'
        test ! -e /usr/share/drbdocfs-boot
        cp /scratch/systemctl.log /scratch/remove.log; : >/scratch/systemctl.log
        dpkg --purge drbdocfs-boot
        test ! -e /etc/drbdocfs
        test ! -e /run/drbdocfs
        find /etc /usr /var /run -name '*drbdocfs*' -newer /scratch/script >/scratch/left
        if [ -s /scratch/left ]; then cat /scratch/left; exit 1; fi
        """,
        deb,
    )
    assert "installed" in output
    for step in ("install", "upgrade", "remove"):
        calls = (scratch.shared / f"{step}.log").read_text(encoding="utf-8").splitlines()
        assert "--system daemon-reload" in calls, step
        # deb-systemd-helper enables by the preset.
        harmless = re.compile(r"(--system daemon-reload|(--\S+ )*preset drbdocfs\.target)$")
        follow = "stop drbdocfs-follow.service" if step == "remove" else TRY_RESTART
        assert [call for call in calls if not harmless.match(call)] == [follow], step
    assert scratch.systemctl() == []


def test_policy_rc_d_keeps_the_follow_service_as_it_is(scratch: Scratch, deb: Path) -> None:
    """A container's and an administrator's word; debhelper's own lines ask it as well."""
    scratch.run(
        f"""
        printf '#!/bin/sh\necho "$*" >>/scratch/asked\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        dpkg --install --force-depends /scratch/{deb.name}
        """,
        deb,
    )
    assert (scratch.shared / "asked").read_text(encoding="utf-8") == "drbdocfs-follow.service try-restart\n"
    assert [call for call in scratch.systemctl() if "drbdocfs-follow" in call] == []


def test_removal_says_what_stays_mounted(scratch: Scratch, deb: Path) -> None:
    stays.check_layers(scratch, deb, "dpkg --force-depends --install", "dpkg --remove drbdocfs-boot")


def test_removal_names_the_files_that_have_its_handler(scratch: Scratch, deb: Path) -> None:
    stays.check_handler(scratch, deb, "dpkg --force-depends --install", "dpkg --remove drbdocfs-boot")


def test_debian_tests_pass_on_the_installed_package(scratch: Scratch, deb: Path) -> None:
    """As autopkgtest would run them."""
    shutil.copytree(TOP / "packaging/debian/tests", scratch.shared / "tree/debian/tests")
    control = (TOP / "packaging/debian/tests/control").read_text(encoding="utf-8")
    names = re.findall(r"^Tests: (\w+)$", control, re.MULTILINE)
    assert names == ["command", "generator"]
    scratch.run(
        f"""
        dpkg --install --force-depends /scratch/{deb.name}
        cd /scratch/tree
        for name in {" ".join(names)}; do
            mkdir /tmp/$name
            AUTOPKGTEST_TMP=/tmp/$name debian/tests/$name
        done
        """,
        deb,
    )


def test_the_first_installation_says_what_else_is_enabled_and_leaves_it(scratch: Scratch, deb: Path) -> None:
    others.check(scratch, deb, "dpkg --force-depends --install", "dpkg --purge drbdocfs-boot")


def test_two_builds_give_the_same_bytes(deb: Path, tmp_path: Path) -> None:
    """By Debian's own tool in another place, with another umask, locale, timezone, home and date."""
    tree = tmp_path / "elsewhere"
    subprocess.run(["sh", str(TOP / "packaging/source-tree"), str(tree)], check=True, timeout=60)
    shutil.copytree(tree / "packaging/debian", tree / "debian")
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C",
        "TZ": "Pacific/Kiritimati",
        "HOME": str(tmp_path),
        "NO_FAKE_STAT": "1",  # the files' times stay what they are
    }
    command = ["sh", "-c", 'umask 027; exec "$@"', "sh", "faketime", "-f", "+400d"]
    output([*command, "dpkg-buildpackage", "-d", "-us", "-uc", "-b"], timeout=300, env=environment, cwd=tree)
    (again,) = tmp_path.glob("*.deb")
    # The date was another one indeed: it stands in the record of the build.
    (record,) = tmp_path.glob("*.buildinfo")
    year = (datetime.now(timezone.utc) + timedelta(days=400)).year
    assert re.search(rf"^Build-Date: .* {year} ", record.read_text(encoding="utf-8"), re.MULTILINE)
    assert again.read_bytes() == deb.read_bytes()
