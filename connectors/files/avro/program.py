"""From the tree of a schema to the program that decodes it, and from its buffers to a frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Collection

    from arrowstream.connectors.files.avro.schema import Node

BYTES_MAX = 4 << 30
"""Of the buffers of one frame."""

_UUID_TEXT_FACTOR = 3  # 36 letters of 16 bytes, rounded up
_WIDTHS = {"boolean": 1, "float": 4, "double": 8, "bytes": 16, "text": 16, "decimal": 16, "uuid": 16}
_LOW_WORD = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Place:
    """One column's buffers: in which level, at which instruction; -1 if there is no such buffer."""

    node: Node
    level: int
    data: int = -1
    valid: int = -1
    arena: int = -1
    children: tuple[tuple[str, Place | None], ...] = ()


@dataclass(slots=True)
class Program:
    """Instructions for `kernels.avro_decode.decode`, without the addresses of buffers.

    `buffers` are (where the address goes, level, bytes a value), `arenas` (where the address goes, bytes an
    input byte) and `fields` says to which field an instruction belongs.
    """

    words: np.ndarray[Any, Any]
    jumps: np.ndarray[Any, Any]
    columns: dict[str, Place]
    buffers: list[tuple[int, int, int]]
    arenas: list[tuple[int, int]]
    levels: int
    lists: int
    fields: list[str]

    @property
    def row_bytes(self) -> int:
        """What a record takes in the buffers, without the items of its lists."""
        return sum(width for _, level, width in self.buffers if level == 0)


def compile_program(root: Node, columns: Collection[str]) -> Program:
    """The program for the records of `root` that keeps the given columns and passes over the others."""
    compiler = _Compiler()
    places = {}
    for name, node in root.fields:
        assert node is not None
        places[name] = compiler.emit(node, 0, name, wanted=name in columns, is_optional=False)
    return Program(
        np.array(compiler.words, np.int64),
        np.array(compiler.jumps or [0], np.int64),
        {name: places[name] for name in columns},
        compiler.buffers,
        compiler.arenas,
        compiler.levels,
        compiler.lists,
        compiler.fields,
    )


