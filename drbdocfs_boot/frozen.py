"""Values of named fields that cannot be changed, declared as frozen dataclasses are.

For what every call of ``drbdocfs status`` needs: importing dataclasses, and making a dozen of them, takes longer than
two starts of the interpreter.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, whose import would be paid for at each start
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from typing_extensions import dataclass_transform

    T = TypeVar("T", bound="Frozen")
else:

    def dataclass_transform(**_: object) -> object:
        """Tells a type checker that fields are arguments."""
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Frozen:
    """Base of such values: annotations are fields, in their order, and what a class gives them is their default."""

    _fields: tuple[str, ...] = ()  # not a field: those are of classes below this one

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)

    def __init__(self, *args: object, **kwargs: object) -> None:
        given = dict(zip(self._fields, args), **kwargs)
        missing = [name for name in self._fields if name not in given and not hasattr(type(self), name)]
        if missing or len(args) > len(self._fields) or not given.keys() <= set(self._fields):
            fields = ", ".join(self._fields)
            raise TypeError(f"{type(self).__name__} has the fields {fields}; given: {', '.join(given)}")
        self.__dict__.update({name: given.get(name, getattr(type(self), name, None)) for name in self._fields})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be set: it is immutable")

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"


def replace(one: T, **changes: object) -> T:
    """The same with other values in these fields."""
    return type(one)(**{**one.__dict__, **changes})


def asdict(one: Frozen) -> dict[str, Any]:
    """The fields as a mapping, for JSON; so are those of the values within."""
    return {name: _plain(value) for name, value in one.__dict__.items()}


def _plain(value: object) -> object:
    if isinstance(value, Frozen):
        return asdict(value)
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
