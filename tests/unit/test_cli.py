"""The command: usage, exit statuses, and a sentence where something is missing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from drbdocfs_boot import cli, parsing, systemd, verbs
from drbdocfs_boot.cli import main
from drbdocfs_boot.systemd import NoSystemd

TOP = Path(__file__).parent.parent.parent
GOOD = "[web]\nresource = r0\ndevice = /dev/drbd0\ncluster = web\nmountpoint = /mnt/storage\n"


def root(tmp_path: Path, text: str = GOOD) -> str:
    (tmp_path / "etc/drbdocfs").mkdir(parents=True)
    (tmp_path / "etc/drbdocfs/drbdocfs.conf").write_text(text)
    return str(tmp_path)


@pytest.fixture(autouse=True)
def _no_root_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRBDOCFS_ROOT", "")


@pytest.mark.parametrize("argv", [[], ["no-such-verb"], ["--root", "/no/such/place", "status"], ["status", "--colour"]])
def test_wrong_usage_is_2(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2


def test_every_verb_of_the_directory_is_offered_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    files = {file.stem.replace("_", "-") for file in (TOP / "drbdocfs_boot/verbs").glob("[a-z]*.py")}
    assert set(verbs.HELP) == files
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, words in verbs.HELP.items():
        assert f" {name} {words}" in text


@pytest.mark.parametrize("name", sorted(verbs.HELP))
def test_every_verb_has_help_of_its_own(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: drbdocfs {name} [-h]")
    assert "positional arguments" in text or "--to DIR" in text or "--write" in text


def test_only_the_verb_that_is_used_is_imported() -> None:
    script = (
        "import sys; sys.path.insert(0, '.'); from drbdocfs_boot import cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('\\n'.join(m for m in sys.modules if m.startswith('drbdocfs_boot.verbs.')))"
    )
    for argv, expected in ((["--version"], []), (["generate", "--help"], ["drbdocfs_boot.verbs.generate"])):
        result = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", script, *argv], cwd=TOP, capture_output=True, text=True, check=True
        )
        assert [line for line in result.stdout.splitlines() if line.startswith("drbdocfs_boot.")] == expected


@pytest.mark.parametrize("verb", ["proceed", "split-brain"])
def test_verbs_for_a_stack_want_one_that_is_there(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = root(tmp_path, GOOD + "[mail]\nresource = r1\n")
    assert main(["--root", place, verb, "nope"]) == 2
    assert capsys.readouterr().err == "drbdocfs: there is no stack 'nope'; configured: web\n"
    assert main(["--root", place, verb, "mail"]) == 78
    assert "drbdocfs.conf:6: [mail]" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["proceed", "split-brain"])
def test_verbs_for_a_stack_want_root(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["--root", root(tmp_path), verb, "web"]) == 77
    assert capsys.readouterr().err.startswith("drbdocfs: only root may do this\n")


@pytest.mark.parametrize("verb", sorted(verbs.BARE))
def test_what_needs_no_parser_is_what_the_parser_would_say(verb: str) -> None:
    parsed = vars(parsing.parse([verb]))
    assert {name: parsed[name] for name in parsed.keys() - {"verb", "root", "run"}} == verbs.BARE[verb]


def test_watch_and_json_exclude_each_other() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["status", "--json", "--watch"])
    assert caught.value.code == 2


def test_status_without_systemd_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def states(names: object) -> dict[str, object]:
        raise NoSystemd("systemd does not run on this machine", "the units need it")

    monkeypatch.setattr(systemd, "states", states)
    assert main(["--root", root(tmp_path), "status"]) == 69
    assert capsys.readouterr().err == "drbdocfs: systemd does not run on this machine\nwhat to do: the units need it\n"


def test_status_of_an_unknown_stack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", root(tmp_path), "status", "mail"]) == 2
    assert capsys.readouterr().err == "drbdocfs: there is no stack 'mail'; configured: web\n"


def test_status_of_a_broken_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", root(tmp_path, GOOD.replace("device = /dev/drbd0\n", "")), "status"]) == 78
    assert "configuration: /etc/drbdocfs/drbdocfs.conf:1: [web]" in capsys.readouterr().out


def test_status_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path), "status"]) == 0
    assert capsys.readouterr().out == "no stack is configured (/etc/drbdocfs/drbdocfs.conf)\n"


def test_generate_refuses_a_directory_that_is_not_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = root(tmp_path)
    assert main(["--root", place, "generate", "--to", place]) == 2
    assert capsys.readouterr().err == f"drbdocfs: {place} is not empty: name a new or an empty directory\n"


def test_generate_prints_what_it_would_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", root(tmp_path), "generate"]) == 0
    out = capsys.readouterr().out
    assert "==> drbdocfs.target.wants/drbdocfs@web.target -> /usr/lib/systemd/system/drbdocfs@.target\n" in out
    assert "\nWhat=/dev/drbd0\n" in out


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    text = "".join(GOOD.replace("web", f"s{n}").replace("r0", f"r{n}").replace("drbd0", f"drbd{n}").replace(
        "storage", f"s{n}") for n in range(400))  # fmt: skip
    command = f"/usr/bin/python3 -m drbdocfs_boot --root {root(tmp_path, text)} generate | head -n 1"
    result = subprocess.run(["sh", "-c", command], cwd=TOP, capture_output=True, text=True, timeout=60, check=False)
    assert result.stderr == ""
    assert result.stdout.startswith("==> ")


def test_what_is_not_utf_8_can_be_shown() -> None:
    """As a file's bytes are read: with a surrogate for each that is no UTF-8."""
    script = (
        "import sys; from drbdocfs_boot import cli; from drbdocfs_boot.verbs import status\n"
        "status.run = lambda args: print('m\\udcfcll') or 1\n"
        "sys.exit(cli.main(['status']))"
    )
    result = subprocess.run(
        ["/usr/bin/python3", "-c", script], cwd=TOP, capture_output=True, timeout=60, check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (1, b"m\\udcfcll\n", b"")


@pytest.mark.parametrize(("module", "argv"), [(cli, ["status"]), (parsing, ["check"])])
def test_a_module_that_is_missing_is_named(
    module: ModuleType, argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether the verb's module needs it, or the verb only when it runs."""

    def missing(name: str) -> object:
        raise ModuleNotFoundError("No module named 'configobj'", name="configobj")

    monkeypatch.setattr(module, "import_module", missing)
    assert main(argv) == 69
    assert capsys.readouterr().err.endswith("what to do: install the package python3-configobj\n")