@dataclass(slots=True)
class _Compiler:
    words: list[int] = field(default_factory=list)
    jumps: list[int] = field(default_factory=list)
    buffers: list[tuple[int, int, int]] = field(default_factory=list)
    arenas: list[tuple[int, int]] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    levels: int = 1
    lists: int = 0

    def emit(self, node: Node, level: int, name: str, *, wanted: bool, is_optional: bool) -> Place:
        """Instructions for a node and what is in it. `is_optional`: what it is in can be null."""
        from arrowstream.kernels import avro_decode as k

        is_optional = is_optional or node.null_branch >= 0
        if node.kind == "null" and node.least_bytes == 0:
            return Place(node, level)
        if node.kind == "union":
            return self._union(node, level, name, wanted=wanted)
        if node.kind == "list":
            return self._list(node, level, name, wanted=wanted, is_optional=is_optional)
        if node.kind == "record":
            at = self._instruction(k.RECORD, node, level, name)
            valid = self._buffer(at + k.VALID, level, 1) if wanted and is_optional else -1
            children = []
            for child_name, child in node.fields:
                assert child is not None
                inner = f"{name}.{child_name}"
                children.append(
                    (child_name, self.emit(child, level, inner, wanted=wanted, is_optional=is_optional))
                )
            self._end(at)
            return Place(node, level, valid=valid, children=tuple(children))
        return self._leaf(node, level, name, wanted=wanted, is_optional=is_optional)

    def _leaf(self, node: Node, level: int, name: str, *, wanted: bool, is_optional: bool) -> Place:
        from arrowstream.kernels import avro_decode as k

        operations = {
            "null": k.INTEGER,
            "integer": k.INTEGER,
            "boolean": k.BOOLEAN,
            "float": k.FLOAT,
            "double": k.DOUBLE,
            "bytes": k.BYTES,
            "text": k.TEXT,
            "decimal": k.DECIMAL,
            "uuid": k.UUID,
        }
        at = self._instruction(operations[node.kind], node, level, name)
        data = valid = arena = -1
        if node.kind in ("null", "integer"):
            width = _integer_width(node)
            arguments = (node.low, node.high, width, node.factor)
        else:
            width = _WIDTHS[node.kind]
            arguments = (node.size, 0, 0, 0)
        if node.kind == "decimal":
            low = node.high & _LOW_WORD
            arguments = (node.size, node.high >> 64, low - (1 << 64) if low >> 63 else low, 0)
        self.words[at + k.A : at + k.D + 1] = arguments
        if wanted and node.kind != "null":
            data = self._buffer(at + k.DATA, level, width)
            valid = self._buffer(at + k.VALID, level, 1) if is_optional else -1
            if node.kind in ("bytes", "text", "uuid"):
                arena = len(self.arenas)
                self.words[at + k.USED] = arena
                self.arenas.append((at + k.ARENA, _UUID_TEXT_FACTOR if node.kind == "uuid" else 1))
        self._end(at)
        return Place(node, level, data, valid, arena)

    def _union(self, node: Node, level: int, name: str, *, wanted: bool) -> Place:
        from arrowstream.kernels import avro_decode as k

        at = self._instruction(k.UNION, node, level, name)
        valid = self._buffer(at + k.VALID, level, 1) if wanted else -1
        table = len(self.jumps)
        self.jumps.extend([-1] * len(node.fields))
        null = next((index for index, (_, branch) in enumerate(node.fields) if branch is None), -1)
        self.words[at + k.A : at + k.C + 1] = (table, len(node.fields), null)
        children: list[tuple[str, Place | None]] = []
        ends = []
        for index, (branch_name, branch) in enumerate(node.fields):
            if branch is None:
                continue
            self.jumps[table + index] = len(self.words)
            inner = f"{name}.{branch_name}"
            children.append((branch_name, self.emit(branch, level, inner, wanted=wanted, is_optional=True)))
            ends.append(self._instruction(k.JUMP, None, level, name))
        self._end(at)
        for jump in ends:
            self.words[jump + k.A] = len(self.words)
        return Place(node, level, valid=valid, children=tuple(children))

    def _list(self, node: Node, level: int, name: str, *, wanted: bool, is_optional: bool) -> Place:
        from arrowstream.kernels import avro_decode as k

        item = node.fields[0][1]
        assert item is not None
        at = self._instruction(k.LIST, node, level, name)
        valid = self._buffer(at + k.VALID, level, 1) if wanted and is_optional else -1
        number, inner_level = self.lists, self.levels
        self.lists += 1
        self.levels += 1
        body = len(self.words)
        child = self.emit(item, inner_level, f"{name}[]", wanted=wanted, is_optional=False)
        counted = self._instruction(k.ITEM, None, level, name)
        self.words[counted + k.C] = inner_level
        following = self._instruction(k.NEXT, None, level, name)
        self.words[following + k.A : following + k.D + 1] = (body, number, inner_level, item.least_bytes)
        data = self._buffer(following + k.DATA, level, 8) if wanted else -1
        self.words[at + k.A], self.words[at + k.B] = following, number
        self._end(at)
        return Place(node, level, data, valid, children=(("item", child),))

    def _instruction(self, operation: int, node: Node | None, level: int, name: str) -> int:
        from arrowstream.kernels import avro_decode as k

        at = len(self.words)
        self.words.extend([0] * k.WORDS)
        self.words[at + k.OP] = operation
        self.words[at + k.NULL_BRANCH] = node.null_branch if node is not None else -1
        self.words[at + k.LEVEL] = level
        self.fields.append(name)
        return at

    def _end(self, at: int) -> None:
        from arrowstream.kernels import avro_decode as k

        self.words[at + k.END] = len(self.words)

    def _buffer(self, word: int, level: int, width: int) -> int:
        self.buffers.append((word, level, width))
        return len(self.buffers) - 1


@dataclass(frozen=True, slots=True)
class _Rows:
    """Values of a level: the first `count`, or those at some places, and zeros where a place is -1."""

    count: int
    places: np.ndarray[Any, Any] | None = None

    def of(self, buffer: np.ndarray[Any, Any], width: int = 1) -> np.ndarray[Any, Any]:
        """Their bytes, of `width` a value.

        Shape   buffer: uint8[..]; returns uint8[count * width]
        """
        if self.places is None:
            return buffer[: self.count * width]
        values: np.ndarray[Any, Any] = buffer.reshape(-1, width)[self.places]
        values[self.places < 0] = 0
        return values.ravel()


