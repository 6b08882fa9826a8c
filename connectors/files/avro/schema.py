"""Avro schemas as a tree of nodes that know their Polars type."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import polars as pl

from arrowstream.errors import DataError, PlanError

Kind: TypeAlias = Literal[
    "null",
    "boolean",
    "integer",
    "float",
    "double",
    "bytes",
    "text",
    "decimal",
    "uuid",
    "record",
    "list",
    "union",
]

NODES_MAX = 10_000
"""Fields of a schema with all references to named types written out; a small schema can stand for 2^n."""

DEPTH_MAX = 48
"""Records, arrays, maps and unions within one another."""

DECIMAL_DIGITS_MAX = 38
"""What a Polars Decimal holds."""

ATTRIBUTE = "polars"
"""Property in which the writer keeps what Avro has no type for, such as "UInt8"; others do not read it."""

_INT = (-(2**31), 2**31 - 1)
_LONG = (-(2**63), 2**63 - 1)
_DAY_MS = 24 * 60 * 60 * 1000

NARROW = {
    "Int8": (pl.Int8(), -(2**7), 2**7 - 1),
    "Int16": (pl.Int16(), -(2**15), 2**15 - 1),
    "UInt8": (pl.UInt8(), 0, 2**8 - 1),
    "UInt16": (pl.UInt16(), 0, 2**16 - 1),
    "UInt32": (pl.UInt32(), 0, 2**32 - 1),
}
"""Integers that Avro has no type for, with their least and greatest value."""

_UNITS = {"millis": "ms", "micros": "us", "nanos": "ns"}


@dataclass(frozen=True, slots=True)
class Node:
    """One type of the schema: how it is encoded, and the type of its column.

    `fields` are those of a record, the branches of a union (None for null) or the one item of a list;
    a map is a list of records. Integers lie in `low`..`high` and are multiplied by `factor`; `size` bytes
    are of a fixed, -1 if each value says how many. `null_branch` is the place of "null" in a union of two,
    -1 if it is none, whose other branch the node then is. No value takes less than `least_bytes`, and
    `nodes` says how many there are in the tree.
    """

    kind: Kind
    dtype: pl.DataType
    fields: tuple[tuple[str, Node | None], ...] = ()
    low: int = 0
    high: int = 0
    factor: int = 1
    size: int = -1
    null_branch: int = -1
    least_bytes: int = 1
    nodes: int = 1


def parse_schema(text: bytes, path: str) -> Node:
    """The record that a file's rows are: columns are its fields; anything else is one column "value".

    Raises  DataError if it is no Avro schema; PlanError if it is one that no table can hold
    """
    try:
        written = json.loads(text)
        root = _Parser(path).node(written, "", "", 0)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} has an Avro schema that is not JSON: {error}",
            hint="the file is damaged or of another format",
        ) from error
    if root.kind == "record" and root.null_branch < 0 and isinstance(written, dict):
        return root
    return _record([("value", root)])


@dataclass(slots=True)
class _Parser:
    path: str
    named: dict[str, Node | None] = field(default_factory=dict)  # None: we are inside of it

    def node(self, written: Any, namespace: str, place: str, depth: int) -> Node:
        if depth > DEPTH_MAX:
            raise self._unfit(place, f"is more than {DEPTH_MAX} types deep")
        if isinstance(written, list):
            found = self._union(written, namespace, place, depth)
        elif isinstance(written, str):
            found = self._primitive(written) or self._reference(written, namespace, place)
        elif isinstance(written, dict):
            found = self._complex(written, namespace, place, depth)
        else:
            raise self._wrong(place, f"a type is {json.dumps(written)[:80]}")
        if found.nodes > NODES_MAX:
            raise self._unfit(
                place, f"has more than {NODES_MAX:,} fields when its named types are written out"
            )
        return found

    def _complex(self, written: dict[str, Any], namespace: str, place: str, depth: int) -> Node:
        name = written.get("type")
        if isinstance(name, (dict, list)):
            return self.node(name, namespace, place, depth + 1)
        if name in ("record", "error", "enum", "fixed"):
            full, inner = _full_name(written, namespace)
            if full in self.named:
                raise self._wrong(place, f"two types are named '{full}'")
            self.named[full] = None
            if name == "enum":
                found = self._enum(written, place)
            elif name == "fixed":
                found = self._fixed(written, place)
            else:
                found = self._fields(written, inner, place, depth)
            self.named[full] = found
            return found
        if name == "array":
            item = self.node(written.get("items"), namespace, _join(place, "[]"), depth + 1)
            return _list(item, written.get(ATTRIBUTE))
        if name == "map":
            value = self.node(written.get("values"), namespace, _join(place, "{}"), depth + 1)
            return _list(_record([("key", _TEXT), ("value", value)]))
        if not isinstance(name, str):
            raise self._wrong(place, f"a type is {json.dumps(written)[:80]}")
        plain = self._primitive(name)
        if plain is None:
            return self._reference(name, namespace, place)
        return self._logical(plain, name, written, place)

    def _primitive(self, name: str) -> Node | None:
        return _PRIMITIVES.get(name)

    def _reference(self, name: str, namespace: str, place: str) -> Node:
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        if full not in self.named and name in self.named:
            full = name
        if full not in self.named:
            raise self._wrong(place, f"type '{name}' is not known")
        found = self.named[full]
        if found is None:
            raise self._unfit(place, f"is a '{name}' within a '{name}'")
        return found

    def _fields(self, written: dict[str, Any], namespace: str, place: str, depth: int) -> Node:
        fields: list[tuple[str, Node]] = []
        entries = written.get("fields")
        if not isinstance(entries, list):
            raise self._wrong(place, "a record has no fields")
        for entry in entries:
            name = entry.get("name") if isinstance(entry, dict) else None
            if not isinstance(name, str):
                raise self._wrong(place, "a field has no name")
            given = entry.get(ATTRIBUTE)
            name = given if isinstance(given, str) else name
            if "\0" in name:
                raise self._wrong(place, "the name of a field has a NUL in it")
            fields.append((name, self.node(entry.get("type"), namespace, _join(place, name), depth + 1)))
        names = {name for name, _ in fields}
        if len(names) < len(fields):
            raise self._wrong(place, "two fields have one name")
        return _record(fields)

    def _enum(self, written: dict[str, Any], place: str) -> Node:
        symbols = written.get("symbols")
        if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
            raise self._wrong(place, "an enum has no symbols")
        if not symbols or len(set(symbols)) < len(symbols):
            raise self._wrong(place, "an enum has no symbols, or one of them twice")
        return Node("integer", pl.Enum(symbols), high=len(symbols) - 1)

    def _fixed(self, written: dict[str, Any], place: str) -> Node:
        size = written.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**31:
            raise self._wrong(place, f"a fixed has the size {json.dumps(size)}")
        logical = written.get("logicalType")
        if logical == "decimal":
            return self._decimal(written, place, size)
        if logical == "uuid" and size == 16:
            return Node("uuid", pl.String(), size=16, least_bytes=16)
        if logical == "duration" and size == 12:
            part = Node("float", pl.UInt32(), least_bytes=4)  # four bytes as they are
            return _record([("months", part), ("days", part), ("milliseconds", part)])
        return Node("bytes", pl.Binary(), size=size, least_bytes=size)

    def _logical(self, plain: Node, name: str, written: dict[str, Any], place: str) -> Node:
        """A logical type, or the plain one if there is none, or one that is not known."""
        logical = written.get("logicalType")
        given = written.get(ATTRIBUTE)
        if not isinstance(logical, str):
            return _narrowed(plain, name, given)
        if name == "bytes" and logical == "decimal":
            return self._decimal(written, place, -1)
        if name == "int" and logical == "date":
            return replace(plain, dtype=pl.Date())
        if (name, logical) == ("int", "time-millis"):
            return Node("integer", pl.Time(), high=_DAY_MS - 1, factor=1_000_000)
        if (name, logical) == ("long", "time-micros"):
            return Node("integer", pl.Time(), high=_DAY_MS * 1000 - 1, factor=1_000)
        kind, _, unit = logical.rpartition("-")
        if name == "long" and unit in _UNITS and kind in ("timestamp", "local-timestamp"):
            zone = "UTC" if kind == "timestamp" else None
            if zone and isinstance(given, str) and _is_zone(given):
                zone = given
            return replace(plain, dtype=pl.Datetime(_UNITS[unit], zone))  # type: ignore[arg-type]
        return plain

    def _decimal(self, written: dict[str, Any], place: str, size: int) -> Node:
        precision, scale = written.get("precision"), written.get("scale", 0)
        plain = Node("bytes", pl.Binary(), size=size, least_bytes=max(size, 0) if size >= 0 else 1)
        if not (type(precision) is int and type(scale) is int and 0 <= scale <= precision and precision > 0):
            return plain  # the specification: an invalid logical type is ignored
        if precision > DECIMAL_DIGITS_MAX:
            raise self._unfit(place, f"is a decimal of {precision} digits, Polars holds {DECIMAL_DIGITS_MAX}")
        return replace(plain, kind="decimal", dtype=pl.Decimal(precision, scale), high=10**precision)

    def _union(self, written: list[Any], namespace: str, place: str, depth: int) -> Node:
        if any(isinstance(branch, list) for branch in written):
            raise self._wrong(place, "a union is a branch of a union")
        names = [_branch_name(branch, namespace) for branch in written]
        if not names or len(set(names)) < len(names):
            raise self._wrong(place, "a union has no branch, or one of them twice")
        short = [name.rpartition(".")[2] for name in names]
        names = short if len(set(short)) == len(short) else names
        branches: list[tuple[str, Node | None]] = []
        for name, branch in zip(names, written, strict=True):
            found = None
            if name != "null":
                inner = place if len(names) == 2 and "null" in names else _join(place, name)
                found = self.node(branch, namespace, inner, depth + 1)
            branches.append((name, found))
        others = [branch for _, branch in branches if branch is not None]
        if not others:
            return replace(_PRIMITIVES["null"], least_bytes=1)
        if len(branches) == 2 and len(others) == 1 and others[0].null_branch < 0:
            return replace(others[0], null_branch=names.index("null"), least_bytes=1, nodes=others[0].nodes)
        dtype = pl.Struct({name: branch.dtype for name, branch in branches if branch is not None})
        nodes = 1 + sum(branch.nodes for branch in others)
        return Node("union", dtype, tuple(branches), nodes=nodes)

    def _wrong(self, place: str, fact: str) -> DataError:
        where = f" at '{place}'" if place else ""
        return DataError(
            f"{self.path} has a schema that is not Avro's{where}: {fact}",
            hint="write the file again with a valid schema",
        )

    def _unfit(self, place: str, fact: str) -> PlanError:
        return PlanError(
            f"field '{place}' of {self.path} {fact}, which no column can hold",
            hint="read the file with a library for Avro records, such as fastavro, and reshape it",
        )


_PRIMITIVES: dict[str, Node] = {
    "null": Node("null", pl.Null(), least_bytes=0),
    "boolean": Node("boolean", pl.Boolean()),
    "int": Node("integer", pl.Int32(), low=_INT[0], high=_INT[1]),
    "long": Node("integer", pl.Int64(), low=_LONG[0], high=_LONG[1]),
    "float": Node("float", pl.Float32(), least_bytes=4),
    "double": Node("double", pl.Float64(), least_bytes=8),
    "bytes": Node("bytes", pl.Binary()),
    "string": Node("text", pl.String()),
}
_TEXT = _PRIMITIVES["string"]


def _record(fields: list[tuple[str, Node]]) -> Node:
    return Node(
        "record",
        pl.Struct({name: node.dtype for name, node in fields}),
        tuple(fields),
        least_bytes=sum(node.least_bytes for _, node in fields),
        nodes=1 + sum(node.nodes for _, node in fields),
    )


def _list(item: Node, size: object = None) -> Node:
    """A list; of a fixed length if the writer has noted one."""
    dtype: pl.DataType = pl.List(item.dtype)
    if type(size) is int and 0 < size < 2**31:
        dtype = pl.Array(item.dtype, size)
    return Node("list", dtype, (("item", item),), nodes=1 + item.nodes)


def _narrowed(plain: Node, name: str, given: object) -> Node:
    """The type that the writer has noted, if it is one of those it writes so."""
    if name in ("int", "long") and isinstance(given, str):
        if given in NARROW and (given == "UInt32") == (name == "long"):
            dtype, low, high = NARROW[given]
            return replace(plain, dtype=dtype, low=low, high=high)
        unit = given.removeprefix("Duration:")
        if name == "long" and unit != given and unit in _UNITS.values():
            return replace(plain, dtype=pl.Duration(unit))  # type: ignore[arg-type]
    return plain


def _is_zone(name: str) -> bool:
    try:
        pl.Series([0]).cast(pl.Datetime("us", name))
    except pl.exceptions.PolarsError:
        return False
    return True


def _full_name(written: dict[str, Any], namespace: str) -> tuple[str, str]:
    """A named type's full name, and the namespace of what is in it."""
    name, own = written.get("name", ""), written.get("namespace", namespace)
    name = name if isinstance(name, str) else ""
    own = own if isinstance(own, str) else namespace
    if "." in name:
        return name, name.rpartition(".")[0]
    return (f"{own}.{name}" if own else name), own


def _branch_name(branch: Any, namespace: str) -> str:
    if isinstance(branch, str):
        return branch
    if not isinstance(branch, dict):
        return json.dumps(branch)[:80]
    kind = branch.get("type")
    if kind in ("record", "error", "enum", "fixed"):
        return _full_name(branch, namespace)[0]
    return kind if isinstance(kind, str) else _branch_name(kind, namespace)


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
