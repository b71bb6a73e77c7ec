#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make the completions of bash and zsh from the command's own options: `python3 packaging/completions/make.py`.

The two files beside this one are its output and are kept in the repository, so that a build needs no Python module
and a reader sees what is installed; tests/unit/test_completions.py fails when they are not what this would write.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from drbdocfs_boot import parsing, verbs  # noqa: E402

# What a value is, by the name that the usage gives it. Any other name (a number, a size) is not completed.
KINDS = {"STACK": "stacks", "HOST": "hosts", "DESTINATION": "hosts", "DIR": "directories", "FILE": "files"}
KINDS |= {"DISK": "files", "DEVICE": "files", "MOUNTPOINT": "directories"}


class Option(NamedTuple):
    """An option: its spellings, its help, and the kind of its value ("" for none, "-" for one that is not completed).

    A kind that begins with "=" is a list of choices.
    """

    names: tuple[str, ...]
    help: str
    kind: str


class Operand(NamedTuple):
    """An argument without an option: its name in the usage, the kind of its value, whether it may be repeated."""

    name: str
    kind: str
    many: bool


class Command(NamedTuple):
    """A verb, or the command before a verb (name "")."""

    name: str
    help: str
    options: tuple[Option, ...]
    operands: tuple[Operand, ...]


def _kind(action: argparse.Action) -> str:
    if action.choices is not None:
        return "=" + " ".join(str(choice) for choice in action.choices)
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return KINDS.get(metavar, "-")


def command(name: str, text: str, parser: argparse.ArgumentParser) -> Command:
    """What a parser takes; what it hides from its help is left out."""
    options, operands = [], []
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        if action.option_strings:
            kind = "" if action.nargs == 0 else _kind(action)
            options.append(Option(tuple(action.option_strings), action.help or "", kind))
        else:
            shown = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
            operands.append(Operand(shown, _kind(action), action.nargs in ("*", "+")))
    return Command(name, text, tuple(options), tuple(operands))


def commands() -> list[Command]:
    """The command before its verb, then every verb."""
    found = [command("", "", parsing.parser())]
    for name, text in sorted(verbs.HELP.items()):
        parser = argparse.ArgumentParser(prog=f"drbdocfs {name}")
        import_module(f"{verbs.__name__}.{name.replace('-', '_')}").arguments(parser)
        found.append(command(name, text, parser))
    return found


BASH = """\
# bash completion for drbdocfs                                                             -*- shell-script -*-
# Made by packaging/completions/make.py from the command's own options: change those, not this.

# Names of the stacks: the section headers of the configuration, which needs neither root nor Python.
_drbdocfs_stacks() {
    cat -- "$1"/etc/drbdocfs/drbdocfs.conf "$1"/etc/drbdocfs/conf.d/*.conf 2>/dev/null |
        sed -n 's/^[[:space:]]*\\[[[:space:]]*\\([[:alnum:]][[:alnum:]_.-]*\\)[[:space:]]*\\].*/\\1/p'
}

# Names of the nodes in O2CB's configuration: `name` below `node:`, not that of the cluster.
_drbdocfs_hosts() {
    sed -n '/^[a-z]*:/h; /^[[:space:]]*name[[:space:]]*=/{x; /^node:/{x; s/.*=[[:space:]]*//p; x;}; x;}' \\
        "$1"/etc/ocfs2/cluster.conf 2>/dev/null
}

_drbdocfs() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local verb='' root=${DRBDOCFS_ROOT-} options operands kind='' word before='' operand=0 index words='' last
    local kinds=()
    # bash has split --option=value into three words.
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi

    # What stands before the cursor: the verb, the root directory, and how many operands.
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        [[ $word == = ]] && continue
        if [[ -n $before ]]; then
            [[ $before == ' --root' ]] && root=$word
            before=
            continue
        fi
        case "$verb $word" in
@VALUED@                before="$verb $word"
                ;;
            *' -'*) ;;
            *)
                if [[ -z $verb ]]; then
                    verb=$word
                else
                    ((operand++))
                fi
                ;;
        esac
    done

    # Operands are separated by |, choices begin with =, and ... repeats the one before it.
    case $verb in
@VERBS@        *)
            return
            ;;
    esac

    # The value of an option, else an option, else an operand.
    case "$verb $prev" in
@VALUES@    esac
    if [[ -z $kind && $cur == -* ]]; then
        kind="=$options"
    elif [[ -z $kind ]]; then
        IFS='|' read -r -a kinds <<<"$operands"
        last=$((${#kinds[@]} - 1))
        if ((last > 0 && operand >= last)) && [[ ${kinds[last]} == ... ]]; then
            operand=$((last - 1))
        fi
        kind=${kinds[operand]-=$options}
    fi
    case $kind in
        =*) words=${kind#=} ;;
        stacks) words=$(_drbdocfs_stacks "$root") ;;
        hosts) words=$(_drbdocfs_hosts "$root") ;;
        directories)
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -d -- "$cur")
            return
            ;;
        files)
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
            ;;
        *) return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _drbdocfs drbdocfs
"""