@dataclass(slots=True)
class Memory:
    """The buffers of one run of a program."""

    program: Program
    words: np.ndarray[Any, Any]
    capacity: np.ndarray[Any, Any]
    buffers: list[np.ndarray[Any, Any]]
    arenas: list[np.ndarray[Any, Any]]
    rows: np.ndarray[Any, Any]
    left: np.ndarray[Any, Any]
    used: np.ndarray[Any, Any]
    bad: np.ndarray[Any, Any]

    @classmethod
    def of(cls, program: Program, rows: int, content_bytes: int) -> Memory:
        """Room for so many records of so many bytes in all, zeroed; items of lists get more when needed."""
        from arrowstream.kernels import avro_decode as k

        words = program.words.copy()
        capacity = np.full(program.levels, max(rows, 1), np.int64)
        buffers = [np.zeros(int(capacity[level]) * width, np.uint8) for _, level, width in program.buffers]
        for (word, _, _), buffer in zip(program.buffers, buffers, strict=True):
            words[word] = buffer.ctypes.data
        arenas = [
            np.empty(factor * content_bytes + k.PADDING_BYTES, np.uint8) for _, factor in program.arenas
        ]
        for (word, _), arena in zip(program.arenas, arenas, strict=True):
            words[word] = arena.ctypes.data
        counts = np.zeros(program.levels, np.int64)
        left, used = np.zeros(max(program.lists, 1), np.int64), np.zeros(max(len(arenas), 1), np.int64)
        bad = np.empty(int(capacity[0]) * k.BAD_COLUMNS, np.int64)
        return cls(program, words, capacity, buffers, arenas, counts, left, used, bad)

    def grow(self, level: int) -> bool:
        """Twice the room for the items of a level; False if that is too much.

        A byte can stand for an item of thousands of columns.
        """
        self.capacity[level] *= 2
        sizes = (int(self.capacity[at_level]) * width for _, at_level, width in self.program.buffers)
        if sum(sizes) > BYTES_MAX:
            return False
        for index, (word, at_level, width) in enumerate(self.program.buffers):
            if at_level == level:
                larger = np.zeros(int(self.capacity[level]) * width, np.uint8)
                larger[: self.buffers[index].size] = self.buffers[index]
                self.buffers[index] = larger
                self.words[word] = larger.ctypes.data
        return True

    def frame(self, rows: int) -> pl.DataFrame:
        """The first `rows` rows as columns.

        Raises
        ------
        pa.ArrowInvalid
            A list that should have a fixed length has another one.
        """
        arrays, fields = [], []
        for name, place in self.program.columns.items():
            array, metadata = self._array(place, _Rows(rows))
            arrays.append(array)
            fields.append(pa.field(name, array.type, metadata=metadata))
        batch = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
        frame = pl.DataFrame(pl.from_arrow(batch, rechunk=False))
        frame.columns = list(self.program.columns)  # Polars gives a name to one that has none
        assert frame.schema == {name: place.node.dtype for name, place in self.program.columns.items()}
        return frame

    def _array(self, place: Place, rows: _Rows) -> tuple[pa.Array, dict[str, str] | None]:
        node, count = place.node, rows.count
        if node.kind == "null":
            return pa.nulls(count), None
        is_valid = None if place.valid < 0 else rows.of(self.buffers[place.valid]).view(np.bool_)
        validity = None
        if is_valid is not None and not is_valid.all():
            validity = pa.py_buffer(np.packbits(is_valid, bitorder="little"))
        if node.kind in ("record", "union"):
            children = []
            for name, child in place.children:
                assert child is not None
                array, metadata = self._array(child, rows)
                children.append((pa.field(name, array.type, metadata=metadata), array))
            kind: pa.DataType = pa.struct([child_field for child_field, _ in children])
            arrays = [array for _, array in children]
            return pa.Array.from_buffers(kind, count, [validity], children=arrays), None
        if node.kind == "list":
            return self._list(place, rows, is_valid, validity), None
        data = rows.of(self.buffers[place.data], _width(node))
        if place.arena >= 0:
            kind = pa.binary_view() if node.kind == "bytes" else pa.string_view()
            buffers = [validity, pa.py_buffer(data), self._arena(place)]
            return pa.Array.from_buffers(kind, count, buffers), None
        if node.kind == "boolean":
            bits = pa.py_buffer(np.packbits(data, bitorder="little"))
            return pa.Array.from_buffers(pa.bool_(), count, [validity, bits]), None
        if isinstance(node.dtype, pl.Enum):
            return self._enum(node.dtype, data, count, validity)
        kind = _ARROW.get(type(node.dtype)) or _parametric(node.dtype)
        return pa.Array.from_buffers(kind, count, [validity, pa.py_buffer(data)]), None

    def _list(
        self,
        place: Place,
        rows: _Rows,
        is_valid: np.ndarray[Any, Any] | None,
        validity: pa.Buffer | None,
    ) -> pa.Array:
        child = place.children[0][1]
        assert child is not None
        offsets = np.zeros(rows.count + 1, np.int64)
        np.maximum.accumulate(rows.of(self.buffers[place.data], 8).view(np.int64), out=offsets[1:])
        dtype = place.node.dtype
        if isinstance(dtype, pl.Array):
            items = _fixed_items(offsets, is_valid, dtype.shape[0])
            array, metadata = self._array(child, items)
            kind: pa.DataType = pa.list_(pa.field("item", array.type, metadata=metadata), dtype.shape[0])
            return pa.Array.from_buffers(kind, rows.count, [validity], children=[array])
        array, metadata = self._array(child, _Rows(int(self.rows[child.level])))
        kind = pa.large_list(pa.field("item", array.type, metadata=metadata))
        return pa.Array.from_buffers(kind, rows.count, [validity, pa.py_buffer(offsets)], children=[array])

    def _arena(self, place: Place) -> pa.Buffer:
        """What is used of it; copied if that is little, so that the rest is not kept with the column."""
        arena, used = self.arenas[place.arena], int(self.used[place.arena])
        if used < arena.size // 2:
            arena = arena[:used].copy()
        return pa.py_buffer(arena[:used])

    def _enum(
        self, dtype: pl.Enum, data: np.ndarray[Any, Any], rows: int, validity: pa.Buffer | None
    ) -> tuple[pa.Array, dict[str, str]]:
        categories = dtype.categories.to_list()
        width = _enum_width(len(categories))
        indices = pa.Array.from_buffers(_UNSIGNED[width], rows, [validity, pa.py_buffer(data)])
        dictionary = pa.array(categories, pa.large_string())
        # How Polars itself marks its Enums in Arrow: lengths and values.
        metadata = "".join(f"{len(name.encode())};{name}" for name in categories)
        array = pa.DictionaryArray.from_arrays(indices, dictionary, ordered=True)
        return array, {"_PL_ENUM_VALUES2": metadata}


