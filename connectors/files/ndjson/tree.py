"""From a schema to the tree that `kernels.json_decode` walks, and from its buffers to a frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from arrowstream.connectors.files.text import inner_types

if TYPE_CHECKING:
    from collections.abc import Sequence

BYTES_MAX = 4 << 30
"""Of the buffers of one frame."""

_KEY_STEP = 8
_UNWRITTEN = frozenset(b'"\\') | frozenset(range(32))  # what is in no key as it is
_ITEMS_MIN = 1024
_UNIT_DIGITS = {"ms": 3, "us": 6, "ns": 9}
_ARROW: dict[type[Any], pa.DataType] = {
    pl.Int8: pa.int8(),
    pl.Int16: pa.int16(),
    pl.Int32: pa.int32(),
    pl.Int64: pa.int64(),
    pl.UInt8: pa.uint8(),
    pl.UInt16: pa.uint16(),
    pl.UInt32: pa.uint32(),
    pl.UInt64: pa.uint64(),
    pl.Float64: pa.float64(),
    pl.Date: pa.date32(),
    pl.Time: pa.time64("ns"),
}


@dataclass(frozen=True, slots=True)
class _Column:
    """A node's place in the table, its type as it is decoded, its level, and numbers of its buffers."""

    at: int
    dtype: Any
    level: int
    valid: int = -1
    data: int = -1
    arena: int = -1
    children: tuple[_Column, ...] = ()


@dataclass(slots=True)
class Tree:
    """Nodes for `kernels.json_decode.decode`, without the addresses of buffers.

    `buffers` are (where the address goes, level, bytes a value), `arenas` where their addresses go.
    """

    words: np.ndarray[Any, Any]
    keys: np.ndarray[Any, Any]
    columns: tuple[_Column, ...]
    names: tuple[str, ...]
    buffers: list[tuple[int, int, int]]
    arenas: list[int]
    levels: int
    depth: int

    @classmethod
    def of(cls, schema: pl.Schema) -> Tree:
        """For columns of some types.

        What is decoded has these types but for decimals, choices and wide integers (their texts), single
        floats (double ones) and arrays (lists).
        """
        from arrowstream.kernels.compile import frozen

        builder = _Builder()
        root = builder.node()
        columns = builder.fields(root, list(schema.items()), 0, 1)
        return cls(
            np.array(builder.words, np.int64),
            frozen(np.array(builder.keys, np.uint64)),
            columns,
            tuple(schema),
            builder.buffers,
            builder.arenas,
            builder.levels,
            builder.depth,
        )


