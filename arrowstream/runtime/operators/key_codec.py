"""Group keys as 64-bit words and back, exactly, for every column type that is worth it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from arrowstream.errors import DataError
from arrowstream.kernels import keys as kernels
from arrowstream.kernels.compile import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

_SMALLEST_ARENA_BYTES = 1 << 16
_LARGEST_ARENA_BYTES = 2**31 - 1  # offsets of string views have 31 bits
_SMALLEST_TABLE_SLOTS = 1 << 10
_VIEWS = (pl.String, pl.Categorical, pl.Binary)  # two words each: a string view
_WORDS_OF_VIEW = 2
_BYTES_OF_VIEW = 16


def unsupported(dtype: pl.DataType) -> bool:
    """Whether keys of this type have no fixed number of words (nested, 128 bits, objects)."""
    return not (
        (dtype.is_integer() and dtype not in (pl.Int128, pl.UInt128))
        or dtype.is_float()
        or dtype in (pl.Boolean, pl.Date, pl.Time, pl.Enum, *_VIEWS)
        or isinstance(dtype, pl.Datetime | pl.Duration)
    )


class Interner:
    """Each distinct long string once, in one arena."""

    def __init__(self) -> None:
        self._table = np.zeros(_SMALLEST_TABLE_SLOTS * kernels.ENTRY_COLUMNS, dtype=np.int64)
        self.arena = np.zeros(_SMALLEST_ARENA_BYTES, dtype=np.uint8)
        self._counters = np.zeros(3, dtype=np.int64)

    @property
    def used_bytes(self) -> int:
        """Bytes of the arena that are in use."""
        return int(self._counters[kernels.ARENA_USED])

    def intern(self, words: np.ndarray, stride: int, column: int, buffers: np.ndarray) -> None:
        """Let the long views of flat `words` point into the arena, which takes their bytes."""
        begin, buffers = 0, frozen(buffers)
        while True:
            status = kernels.intern(
                begin, words, stride, column, buffers, self._table, self.arena, self._counters
            )
            begin = int(self._counters[kernels.RESUME])
            if status == kernels.DONE:
                return
            if status == kernels.NEEDS_TABLE:
                table = np.zeros(2 * self._table.size, dtype=np.int64)
                kernels.rehash(self._table, table)
                self._table = table
            else:
                self._grow_arena(int(words[begin * stride + column] & 0xFFFF_FFFF))

    def _grow_arena(self, length: int) -> None:
        """Room for `length` more bytes, in a new array: what was handed out points into the old one."""
        size = min(2 * self.arena.size + length, _LARGEST_ARENA_BYTES)
        if self.used_bytes + length > size:
            raise DataError(
                "the open windows have more than 2 GiB of distinct long strings as group keys",
                hint="group by an id or a hash of the column, or use shorter windows",
            )
        larger = np.zeros(size, dtype=np.uint8)
        larger[: self.used_bytes] = self.arena[: self.used_bytes]
        self.arena = larger


class KeyCodec:
    """Turns key columns into flat words and back.

    A key is the words of its columns one after another and, once a null has been met in any of them, one more
    word of null bits: `widened` tells the owner of stored keys to widen those as well.
    """

    def __init__(self, dtypes: Sequence[pl.DataType]) -> None:
        self.dtypes = tuple(dtypes)
        self._starts: list[int] = []
        at = 0
        for dtype in self.dtypes:
            self._starts.append(at)
            at += _WORDS_OF_VIEW if isinstance(dtype, _VIEWS) else 1
        self._plain_words = max(at, 1)  # no key at all is one word that is always 0
        self._view_starts = np.array(
            [s for s, d in zip(self._starts, self.dtypes, strict=True) if isinstance(d, _VIEWS)],
            dtype=np.int64,
        )
        self._interner = Interner() if self._view_starts.size else None
        self._zeros = np.zeros(0, dtype=np.int64)
        self._live_bytes = _SMALLEST_ARENA_BYTES
        self.widened = False

    @property
    def words(self) -> int:
        """Words of a key."""
        return self._plain_words + self.widened

    def widen(self, words: np.ndarray) -> np.ndarray:
        """Stored keys of the narrow form, with a word of null bits (none set) added."""
        wide = np.zeros((words.size // self._plain_words, self._plain_words + 1), dtype=np.int64)
        wide[:, : self._plain_words] = words.reshape(-1, self._plain_words)
        return wide.reshape(-1)

    def encode(self, columns: Sequence[pl.Series], rows: int) -> np.ndarray:
        """Flat words, int64[rows * words], of the key columns; zero copy for one plain column."""
        if not self.dtypes:
            if self._zeros.size < rows:
                self._zeros = np.zeros(rows, dtype=np.int64)
            return self._zeros[:rows]
        has_null = any(column.null_count() for column in columns)
        self.widened |= has_null
        if len(columns) == 1 and not self.widened:
            column, dtype = columns[0], self.dtypes[0]
            return self._views(column)[0] if isinstance(dtype, _VIEWS) else plain_words(column)
        matrix = np.empty((rows, self.words), dtype=np.int64)
        nulls = matrix[:, self._plain_words] if self.widened else None
        if nulls is not None:
            nulls[:] = 0
        for bit, (start, column) in enumerate(zip(self._starts, columns, strict=True)):
            if isinstance(self.dtypes[bit], _VIEWS):
                matrix[:, start : start + _WORDS_OF_VIEW] = self._views(column)[0].reshape(-1, _WORDS_OF_VIEW)
            else:
                matrix[:, start] = plain_words(column)
            if nulls is not None and column.null_count():
                is_null = column.is_null().to_numpy()
                matrix[is_null, start : start + self._width(bit)] = 0
                nulls[is_null] |= 1 << bit
        return matrix.reshape(-1)

    def decode(self, words: np.ndarray, names: Sequence[str]) -> list[pl.Series]:
        """The key columns of flat `words`, in their own types."""
        matrix = words.reshape(-1, self.words)
        columns = []
        for bit, (name, dtype, start) in enumerate(zip(names, self.dtypes, self._starts, strict=True)):
            valid = None
            if self.widened:
                valid = (matrix[:, self._plain_words] >> bit) & 1 == 0
                if valid.all():
                    valid = None
            if isinstance(dtype, _VIEWS):
                column = self._strings(matrix[:, start : start + _WORDS_OF_VIEW], dtype, valid)
            else:
                column = plain_values(np.ascontiguousarray(matrix[:, start]), dtype)
                if valid is not None:
                    column = _with_nulls(column, valid)
            columns.append(column.alias(name))
        return columns

    def key_groups(self, words: np.ndarray) -> np.ndarray:
        """The key group, uint8, of each key."""
        out = np.empty(words.size // self.words, dtype=np.uint8)
        arena = self._interner.arena if self._interner else np.zeros(1, dtype=np.uint8)
        kernels.key_groups(frozen(words), self.words, frozen(self._view_starts), frozen(arena), out)
        return out

    @property
    def has_garbage(self) -> bool:
        """Whether long strings have doubled since they were last looked through."""
        return self._interner is not None and self._interner.used_bytes > 2 * self._live_bytes

    def forget_all_but(self, stored: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Free the long strings that none of the stored keys uses; returns the keys to store instead."""
        old = self._interner
        assert old is not None
        self._interner = Interner()
        moved = [words.copy() for words in stored]
        buffers = np.array([old.arena.ctypes.data], dtype=np.uint64)
        for words in moved:
            for start in self._view_starts:
                self._interner.intern(words, self.words, int(start), buffers)
        self._live_bytes = max(self._interner.used_bytes, _SMALLEST_ARENA_BYTES)
        return moved

    def _width(self, bit: int) -> int:
        return _WORDS_OF_VIEW if isinstance(self.dtypes[bit], _VIEWS) else 1

    def _views(self, column: pl.Series) -> tuple[np.ndarray, pa.Array]:
        """Two words a row: exact for short strings, interned for long ones."""
        if column.dtype == pl.Categorical:
            column = column.cast(pl.String)
        array = column.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
        buffers = array.buffers()
        begin = array.offset * _BYTES_OF_VIEW
        views = np.frombuffer(buffers[1], dtype=np.int64)[begin // 8 : begin // 8 + 2 * len(array)]
        has_null = column.null_count() > 0
        lengths = views[::2] & 0xFFFF_FFFF
        has_long = bool((lengths > kernels.INLINE_BYTES_MAX).any())
        if has_null or has_long:
            views = views.copy()
        if has_null:  # a null's view may hold anything
            views.reshape(-1, _WORDS_OF_VIEW)[column.is_null().to_numpy()] = 0
        if has_long:
            assert self._interner is not None
            addresses = np.array([buffer.address for buffer in buffers[2:]], dtype=np.uint64)
            self._interner.intern(views, _WORDS_OF_VIEW, 0, addresses)
        return views, array

    def _strings(self, views: np.ndarray, dtype: pl.DataType, valid: np.ndarray | None) -> pl.Series:
        assert self._interner is not None
        validity = None
        if valid is not None:
            validity = pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
        array = pa.Array.from_buffers(
            pa.binary_view() if dtype == pl.Binary else pa.string_view(),
            len(views),
            [
                validity,
                pa.py_buffer(np.ascontiguousarray(views)),
                pa.py_buffer(self._interner.arena[: self._interner.used_bytes]),
            ],
        )
        column = pl.Series(pl.from_arrow(array))
        return column if column.dtype == dtype else column.cast(dtype)


def plain_words(column: pl.Series) -> np.ndarray:
    """One 64-bit word a row, equal for equal values (-0.0 and 0.0, any two NaN); nulls become 0."""
    dtype = column.dtype
    if column.null_count():
        column = column.to_physical() if dtype == pl.Enum else column
        column = column.fill_null(strategy="zero") if column.dtype.is_numeric() else _zero_nulls(column)
    if dtype.is_float():
        with np.errstate(invalid="ignore"):  # there are NaN that signal
            values = column.cast(pl.Float64).to_numpy() + 0.0  # -0.0 + 0.0 is 0.0
        values[np.isnan(values)] = np.nan
        return values.view(np.int64)
    if dtype == pl.UInt64:
        return column.rechunk().to_numpy().view(np.int64)
    if dtype == pl.Enum:
        column = column.to_physical()
    return column.cast(pl.Int64).rechunk().to_numpy()


def _zero_nulls(column: pl.Series) -> pl.Series:
    physical = column.cast(pl.Int8) if column.dtype == pl.Boolean else column.to_physical()
    return physical.fill_null(strategy="zero")


def plain_values(words: np.ndarray, dtype: pl.DataType) -> pl.Series:
    """The values that `plain_words` made these words of."""
    if dtype.is_float():
        return pl.Series(words.view(np.float64)).cast(dtype)
    if dtype == pl.UInt64:
        return pl.Series(words.view(np.uint64))
    if dtype == pl.Enum:
        return pl.Series(words).cat.to(dtype)
    return pl.Series(words).cast(dtype)


def _with_nulls(column: pl.Series, valid: np.ndarray) -> pl.Series:
    return pl.select(pl.when(pl.Series(valid)).then(column)).to_series()