_ARROW: dict[type[Any], pa.DataType] = {
    pl.Int8: pa.int8(),
    pl.Int16: pa.int16(),
    pl.Int32: pa.int32(),
    pl.Int64: pa.int64(),
    pl.UInt8: pa.uint8(),
    pl.UInt16: pa.uint16(),
    pl.UInt32: pa.uint32(),
    pl.Float32: pa.float32(),
    pl.Float64: pa.float64(),
    pl.Date: pa.date32(),
    pl.Time: pa.time64("ns"),
}
_UNSIGNED = {1: pa.uint8(), 2: pa.uint16(), 4: pa.uint32()}


def _fixed_items(offsets: np.ndarray[Any, Any], is_valid: np.ndarray[Any, Any] | None, size: int) -> _Rows:
    """Which items lists of a fixed length have: Arrow wants some for null lists, too."""
    rows, sizes = len(offsets) - 1, np.diff(offsets)
    is_list = np.ones(rows, np.bool_) if is_valid is None else is_valid
    wrong = np.flatnonzero(is_list & (sizes != size))
    if len(wrong):
        raise pa.ArrowInvalid(f"a list has {sizes[wrong[0]]} items, and not {size} as the schema says")
    if is_list.all():
        return _Rows(rows * size)
    places = np.full((rows, size), -1)
    places[is_list] = offsets[:-1][is_list][:, None] + np.arange(size)
    return _Rows(rows * size, places.ravel())


def _parametric(dtype: pl.DataType) -> pa.DataType:
    if isinstance(dtype, pl.Decimal):
        return pa.decimal128(dtype.precision, dtype.scale)
    if isinstance(dtype, pl.Datetime):
        return pa.timestamp(dtype.time_unit, dtype.time_zone)
    assert isinstance(dtype, pl.Duration)
    return pa.duration(dtype.time_unit)


def _width(node: Node) -> int:
    return _integer_width(node) if node.kind == "integer" else _WIDTHS[node.kind]


def _integer_width(node: Node) -> int:
    dtype = node.dtype
    if isinstance(dtype, pl.Enum):
        return _enum_width(node.high + 1)
    if isinstance(dtype, (pl.Int8, pl.UInt8)):
        return 1
    if isinstance(dtype, (pl.Int16, pl.UInt16)):
        return 2
    return 4 if isinstance(dtype, (pl.Int32, pl.UInt32, pl.Date)) else 8


def _enum_width(categories: int) -> int:
    """Bytes of an index, as Polars counts: the largest number of each width is not used."""
    if categories < 2**8:
        return 1
    return 2 if categories < 2**16 else 4
