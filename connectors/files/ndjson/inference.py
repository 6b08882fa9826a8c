"""Columns and types from some records: what takes all of their values without changing one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from arrowstream.connectors.files.ndjson.surrogates import has_half_pair
from arrowstream.connectors.files.text import EXACT_INTEGER_MAX
from arrowstream.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_INTEGERS = {"int64": (-(2**63), 2**63 - 1), "uint64": (0, 2**64 - 1)}


class _Seen:
    """What one value, or an element or a field of it, has been in the records so far."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()
        self._low = self._high = 0
        self._element: _Seen | None = None
        self._fields: dict[str, _Seen] = {}

    def add(self, value: Any) -> None:
        """One more."""
        match value:
            case None:
                return
            case bool():
                self._kinds.add("boolean")
            case int():
                self._kinds.add("integer")
                self._low, self._high = min(self._low, value), max(self._high, value)
            case float():
                self._kinds.add("float")
            case str():
                self._kinds.add("string")
            case list():
                self._kinds.add("list")
                self._element = self._element or _Seen()
                for element in value:
                    self._element.add(element)
            case dict():
                self._kinds.add("object")
                self.add_fields(value)

    def add_fields(self, fields: Mapping[str, Any]) -> None:
        """An object; its keys are in the order of their first time."""
        for key, value in fields.items():
            if key not in self._fields:
                self._fields[key] = _Seen()
            self._fields[key].add(value)

    def dtype(self) -> pl.DataType:
        """The type for all of them. String for what does not go together: it has the JSON text."""
        match sorted(self._kinds):
            case []:
                return pl.String()
            case ["boolean"]:
                return pl.Boolean()
            case ["integer"]:
                return self._integer()
            case ["float"]:
                return pl.Float64()
            case ["float", "integer"]:
                exact = max(-self._low, self._high) <= EXACT_INTEGER_MAX
                return pl.Float64() if exact else pl.String()
            case ["list"]:
                assert self._element is not None, "it is made with the first list"
                return pl.List(self._element.dtype())
            case ["object"] if self._fields:
                return pl.Struct({name: seen.dtype() for name, seen in self._fields.items()})
        return pl.String()

    def columns(self) -> dict[str, pl.DataType]:
        """Of the records themselves."""
        return {name: seen.dtype() for name, seen in self._fields.items()}

    def _integer(self) -> pl.DataType:
        for dtype, (least, largest) in ((pl.Int64(), _INTEGERS["int64"]), (pl.UInt64(), _INTEGERS["uint64"])):
            if least <= self._low and self._high <= largest:
                return dtype
        return pl.String()


def inferred_schema(
    lines: Iterable[bytes],
    records_max: int | None,
    overrides: Mapping[str, pl.DataType | type[pl.DataType]],
    path: str,
) -> pl.Schema:
    """Columns of the first records, in the order in which they appear.

    Cost    a few microseconds a value: for samples

    Raises
    ------
    DataError
        A key that cannot be the name of a column.
    """
    seen = _Seen()
    records = 0
    for line in lines:
        if records_max is not None and records >= records_max:
            break
        if has_half_pair(line):
            continue
        try:
            record = json.loads(line, object_pairs_hook=first_wins, parse_constant=_no_json)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            records += 1
            for key in _keys(record):
                if "\0" in key:
                    raise DataError(f"{path} has the key {key!r}: no column can have NUL in its name")
            seen.add_fields(record)
    types = seen.columns()
    return pl.Schema({name: overrides.get(name, dtype) for name, dtype in types.items()})


def _keys(value: Any) -> Iterator[str]:
    """All keys of the objects in a value."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


def first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a key that comes twice the first one counts, as in Polars."""
    record: dict[str, Any] = {}
    for key, value in pairs:
        record.setdefault(key, value)
    return record


def _no_json(constant: str) -> Any:
    raise ValueError(constant)
