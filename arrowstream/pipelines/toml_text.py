"""TOML with the place of every value.

`tomllib` reads the values but not where they are, so that a scanner finds the places in a second pass: over
a text that is known to be right, and so without any checks of its own.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any, TypeAlias

from arrowstream.pipelines.mistakes import Document, MalformedError, Path, Place

_MESSAGE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACES = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|'[^']*'""")
_TEXT = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:\\.|[^"\\])*"|' + r"'[^']*'",
    re.DOTALL,
)
_BARE = re.compile(r"[^,\]}\r\n#]+")

_Keys: TypeAlias = "tuple[str, ...]"


def parse_toml(text: str) -> Document:
    """Read a TOML file.

    Raises
    ------
    MalformedError
        It is no TOML.
    """
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        found = _MESSAGE.fullmatch(said)
        lines = text.splitlines()
        place = Place(max(1, len(lines)), len(lines[-1]) + 1 if lines else 1)
        if found and found[2]:
            place = Place(int(found[2]), int(found[3]))
        raise MalformedError(f"this is no TOML: {found[1] if found else said}", place) from error
    except RecursionError as error:
        raise MalformedError("this is nested too deeply", Place(1, 1)) from error
    scanner = _Scanner(text)
    scanner.scan()
    return Document(_plain(value), scanner.values, scanner.keys)


def _plain(value: Any) -> object:
    """Times as text: in an expression or a path they are nothing else."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime | date | time) else value


@dataclass(slots=True)
class _Scanner:
    """Walks over the text and notes where keys and values begin."""

    text: str
    values: dict[Path, Place] = field(default_factory=lambda: {(): Place(1, 1)})
    keys: dict[Path, Place] = field(default_factory=dict)
    _at: int = 0
    _lengths: dict[Path, int] = field(default_factory=dict)

    def scan(self) -> None:
        table: Path = ()
        while self._skip(_BLANK) < len(self.text):
            if self.text.startswith("[[", self._at):
                table = self._header(array=True)
            elif self.text[self._at] == "[":
                table = self._header(array=False)
            else:
                self._pair(table)

    def _skip(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self.text, self._at)
        self._at = self._at if found is None else found.end()
        return self._at

    def _place(self, offset: int) -> Place:
        return Place(self.text.count("\n", 0, offset) + 1, offset - self.text.rfind("\n", 0, offset))

    def _header(self, *, array: bool) -> Path:
        place = self._place(self._at)
        self._at += 2 if array else 1
        *above, last = self._dotted()
        path = self._down((), tuple(above), place)
        self._at = self.text.index("]", self._at) + (2 if array else 1)
        path = (*path, last)
        self.keys.setdefault(path, place)
        if array:
            index = self._lengths.get(path, 0)
            self._lengths[path] = index + 1
            self.values.setdefault(path, place)
            path = (*path, index)
        self.values.setdefault(path, place)
        return path if array else self._latest(path)

    def _down(self, path: Path, keys: _Keys, place: Place) -> Path:
        """Follow keys from a table; an array of tables stands for its last one."""
        for key in keys:
            path = (*self._latest(path), key)
            self.keys.setdefault(path, place)
            self.values.setdefault(path, place)
        return self._latest(path)

    def _latest(self, path: Path) -> Path:
        return (*path, self._lengths[path] - 1) if path in self._lengths else path

    def _dotted(self) -> _Keys:
        keys: list[str] = []
        while True:
            self._skip(_SPACES)
            found = _KEY.match(self.text, self._at)
            assert found is not None
            keys.append(_unquoted(found[0]))
            self._at = found.end()
            self._skip(_SPACES)
            if not self.text.startswith(".", self._at):
                return tuple(keys)
            self._at += 1

    def _pair(self, table: Path) -> None:
        place = self._place(self._skip(_SPACES))
        *above, last = self._dotted()
        path = (*self._down(table, tuple(above), place), last)
        self.keys[path] = place
        self._at += 1  # the equals sign
        self._skip(_SPACES)
        self._value(path)

    def _value(self, path: Path) -> None:
        self.values[path] = self._place(self._at)
        first = self.text[self._at]
        if first == "[":
            self._items(path)
        elif first == "{":
            self._inline_table(path)
        elif first in "\"'":
            self._skip(_TEXT)
        else:
            self._skip(_BARE)

    def _items(self, path: Path) -> None:
        self._at += 1
        index = 0
        while self.text[self._skip(_BLANK)] != "]":
            if self.text[self._at] == ",":
                self._at += 1
                continue
            self._value((*path, index))
            index += 1
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while self.text[self._skip(_BLANK)] != "}":
            if self.text[self._at] == ",":
                self._at += 1
                continue
            self._pair(path)
        self._at += 1


def _unquoted(key: str) -> str:
    """The key that a bare or quoted key of TOML stands for."""
    if key[0] not in "\"'":
        return key
    return str(next(iter(tomllib.loads(f"{key} = 0"))))
