"""The command's reader: ConfigObj with the configspec drbdocfs.configspec, the authority on what is good.

What this reader takes, the generator's (lean.py) takes alike. From there come the texts of the files, the line
numbers, which ConfigObj does not keep for values, and the lines that are outside the common grammar; from stack.py
and values.py come the rules and the words. ConfigObj reads every line that is left, and the values that count here
are the ones that it found and its Validator checked.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from configobj import ConfigObj, ConfigObjError

try:
    from configobj.validate import ValidateError, Validator
except ImportError:  # before 5.0.7 the validator was a module of its own
    from validate import ValidateError, Validator

from . import lean, values
from .stack import Conclusion, Reading, Section, stack_problem

SPEC_FILE = Path(__file__).with_name("drbdocfs.configspec")


class RefusedByRule(ValidateError):  # type: ignore[misc]  # configobj has no types
    """What the Validator wants to be raised in the place of values.Refused."""

    def __init__(self, refused: values.Refused) -> None:
        super().__init__(str(refused))
        self.refused = refused


def specification() -> Any:
    """The configspec's section of a stack: a mapping of key to check, as ConfigObj reads it."""
    lines = SPEC_FILE.read_text(encoding="utf-8").splitlines()
    return ConfigObj(lines, _inspec=True, interpolation=False, list_values=False, raise_errors=True)["__many__"]


def read(root: str = "") -> Reading:
    """Read the configuration below `root`. Never raises for anything that stands in the files."""
    texts, problems = lean.load(root)
    scans = [lean.scan(file, text) for file, text in texts]
    parsed = [_parse(one) for one in scans]
    for one in scans:
        problems += one.problems
    # A flat configspec for one section at a time: in a whole file, ConfigObj gives [DEFAULT] and [__many__] a meaning.
    spec = ConfigObj(_inspec=True, interpolation=False, list_values=False)
    spec.update(specification())
    validator = Validator({rule: _checker(rule) for rule in values.RULES})
    conclusion = Conclusion(problems)
    for one, tree in zip(scans, parsed):
        for section in one.sections:
            # The scan blanks the header of a section whose name the file has already: tree holds the first one's keys.
            found = tree[section.name] if one.lines[section.line - 1] else {}
            conclusion.add(section, _validate(section, found, spec, validator))
    return conclusion.conclude([file for file, _ in texts])


def _parse(scan: lean.Scan) -> Any:
    """ConfigObj's reading of the lines that the scan left.

    Should ConfigObj refuse one of them after all, it wins: the section is refused, and read no further.
    """
    while True:
        try:
            return ConfigObj(list(scan.lines), interpolation=False)
        except ConfigObjError as error:
            at = error.errors[0].line_number
            number = max(number for number, section in enumerate(scan.sections) if section.line <= at)
            section = scan.sections[number]
            message = f"{values.show(scan.lines[at - 1].strip())}: ConfigObj cannot read this line"
            scan.problems.append(stack_problem(scan.file, at, section.name, message))
            section.damaged = True
            section.entries = {}
            end = scan.sections[number + 1].line - 1 if number + 1 < len(scan.sections) else len(scan.lines)
            scan.lines[section.line - 1 : end] = [""] * (end - section.line + 1)


def _checker(rule: str) -> Callable[..., str | int]:
    """The rule as a function for the Validator."""

    def check(value: str | list[str], *args: str) -> str | int:
        try:
            return values.check(rule, value, *args)
        except values.Refused as refused:
            raise RefusedByRule(refused) from None

    return check


def _validate(section: Section, found: Any, spec: Any, validator: Any) -> dict[str, str | int | values.Refused]:
    """Hold one section against the configspec; its entries become what ConfigObj found."""
    tree = ConfigObj(dict(found), configspec=spec, interpolation=False)
    known = section.entries
    section.entries = {key: (known[key][0] if key in known else section.line, value) for key, value in tree.items()}
    outcome = tree.validate(validator, preserve_errors=True)
    checked: dict[str, str | int | values.Refused] = {}
    for key in spec.scalars:
        # True and False stand for all keys at once; False is a required key that is missing.
        result = outcome[key] if isinstance(outcome, dict) else outcome
        if isinstance(result, RefusedByRule):
            checked[key] = result.refused
        elif result:
            checked[key] = tree[key]
    return checked
