"""The completions against the command's own parsers, and in real shells."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from importlib import import_module, util
from pathlib import Path
from types import ModuleType

import pytest

from drbdocfs_boot import parsing, verbs

TOP = Path(__file__).parent.parent.parent
HERE = TOP / "packaging/completions"
CLUSTER = """\
cluster:
\tnode_count = 2
\tname = web

node:
\tip_port = 7777
\tnumber = 1
\tname = server1
\tcluster = web

node:
\tnumber = 2
\tname = server2
\tcluster = web
"""

# Reads cases, one a line, words separated by tabs, and prints what bash would offer for the last word of each.
BASH = """
set -u
source "$1"
complete -p drbdocfs >/dev/null || exit 3
while IFS= read -r line; do
    COMP_WORDS=()
    rest=$line
    while :; do
        COMP_WORDS+=("${rest%%$'\\t'*}")
        [[ $rest == *$'\\t'* ]] || break
        rest=${rest#*$'\\t'}
    done
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    _drbdocfs drbdocfs "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    ( IFS=' '; printf '%s\\n' "${COMPREPLY[*]-}" )
done
"""


def make() -> ModuleType:
    spec = util.spec_from_file_location("completions_make", HERE / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def parser(verb: str) -> argparse.ArgumentParser:
    if not verb:
        return parsing.parser()
    made = argparse.ArgumentParser(prog=f"drbdocfs {verb}")
    import_module(f"{verbs.__name__}.{verb.replace('-', '_')}").arguments(made)
    return made


def shown(verb: str) -> list[argparse.Action]:
    return [action for action in parser(verb)._actions if action.help != argparse.SUPPRESS]


def operands(verb: str) -> list[argparse.Action]:
    return [action for action in shown(verb) if not action.option_strings]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    (root / "etc/drbdocfs/conf.d").mkdir(parents=True)
    (root / "etc/ocfs2").mkdir()
    (root / "etc/drbdocfs/drbdocfs.conf").write_text("# [no]\n[web]\nresource = r0 # [neither]\n [ mail ] # a stack\n")
    (root / "etc/drbdocfs/conf.d/db.conf").write_text("[db.1_a-b]\n")
    (root / "etc/ocfs2/cluster.conf").write_text(CLUSTER)
    return root


def offered(root: Path, *cases: tuple[str, ...]) -> list[list[str]]:
    """What bash offers for the last word of each command line, without `drbdocfs` itself."""
    lines = "".join("\t".join(("drbdocfs", *case)) + "\n" for case in cases)
    done = subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", BASH, "bash", str(HERE / "drbdocfs")],
        input=lines,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "DRBDOCFS_ROOT": str(root)},
        check=True,
    )
    assert done.stderr == ""
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", ["drbdocfs", "_drbdocfs"])
def test_the_files_are_what_the_parsers_make_of_them(name: str) -> None:
    made = make().files()[name]
    assert (HERE / name).read_text(encoding="utf-8") == made, "run 'python3 packaging/completions/make.py'"


def test_bash_offers_every_verb_and_nothing_else(system: Path) -> None:
    assert [sorted(found) for found in offered(system, ("",), ("--root", "/", ""), ("--root", "=", "/x", ""))] == [
        sorted(verbs.HELP)
    ] * 3


@pytest.mark.parametrize("verb", ["", *sorted(verbs.HELP)])
def test_bash_offers_every_option_and_no_other(verb: str, system: Path) -> None:
    expected = {name for action in shown(verb) for name in action.option_strings}
    (found,) = offered(system, (*filter(None, [verb]), "-"))
    assert set(found) == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize("verb", sorted(verbs.HELP))
def test_bash_offers_every_choice_and_no_other(verb: str, system: Path) -> None:
    cases, expected = [], []
    for action in shown(verb):
        for option in action.option_strings:
            if action.choices is not None:
                cases += [(verb, option, ""), (verb, option, "="), (verb, option, "=", "")]
                expected += [sorted(str(choice) for choice in action.choices)] * 3
    assert [sorted(found) for found in offered(system, *cases)] == expected


def test_bash_offers_stacks_where_a_stack_is_wanted(system: Path) -> None:
    stacks = ["db.1_a-b", "mail", "web"]
    wanted = [verb for verb in verbs.HELP for action in operands(verb)[:1] if action.metavar == "STACK"]
    assert {"status", "proceed", "split-brain"} <= set(wanted)
    for verb in wanted:
        (found,) = offered(system, (verb, ""))
        assert sorted(found) == stacks, verb
    assert offered(system, ("proceed", "w"), ("proceed", "--yes", ""), ("proceed", "web", "--")) == [
        ["web"],
        ["web", "mail", "db.1_a-b"],
        ["--help", "--yes"],
    ]


def test_bash_offers_hosts_and_directories_where_they_are_wanted(system: Path) -> None:
    hosts = ["server1", "server2"]
    assert offered(system, ("split-brain", "web", "--victim", ""), ("split-brain", "--victim", "=", "server2")) == [
        hosts,
        ["server2"],
    ]
    inside = str(system / "etc/drbdocfs") + "/"
    assert offered(system, ("generate", "--to", inside)) == [[inside + "conf.d"]]
    assert offered(system, ("--root", inside)) == [[inside + "conf.d"]]


def test_bash_takes_the_stacks_of_the_root_that_was_named(system: Path, tmp_path: Path) -> None:
    (tmp_path / "etc/drbdocfs").mkdir(parents=True)
    (tmp_path / "etc/drbdocfs/drbdocfs.conf").write_text("[other]\n")
    assert offered(system, ("--root", str(tmp_path), "status", "")) == [["other"]]


def test_bash_offers_nothing_where_nothing_is_known(system: Path, tmp_path: Path) -> None:
    assert offered(system, ("no-such-verb", "")) == [[]]
    assert offered(tmp_path / "nowhere", ("status", ""), ("split-brain", "--victim", "")) == [[], []]


def test_shellcheck_finds_nothing_in_the_completion_of_bash() -> None:
    done = subprocess.run(
        ["shellcheck", "--shell=bash", str(HERE / "drbdocfs")], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == ""


ZSH = shutil.which("zsh")


@pytest.mark.skipif(ZSH is None, reason="zsh is not installed")
def test_zsh_takes_the_file() -> None:
    assert ZSH is not None
    done = subprocess.run([ZSH, "-f", "-n", str(HERE / "_drbdocfs")], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("verb", ["", *sorted(verbs.HELP)])
def test_zsh_has_every_option_with_its_help(verb: str) -> None:
    text = (HERE / "_drbdocfs").read_text(encoding="utf-8")
    begin, end = (f"\n    {verb})\n", ";;") if verb else ("\n  _arguments -C", "case $line")
    part = text[text.index(begin) :].partition(end)[0]
    for action in shown(verb):
        for option in action.option_strings:
            assert f"){option}{'=' if action.nargs != 0 and option.startswith('--') else ''}[" in part
        for choice in action.choices or () if verb else ():
            assert re.search(rf"[( ]{re.escape(str(choice))}[ )]", part)
