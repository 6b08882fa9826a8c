"""Mistakes in a pipeline file, and where in the file they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from arrowstream.errors import ArrowStreamError

Path: TypeAlias = "tuple[str | int, ...]"
"""Keys and indices from the top of the file to a value: `("steps", 0, "filter")`."""


class Place(NamedTuple):
    """A place in a text file, counted from 1 as editors do."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong with a pipeline file.

    Attributes
    ----------
    file, place
        Where it is written.
    message
        What is wrong.
    choices
        What could have been written instead, if that is a closed set.
    hint
        The way out.
    """

    file: str
    place: Place
    message: str
    choices: tuple[str, ...] = ()
    hint: str | None = None

    @classmethod
    def of(cls, error: ArrowStreamError, file: str, place: Place) -> Mistake:
        """What an error of the API says, at a place of the file."""
        return cls(file, place, " ".join(error.fact.split()), error.choices, error.hint)

    def at_file(self, file: str) -> Mistake:
        """The same, with another name of the file."""
        return replace(self, file=file)

    def __str__(self) -> str:
        from arrowstream.errors import ArrowStreamError

        text = str(ArrowStreamError(self.message, choices=self.choices, hint=self.hint))
        return f"{self.file}:{self.place.line}:{self.place.column}: {text}"


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says: plain values, and the place of every key and value.

    Attributes
    ----------
    value
        Dicts, lists and scalars.
    values, keys
        Where each value, and each key, begins.
    """

    value: object
    values: dict[Path, Place]
    keys: dict[Path, Place]

    def at(self, path: Path) -> Any:
        """The value at `path`; None if there is none."""
        value: Any = self.value
        for key in path:
            if isinstance(value, dict):
                value = value.get(key)
            elif isinstance(value, list) and isinstance(key, int) and key < len(value):
                value = value[key]
            else:
                return None
        return value

    def place_of(self, path: Iterable[str | int], *, key: bool = False) -> Place:
        """Where the value at `path` (or its key) begins; if it is not there, where what is around it does."""
        path = tuple(path)
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Place(1, 1))


class MalformedError(Exception):
    """The text is no YAML or TOML: says where, and why."""

    def __init__(self, message: str, place: Place, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.hint = hint