ZSH = """\
#compdef drbdocfs
# Made by packaging/completions/make.py from the command's own options: change those, not this.

# Names of the stacks: the section headers of the configuration, which needs neither root nor Python.
_drbdocfs_stacks() {
  local -a found
  found=($_drbdocfs_root/etc/drbdocfs/drbdocfs.conf(N) $_drbdocfs_root/etc/drbdocfs/conf.d/*.conf(N))
  (( $#found )) || return
  found=(${(f)"$(cat -- $found 2>/dev/null |
    sed -n 's/^[[:space:]]*\\[[[:space:]]*\\([[:alnum:]][[:alnum:]_.-]*\\)[[:space:]]*\\].*/\\1/p')"})
  compadd -a found
}

# Names of the nodes in O2CB's configuration: `name` below `node:`, not that of the cluster.
_drbdocfs_hosts() {
  local -a found
  found=(${(f)"$(sed -n '/^[a-z]*:/h; /^[[:space:]]*name[[:space:]]*=/{x; /^node:/{x; s/.*=[[:space:]]*//p; x;}; x;}' \\
    $_drbdocfs_root/etc/ocfs2/cluster.conf 2>/dev/null)"})
  compadd -a found
}

_drbdocfs_verbs() {
  local -a found
  found=(
@VERBS@  )
  _describe -t verbs verb found
}

_drbdocfs() {
  local curcontext=$curcontext state line _drbdocfs_root
  typeset -A opt_args

  _arguments -C -S \\
@MAIN@    '1:verb:_drbdocfs_verbs' \\
    '*::argument:->rest'
  [[ $state == rest ]] || return
  _drbdocfs_root=${opt_args[--root]:-${DRBDOCFS_ROOT-}}

  case $line[1] in
@CASES@  esac
}

_drbdocfs "$@"
"""


def bash(found: list[Command]) -> str:
    """The completion of bash."""
    valued, cases, values = "", "", ""
    for one in found:
        for option in one.options:
            if option.kind:
                pattern = " | ".join(f"'{one.name} {name}'" for name in option.names)
                valued += f"            {pattern}) ;;&\n"
                values += f"        {pattern})\n            kind='{option.kind}'\n            ;;\n"
        names = [name for option in one.options for name in option.names]
        if one.name:
            operands = "|".join(operand.kind + ("|..." if operand.many else "") for operand in one.operands)
        else:
            operands = "=" + " ".join(other.name for other in found if other.name)
        cases += f"        {one.name or chr(39) * 2})\n            options='{' '.join(names)}'\n"
        cases += f"            operands='{operands}'\n            ;;\n"
    # One pattern list for all options with a value.
    patterns = [line.strip().removesuffix(") ;;&") for line in valued.splitlines()]
    joined = "            " + " | \\\n                ".join(patterns) + ")\n"
    return BASH.replace("@VALUED@", joined).replace("@VERBS@", cases).replace("@VALUES@", values)


def _quoted(text: str) -> str:
    """A word for zsh, in single quotes."""
    return "'" + text.replace("'", "'\\''") + "'"


def _escaped(text: str) -> str:
    """Help inside a spec of _arguments or _describe."""
    return text.replace("\\", "\\\\").replace(":", "\\:").replace("[", "\\[").replace("]", "\\]").replace("%%", "%")


def _zsh_action(name: str, kind: str) -> str:
    action = {"directories": "_directories", "files": "_files", "stacks": "_drbdocfs_stacks"}.get(kind, " ")
    action = "_drbdocfs_hosts" if kind == "hosts" else action
    return f":{_escaped(name)}:" + (f"({kind[1:]})" if kind.startswith("=") else action)


def _zsh_specs(one: Command) -> list[str]:
    specs = []
    for option in one.options:
        ends = {"-h", "--help", "--version"} & set(option.names)
        others = "- *" if ends else " ".join(option.names)
        value = _zsh_action(option.names[-1].lstrip("-"), option.kind) if option.kind else ""
        for name in option.names:
            equals = "=" if option.kind and name.startswith("--") else ""
            specs.append(_quoted(f"({others}){name}{equals}[{_escaped(option.help)}]{value}"))
    for number, operand in enumerate(one.operands, 1):
        specs.append(_quoted(("*" if operand.many else str(number)) + _zsh_action(operand.name, operand.kind)))
    return specs


def zsh(found: list[Command]) -> str:
    """The completion of zsh."""
    lines = "".join(f"    {_quoted(one.name + ':' + _escaped(one.help))}\n" for one in found if one.name)
    main = "".join(f"    {spec} \\\n" for spec in _zsh_specs(found[0]))
    cases = ""
    for one in found[1:]:
        cases += f"    {one.name})\n      _arguments -S"
        cases += "".join(f" \\\n        {spec}" for spec in _zsh_specs(one)) + "\n      ;;\n"
    return ZSH.replace("@VERBS@", lines).replace("@MAIN@", main).replace("@CASES@", cases)


def files() -> dict[str, str]:
    """Name and text of each file."""
    found = commands()
    return {"drbdocfs": bash(found), "_drbdocfs": zsh(found)}


if __name__ == "__main__":
    for name, text in files().items():
        (HERE / name).write_text(text, encoding="utf-8")