@dataclass(slots=True)
class _Builder:
    words: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    buffers: list[tuple[int, int, int]] = field(default_factory=list)
    arenas: list[int] = field(default_factory=list)
    levels: int = 1
    depth: int = 0

    def node(self, count: int = 1) -> int:
        """Room for some neighbours."""
        from arrowstream.kernels import json_decode as k

        at = len(self.words)
        self.words.extend([0] * (count * k.WORDS))
        return at

    def fields(
        self, at: int, fields: Sequence[tuple[str, Any]], level: int, depth: int
    ) -> tuple[_Column, ...]:
        """Make the node at `at` a struct of some fields."""
        from arrowstream.kernels import json_decode as k

        first = self.node(len(fields))
        self._set(
            at, (k.KIND, k.STRUCT), (k.LEVEL, level), (k.A, first), (k.B, len(fields)), (k.FIRST, first)
        )
        columns = []
        for index, (name, dtype) in enumerate(fields):
            child = first + index * k.WORDS
            following = first + (index + 1) % len(fields) * k.WORDS
            self._set(child, (k.NEXT, following), (k.COLUMN, index if at == 0 else -1))
            self._key(child, name)
            columns.append(self._column(child, dtype, level, depth))
        return tuple(columns)

    def _column(self, at: int, dtype: Any, level: int, depth: int) -> _Column:
        from arrowstream.kernels import json_decode as k

        self.depth = max(self.depth, depth)
        self._set(at, (k.LEVEL, level))
        valid = self._buffer(at + k.VALID, level, 1)
        if isinstance(dtype, (pl.List, pl.Array)) and _is_known(dtype):
            items = self.node()
            self.levels += 1
            inner_level = self.levels - 1
            size = dtype.size if isinstance(dtype, pl.Array) else -1
            self._set(at, (k.KIND, k.LIST), (k.A, items), (k.B, size))
            self._set(items, (k.COLUMN, -1))
            data = self._buffer(at + k.DATA, level, 8)
            child = self._column(items, dtype.inner, inner_level, depth + 1)
            return _Column(at, pl.List(child.dtype), level, valid, data, children=(child,))
        if isinstance(dtype, pl.Struct) and _is_known(dtype):
            inner = [(part.name, part.dtype) for part in dtype.fields]
            children = self.fields(at, inner, level, depth + 1)
            names = [name for name, _ in inner]
            decoded = pl.Struct(dict(zip(names, (child.dtype for child in children), strict=True)))
            return _Column(at, decoded, level, valid, children=children)
        return self._leaf(at, dtype, level, valid)

    def _leaf(self, at: int, dtype: Any, level: int, valid: int) -> _Column:
        from arrowstream.kernels import json_decode as k

        if dtype.is_nested():
            self._set(at, (k.KIND, k.OTHER))
            return _Column(at, dtype, level, valid)
        arguments: tuple[int, ...] = ()
        width, decoded = 8, dtype
        if isinstance(dtype, pl.UInt64):
            kind, arguments = k.UNSIGNED, (0, 0, width)
        elif dtype.is_integer() and type(dtype) in _ARROW:
            width = _width(dtype)
            low, high = pl.select(dtype.min(), dtype.max().alias("max")).row(0)
            kind, arguments = k.INTEGER, (low, high, width)
        elif isinstance(dtype, (pl.Float32, pl.Float64)):
            kind, decoded = k.FLOAT, pl.Float64()
        elif isinstance(dtype, pl.Boolean):
            kind, width = k.BOOLEAN, 1
        elif isinstance(dtype, pl.Date):
            kind, width = k.DATE, 4
        elif isinstance(dtype, pl.Datetime):
            digits = _UNIT_DIGITS[dtype.time_unit]
            kind, arguments = k.DATETIME, (digits, int(dtype.time_zone is not None), 10**digits)
        elif isinstance(dtype, pl.Time):
            kind, arguments = k.TIME, (9, 0, 10**9)
        else:
            return self._text(at, dtype, level, valid)
        self._set(at, (k.KIND, kind), *zip((k.A, k.B, k.C), arguments, strict=False))
        return _Column(at, decoded, level, valid, self._buffer(at + k.DATA, level, width))

    def _text(self, at: int, dtype: Any, level: int, valid: int) -> _Column:
        from arrowstream.kernels import json_decode as k

        takes = k.STRINGS
        if isinstance(dtype, pl.String):
            takes = k.SHORT_VALUES
        elif isinstance(dtype, (pl.Int128, pl.UInt128)):
            takes = k.INTEGERS
        elif isinstance(dtype, pl.Decimal):
            takes = k.DECIMALS
        arena = len(self.arenas)
        self.arenas.append(at + k.ARENA)
        self._set(at, (k.KIND, k.TEXT), (k.A, takes), (k.USED, arena))
        return _Column(at, pl.String(), level, valid, self._buffer(at + k.DATA, level, 16), arena)

    def _key(self, at: int, name: str) -> None:
        """The bytes of a key with its closing quote, in words with a mask for each."""
        from arrowstream.kernels import json_decode as k

        content = name.encode()
        if _UNWRITTEN.intersection(content):
            return
        content += b'"'
        words = -(-len(content) // _KEY_STEP)
        self._set(at, (k.KEY, len(self.keys)), (k.KEY_WORDS, words), (k.KEY_BYTES, len(content)))
        mask = b"\xff" * len(content)
        for start in range(0, len(content), _KEY_STEP):
            for text in (content, mask):
                self.keys.append(int.from_bytes(text[start : start + _KEY_STEP], "little"))

    def _buffer(self, word: int, level: int, width: int) -> int:
        self.buffers.append((word, level, width))
        return len(self.buffers) - 1

    def _set(self, at: int, *values: tuple[int, int]) -> None:
        for word, value in values:
            self.words[at + word] = value


@dataclass(slots=True)
class Memory:
    """The buffers of one run over lines of `content_bytes` in all."""

    tree: Tree
    words: np.ndarray[Any, Any]
    capacity: np.ndarray[Any, Any]
    buffers: list[np.ndarray[Any, Any]]
    arenas: list[np.ndarray[Any, Any]]
    rows: np.ndarray[Any, Any]
    used: np.ndarray[Any, Any]

    @classmethod
    def of(cls, tree: Tree, lines: int, content_bytes: int) -> Memory:
        """Zeroed; items of lists get more room when they need it."""
        from arrowstream.kernels import json_text

        capacity = np.full(tree.levels, max(lines, _ITEMS_MIN), np.int64)
        words = tree.words.copy()
        buffers = [np.zeros((int(capacity[level]) + 1) * width, np.uint8) for _, level, width in tree.buffers]
        for (word, _, _), buffer in zip(tree.buffers, buffers, strict=True):
            words[word] = buffer.ctypes.data
        # No text is longer than what it is written as.
        arenas = [np.empty(content_bytes + json_text.PADDING_BYTES, np.uint8) for _ in tree.arenas]
        for word, arena in zip(tree.arenas, arenas, strict=True):
            words[word] = arena.ctypes.data
        rows, used = np.zeros(tree.levels, np.int64), np.zeros(max(len(arenas), 1), np.int64)
        return cls(tree, words, capacity, buffers, arenas, rows, used)

    def grow(self, level: int) -> bool:
        """Twice the room for the items of a level; False if that is too much.

        A few bytes can stand for an item of thousands of columns.
        """
        self.capacity[level] *= 2
        if sum(int(self.capacity[at_level]) * width for _, at_level, width in self.tree.buffers) > BYTES_MAX:
            return False
        for index, (word, at_level, width) in enumerate(self.tree.buffers):
            if at_level == level:
                larger = np.zeros((int(self.capacity[level]) + 1) * width, np.uint8)
                written = int(self.rows[level]) * width
                larger[:written] = self.buffers[index][:written]
                self.buffers[index] = larger
                self.words[word] = larger.ctypes.data
        return True

    def frame(self) -> pl.DataFrame:
        """The rows as columns."""
        arrays = [self._array(column) for column in self.tree.columns]
        names = [str(index) for index in range(len(arrays))]  # Polars would not take all of their own
        frame = pl.DataFrame(pl.from_arrow(pa.RecordBatch.from_arrays(arrays, names), rechunk=False))
        frame.columns = list(self.tree.names)
        return frame

    def _array(self, column: _Column) -> pa.Array:
        rows = int(self.rows[column.level])
        validity = self._validity(column, rows)
        if isinstance(column.dtype, pl.Struct) and column.children:
            children = [self._array(child) for child in column.children]
            kind = pa.struct(
                [
                    pa.field(part.name, child.type)
                    for part, child in zip(column.dtype.fields, children, strict=True)
                ]
            )
            return pa.Array.from_buffers(kind, rows, [validity], children=children)
        if column.data < 0:
            return pl.Series([None] * rows, dtype=column.dtype).to_arrow()
        data = self.buffers[column.data]
        if column.children:
            items = self._array(column.children[0])
            offsets = np.zeros(rows + 1, np.int64)
            np.maximum.accumulate(data.view(np.int64)[:rows], out=offsets[1:])
            kind = pa.large_list(pa.field("item", items.type))
            return pa.Array.from_buffers(kind, rows, [validity, pa.py_buffer(offsets)], children=[items])
        if column.arena >= 0:
            buffers = [validity, pa.py_buffer(data[: rows * 16]), self._arena(column.arena)]
            return pa.Array.from_buffers(pa.string_view(), rows, buffers)
        if isinstance(column.dtype, pl.Boolean):
            bits = pa.py_buffer(np.packbits(data[:rows], bitorder="little"))
            return pa.Array.from_buffers(pa.bool_(), rows, [validity, bits])
        if isinstance(column.dtype, pl.Datetime):
            kind = pa.timestamp(column.dtype.time_unit, column.dtype.time_zone)
        else:
            kind = _ARROW[type(column.dtype)]
        width = self.tree.buffers[column.data][2]
        return pa.Array.from_buffers(kind, rows, [validity, pa.py_buffer(data[: rows * width])])

    def _validity(self, column: _Column, rows: int) -> pa.Buffer | None:
        is_valid = self.buffers[column.valid][:rows]
        if is_valid.all():
            return None
        return pa.py_buffer(np.packbits(is_valid, bitorder="little"))

    def _arena(self, index: int) -> pa.Buffer:
        """What is used of it; copied if that is little, so that the rest is not kept with the column."""
        arena, used = self.arenas[index], int(self.used[index])
        return pa.py_buffer(arena[:used] if used > arena.size // 2 else arena[:used].copy())


def _is_known(dtype: Any) -> bool:
    """Whether there is nothing in a type that the kernel has no place for: structs without fields."""
    return not any(isinstance(inner, pl.Struct) and not inner.fields for inner in inner_types(dtype))


def _width(dtype: pl.DataType) -> int:
    bits: int = _ARROW[type(dtype)].bit_width
    return bits // 8
