"""YAML with the place of every value. Only plain values: no tag makes an object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from arrowstream.pipelines.mistakes import Document, MalformedError, Path, Place

if TYPE_CHECKING:
    from collections.abc import Callable

NODES_MAX = 100_000
"""Aliases may repeat a part of the file; this many values are more than anybody writes."""

_TAG = "tag:yaml.org,2002:"
_QUOTES_HINT = "put a text that has quotes, ': ' or ' #' in it into quotes, or on the next line after |"


def parse_yaml(text: str) -> Document:
    """Read a YAML file of one document.

    Raises
    ------
    MalformedError
        It is no YAML, has a key twice, or more in it than plain values.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        root: Any = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(1, 1) if mark is None else Place(mark.line + 1, mark.column + 1)
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise MalformedError(f"this is no YAML: {said}", place, _QUOTES_HINT) from error
    except YAMLError as error:  # characters that no YAML may have
        said = str(error).splitlines()[0]
        raise MalformedError(f"this is no YAML: {said}", _place_of_control(text)) from error
    except RecursionError as error:
        raise MalformedError("this is nested too deeply", Place(1, 1)) from error
    reader = _Reader()
    return Document(None if root is None else reader.value(root, ()), reader.values, reader.keys)


@dataclass(slots=True)
class _Reader:
    """Makes plain values of a tree of nodes, and notes where they are."""

    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    _open: set[int] = field(default_factory=set)
    _count: int = 0

    def value(self, node: Any, path: Path) -> object:
        place = _place(node)
        self.values[path] = place
        self._count += 1
        if self._count > NODES_MAX:
            raise MalformedError(f"the aliases stand for more than {NODES_MAX:,} values", place)
        if id(node) in self._open:
            raise MalformedError("this alias stands for what it is a part of", place)
        kind = str(node.tag).removeprefix(_TAG)
        self._open.add(id(node))
        try:
            if kind == "map" and isinstance(node.value, list):
                return self._mapping(node, path)
            if kind == "seq" and isinstance(node.value, list):
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))
        convert = _SCALARS.get(kind)
        if convert is None or not isinstance(node.value, str):
            raise MalformedError(f"the tag {node.tag} is not allowed", place, "write the value without a tag")
        try:
            return convert(node.value)
        except ValueError as error:
            raise MalformedError(f"{node.value!r} is no {kind}", place) from error

    def _mapping(self, node: Any, path: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            key, place = key_node.value, _place(key_node)
            if not isinstance(key, str):
                raise MalformedError("a key has to be a text", place)
            if key in found:
                first = self.keys[*path, key]
                raise MalformedError(f'"{key}" is here twice: first in line {first.line}', place)
            self.keys[*path, key] = place
            found[key] = self.value(value_node, (*path, key))
        return found


def _place(node: Any) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def _place_of_control(text: str) -> Place:
    for number, line in enumerate(text.splitlines(), start=1):
        for column, character in enumerate(line, start=1):
            if not character.isprintable() and character != "\t":
                return Place(number, column)
    return Place(1, 1)


def _boolean(text: str) -> bool:
    return text.lower() == "true"


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    return int(digits, 0 if digits.lstrip("+-")[:2].lower() in {"0x", "0o", "0b"} else 10)


def _float(text: str) -> float:
    return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: dict[str, Callable[[str], object]] = {
    "str": str,
    "timestamp": str,  # a date in an expression or a path is text
    "null": lambda _: None,
    "bool": _boolean,
    "int": _integer,
    "float": _float,
}
