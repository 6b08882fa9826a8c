"""Rows as an Avro object container file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from arrowstream.config import ARROW_LEVEL
from arrowstream.connectors.files.avro.codecs import COMPRESSIONS, AvroCompression, codec_name, compressor
from arrowstream.connectors.files.avro.container import MAGIC, MARKER_BYTES
from arrowstream.connectors.files.avro.written import check_schema, is_name, item_type, written_schema
from arrowstream.errors import DataError, PlanError, unknown_choice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arrowstream.connectors.files.encode import Content
    from arrowstream.types import Json

_CHUNK_ROWS = 1 << 16
_BLOCK_BYTES = 1 << 18  # before compression: small enough to be split among readers, large enough to compress
_LEVELS = {"deflate": (0, 9), "bzip2": (1, 9), "xz": (0, 9), "zstd": (1, 22)}
_VARINT_MAX, _UNION, _DECIMAL_MAX = 10, 1, 17  # bytes


@dataclass(frozen=True, slots=True)
class AvroEncoding:
    """Avro: every field a union of null and its type.

    Parameters
    ----------
    compression
        Of the blocks.
    compression_level
        None: what the codec's library takes for a good middle.
    record_name
        Of the record that a row is.
    """

    compression: AvroCompression = "uncompressed"
    compression_level: int | None = None
    record_name: str = "row"

    def __post_init__(self) -> None:
        if self.compression not in COMPRESSIONS:
            raise unknown_choice("compression", self.compression, COMPRESSIONS)
        if not is_name(self.record_name):
            raise PlanError(
                f"record_name={self.record_name!r} is no name in Avro",
                hint="use letters, digits and _, a digit not at the beginning",
            )
        low, high = _LEVELS.get(self.compression, (0, -1))
        if self.compression_level is not None and not low <= self.compression_level <= high:
            levels = f"between {low} and {high}, the levels of" if high > 0 else "wanted: no levels has"
            raise PlanError(f"compression_level={self.compression_level} is not {levels} {self.compression}")

    @property
    def name(self) -> str:
        """Of the format."""
        return "Avro"

    @property
    def suffix(self) -> str:
        """Of its files."""
        return ".avro"

    @property
    def chunk_rows(self) -> int:
        """Enough for a few blocks."""
        return _CHUNK_ROWS

    @property
    def encoder_bytes(self) -> int:
        """Nothing but the schema."""
        return 1 << 14

    def encoder(self, schema: pl.Schema) -> AvroEncoder:
        """Of one file."""
        return AvroEncoder(schema, self)

    def check_schema(self, schema: pl.Schema) -> None:
        """Raise PlanError naming a column that Avro cannot hold."""
        check_schema(schema)

    def identity(self) -> dict[str, Json]:
        """All options that change the bytes."""
        return {"format": "avro", **asdict(self)}


class AvroEncoder:
    """Makes one file. Blocks end where a record reaches a size, and with each table.

    The marker between the blocks is a digest of the header, so that the same rows give the same bytes.
    """

    def __init__(self, schema: pl.Schema, encoding: AvroEncoding) -> None:
        self._encoding = encoding
        self._columns = schema
        check_schema(self._columns)
        written = json.dumps(written_schema(self._columns, encoding.record_name), separators=(",", ":"))
        metadata = {"avro.schema": written, "avro.codec": codec_name(encoding.compression)}
        header = MAGIC + _varint(len(metadata))
        for key, value in metadata.items():
            header += b"".join(_varint(len(text.encode())) + text.encode() for text in (key, value))
        header += _varint(0)
        self._marker = hashlib.sha256(header).digest()[:MARKER_BYTES]
        self._head: list[bytes | memoryview] = [header + self._marker]

    def encode(self, rows: pl.DataFrame) -> bytes:
        """The blocks.

        Raises  DataError if a time is not whole microseconds
        """
        pieces: list[Any] = []
        if rows.height:
            compress = compressor(self._encoding.compression, self._encoding.compression_level)
            records, ends = self._records(rows.to_arrow(compat_level=ARROW_LEVEL))
            for block, count in _blocks(records, ends):
                content = compress(block)
                pieces += (_varint(count), _varint(len(content)), content, self._marker)
        return b"".join(pieces)

    def append(self, part: bytes) -> Content:
        """Some blocks; before the first ones the header."""
        return [*self._taken_head(), part]

    def finish(self) -> Content:
        """Nothing is left but the header of a file without rows."""
        return self._taken_head()

    def _taken_head(self) -> list[bytes | memoryview]:
        """The header, once."""
        head, self._head = self._head, []
        return head

    def _records(self, table: pa.Table) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The bytes of all records, and where each ends."""
        from arrowstream.kernels import avro_encode as k

        compiler = _Compiler()
        for (name, dtype), column in zip(self._columns.items(), table.columns, strict=True):
            array = _one_chunk(column)
            compiler.emit(dtype, array, 0, len(array), name)
        out = np.empty(compiler.bytes_max + k.SLACK_BYTES, np.uint8)
        ends = np.empty(table.num_rows, np.int64)
        program = np.array(compiler.words, np.int64)
        index, stops = np.zeros(compiler.levels, np.int64), np.zeros(compiler.levels, np.int64)
        state = np.zeros(2, np.int64)
        if k.encode(program, table.num_rows, index, stops, out, ends, state) == k.NOT_WHOLE:
            column = compiler.fields[int(state[1]) // k.WORDS]
            raise DataError(
                f"column '{column}' has a time that is not whole microseconds, which Avro cannot hold",
                hint=f'shorten it before: (pl.col("{column}").cast(pl.Int64) // 1000 * 1000).cast(pl.Time)',
                offset=int(state[0]),
            )
        assert ends[-1] <= compiler.bytes_max
        return out, ends


@dataclass(slots=True)
class _Compiler:
    """Makes the program for some arrays, and adds up how many bytes their records can have."""

    words: list[int] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    keep: list[pa.Array] = field(default_factory=list)  # what the program points into must stay
    levels: int = 1
    bytes_max: int = 0

    def emit(self, dtype: pl.DataType, array: pa.Array, level: int, rows: int, name: str) -> None:
        """Instructions for an array of which `rows` values are written."""
        from arrowstream.kernels import avro_encode as k

        if isinstance(dtype, pl.Null):
            return
        self.bytes_max += _UNION * rows
        if isinstance(dtype, pl.Struct):
            at = self._instruction(k.RECORD, array, level, name)
            for number, inner in enumerate(dtype.fields):
                inner_type: Any = inner.dtype
                self.emit(inner_type, array.field(number), level, rows, name)
            self.words[at + k.END] = len(self.words)
        elif isinstance(dtype, (pl.List, pl.Array)):
            self._list(dtype, array, level, rows, name)
        else:
            self._leaf(dtype, array, level, rows, name)

    def _list(self, dtype: pl.List | pl.Array, array: pa.Array, level: int, rows: int, name: str) -> None:
        from arrowstream.kernels import avro_encode as k

        at = self._instruction(k.LIST, array, level, name)
        inner_level = self.levels
        self.levels += 1
        if isinstance(dtype, pl.Array):
            inner: Any = item_type(dtype)
            items = rows * dtype.shape[0]
            self.words[at + k.A] = dtype.shape[0]
        else:
            inner = dtype.inner
            items = _extent(array)
            self.words[at + k.DATA] = _address(array, 1)
        self.bytes_max += (_VARINT_MAX + 1) * rows
        self.words[at + k.B], self.words[at + k.C] = inner_level, inner_level
        body = len(self.words)
        self.emit(inner, array.values, inner_level, items, name)
        following = self._instruction(k.NEXT, None, level, name)
        self.words[following + k.A : following + k.C + 1] = (body, inner_level, inner_level)
        self.words[at + k.END] = len(self.words)

    def _leaf(self, dtype: pl.DataType, array: pa.Array, level: int, rows: int, name: str) -> None:
        from arrowstream.kernels import avro_encode as k

        if isinstance(dtype, pl.Enum):
            array = _indices(dtype, array)
        elif isinstance(dtype, (pl.String, pl.Categorical)):
            array = array.cast(pa.large_string())
        elif isinstance(dtype, pl.Binary):
            array = array.cast(pa.large_binary())
        operation = {
            pl.Boolean: k.BOOLEAN,
            pl.Float32: k.FLOAT,
            pl.Float64: k.DOUBLE,
            pl.Decimal: k.DECIMAL,
            pl.String: k.BYTES,
            pl.Categorical: k.BYTES,
            pl.Binary: k.BYTES,
        }.get(type(dtype), k.INTEGER)
        at = self._instruction(operation, array, level, name)
        self.words[at + k.DATA] = _address(array, 1)
        self.bytes_max += rows * (_DECIMAL_MAX if operation == k.DECIMAL else _VARINT_MAX)
        if operation == k.BYTES:
            self.words[at + k.A] = _address(array, 2)
            self.bytes_max += _extent(array)
        elif operation == k.INTEGER:
            divisor = 1000 if isinstance(dtype, pl.Time) else 1
            is_signed = not pa.types.is_unsigned_integer(array.type)
            self.words[at + k.A : at + k.C + 1] = (array.type.bit_width // 8, int(is_signed), divisor)
        self.words[at + k.END] = len(self.words)

    def _instruction(self, operation: int, array: pa.Array | None, level: int, name: str) -> int:
        from arrowstream.kernels import avro_encode as k

        at = len(self.words)
        self.words.extend([0] * k.WORDS)
        self.fields.append(name)
        self.words[at + k.OP], self.words[at + k.LEVEL] = operation, level
        if array is not None:
            self.keep.append(array)
            self.words[at + k.OFFSET] = array.offset
            if array.null_count:
                self.words[at + k.VALID] = _address(array, 0)
        return at


def _address(array: pa.Array, number: int) -> int:
    """Where a buffer is; 0 if there is none, as for an array without values."""
    buffer = array.buffers()[number]
    return 0 if buffer is None else int(buffer.address)


def _extent(array: pa.Array) -> int:
    """How many items, or bytes, the values of an array have in all."""
    if not len(array):
        return 0
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset :]
    return int(offsets[len(array)] - offsets[0])


def _indices(dtype: pl.Enum, array: pa.Array) -> pa.Array:
    """Which category each value is."""
    categories = pa.array(dtype.categories.to_list(), pa.large_string())
    if array.dictionary.cast(pa.large_string()).equals(categories):
        return array.indices
    return pc.call_function("index_in", [array.cast(pa.large_string())], pc.SetLookupOptions(categories))


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _blocks(records: np.ndarray[Any, Any], ends: np.ndarray[Any, Any]) -> Iterator[tuple[memoryview, int]]:
    """Runs of records that first reach _BLOCK_BYTES, and how many they are."""
    content = memoryview(records.data)
    first, begin = 0, 0
    while first < len(ends):
        last = min(int(np.searchsorted(ends, begin + _BLOCK_BYTES)), len(ends) - 1)
        end = int(ends[last])
        yield content[begin:end], last + 1 - first
        first, begin = last + 1, end


def _varint(number: int) -> bytes:
    """A number that is not negative, as Avro writes it."""
    raw = number << 1
    pieces = bytearray()
    while raw >= 0x80:
        pieces.append(raw & 0x7F | 0x80)
        raw >>= 7
    pieces.append(raw)
    return bytes(pieces)
