"""The Avro schema that columns are written with."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from arrowstream.connectors.files.avro.schema import ATTRIBUTE, NARROW
from arrowstream.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONG_UNITS = {"ms": "millis", "us": "micros", "ns": "nanos"}
_PLAIN: dict[type[pl.DataType], str] = {
    pl.Null: "null",
    pl.Boolean: "boolean",
    pl.Int32: "int",
    pl.Int64: "long",
    pl.Float32: "float",
    pl.Float64: "double",
    pl.String: "string",
    pl.Categorical: "string",
    pl.Binary: "bytes",
}

_ANNOTATED = (pl.Date, pl.Time, pl.Decimal, pl.Datetime, pl.Duration)


def is_name(name: str) -> bool:
    """Whether Avro allows it as a name.

    Examples
    --------
    >>> is_name("user_id"), is_name("user id")
    (True, False)
    """
    return _NAME.fullmatch(name) is not None


def check_schema(schema: pl.Schema) -> None:
    """Raise PlanError naming the first column whose type Avro cannot hold."""
    for column, dtype in schema.items():
        reason = _cannot_hold(dtype)
        if reason is not None:
            inside = "" if reason[0] == str(dtype) else f" ({dtype})"
            raise PlanError(
                f"column '{column}'{inside} is {reason[0]}, which Avro cannot hold", hint=reason[1]
            )


def written_schema(schema: pl.Schema, record_name: str) -> dict[str, Any]:
    """The record that holds these columns, each of them a union of null and its type.

    What Avro has no type or no name for is noted in a property "polars" of the type or field, by which
    `parse_schema` finds it again: other readers see the nearest type, and a name without the letters that
    Avro forbids.
    """
    return _Writer().record(schema.items(), record_name)


@dataclass(slots=True)
class _Writer:
    """Names of records and enums are unique within a schema: `taken`."""

    taken: set[str] = field(default_factory=set)

    def record(self, fields: Iterable[tuple[str, pl.DataType]], name: str) -> dict[str, Any]:
        name = _unique(name, self.taken)
        taken: set[str] = set()
        written = []
        for column, dtype in fields:
            allowed = _unique(_allowed(column), taken)
            entry = {"name": allowed, "type": self.optional(dtype, f"{name}_{allowed}")}
            if allowed != column:
                entry[ATTRIBUTE] = column
            written.append(entry)
        return {"type": "record", "name": name, "fields": written}

    def optional(self, dtype: pl.DataType, name: str) -> Any:
        return "null" if isinstance(dtype, pl.Null) else ["null", self.type(dtype, name)]

    def type(self, dtype: pl.DataType, name: str) -> Any:
        if isinstance(dtype, pl.Struct):
            return self.record(((inner.name, _instance(inner.dtype)) for inner in dtype.fields), name)
        if isinstance(dtype, pl.List):
            return {"type": "array", "items": self.optional(_instance(dtype.inner), name)}
        if isinstance(dtype, pl.Array):
            items = self.optional(item_type(dtype), name)
            return {"type": "array", "items": items, ATTRIBUTE: dtype.shape[0]}
        if isinstance(dtype, pl.Enum):
            return {
                "type": "enum",
                "name": _unique(name, self.taken),
                "symbols": dtype.categories.to_list(),
            }
        return _PLAIN.get(type(dtype)) or _annotated(dtype)


def item_type(dtype: pl.Array) -> pl.DataType:
    """What a fixed-size list is a list of: another one if it has more than one dimension."""
    return _instance(dtype.inner)


def _annotated(dtype: pl.DataType) -> dict[str, Any]:
    """Types with a logical type or a note."""
    if isinstance(dtype, pl.Date):
        return {"type": "int", "logicalType": "date"}
    if isinstance(dtype, pl.Time):
        return {"type": "long", "logicalType": "time-micros"}
    if isinstance(dtype, pl.Decimal):
        digits = {"precision": dtype.precision, "scale": dtype.scale}
        return {"type": "bytes", "logicalType": "decimal", **digits}
    if isinstance(dtype, pl.Datetime):
        unit = _LONG_UNITS[dtype.time_unit]
        if dtype.time_zone is None:
            return {"type": "long", "logicalType": f"local-timestamp-{unit}"}
        written = {"type": "long", "logicalType": f"timestamp-{unit}"}
        return written if dtype.time_zone == "UTC" else {**written, ATTRIBUTE: dtype.time_zone}
    if isinstance(dtype, pl.Duration):
        return {"type": "long", ATTRIBUTE: f"Duration:{dtype.time_unit}"}
    assert str(dtype) in NARROW, dtype
    return {"type": "long" if isinstance(dtype, pl.UInt32) else "int", ATTRIBUTE: str(dtype)}


def _cannot_hold(dtype: Any) -> tuple[str, str] | None:
    """The type inside `dtype` that cannot be written, and what to do."""
    if isinstance(dtype, pl.Struct):
        inner = (_cannot_hold(inner.dtype) for inner in dtype.fields)
        return next((reason for reason in inner if reason is not None), None)
    if isinstance(dtype, pl.Array) and dtype.size == 0:
        return str(dtype), "cast it to lists: pl.List in place of pl.Array"
    if isinstance(dtype, (pl.List, pl.Array)):
        return _cannot_hold(dtype.inner)
    if isinstance(dtype, pl.Enum):
        wrong = [name for name in dtype.categories if not is_name(name)]
        if wrong or not len(dtype.categories):
            fact = f"an Enum with the category '{wrong[0]}'" if wrong else "an Enum without categories"
            return fact, "cast it to pl.String: names in Avro are of letters, digits and _"
        return None
    if type(dtype) in _PLAIN or isinstance(dtype, _ANNOTATED) or str(dtype) in NARROW:
        return None
    if isinstance(dtype, pl.DataType) and dtype.is_integer():
        return str(dtype), "cast it: to pl.Int64 if the values fit, else to pl.Decimal(38, 0) or pl.String"
    return str(dtype), "drop the column, or cast it to a type of its own"


def _instance(dtype: Any) -> pl.DataType:
    """Types inside of types may be given as classes."""
    made: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return made


def _allowed(name: str) -> str:
    allowed = re.sub(r"[^A-Za-z0-9_]", "_", name) or "_"
    return f"_{allowed}" if allowed[0].isdigit() else allowed


def _unique(name: str, taken: set[str]) -> str:
    unique, number = name, 1
    while unique in taken:
        number += 1
        unique = f"{name}_{number}"
    taken.add(unique)
    return unique
