"""The rows of an epoch divided into files: by key, number of rows, size and time.

Where a file ends is a function of the rows alone, however they come in batches: the rows are first cut into
blocks of a fixed length, and everything is decided at places that the blocks and the rows define.

A file `<folder>/<number>.<suffix>` of an outbox becomes `<folder>/part-<epoch>-<number>.<suffix>`. The folder
is that of the key's values, `key=value/…` as Hive and Spark have it; numbers count in an epoch and folder.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import polars as pl

from arrowstream.config import ARROW_LEVEL
from arrowstream.connectors.files.ahead import in_order
from arrowstream.connectors.files.encode import check_positive, cut, frame_bytes, pieces_of
from arrowstream.connectors.files.partition_names import check_keys, folders_of
from arrowstream.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from arrowstream.connectors.files.encode import Encoder, Encoding, Part
    from arrowstream.types import Json

BLOCK_ROWS = 1 << 16
"""Rows that are divided at once."""

WAITING_ROWS_MAX = 1 << 19
"""Rows of all files that wait for others, to be encoded in large pieces."""

ENCODERS_BYTES_MAX = 256 << 20
"""What all files that are written at a time may hold in memory."""

OPEN_FILES_MAX = 1_024
"""Encoders at a time, however little memory they take; and one for a file that ends at once."""

_CHUNK_ROWS_MIN = 1_024  # a file that ends by its size is looked at after so many rows, or more
_VALUE_BYTES = 16  # about a text or a list, for the number of rows in a chunk
_NO_SPAN = -(2**63)


@dataclass(frozen=True, slots=True)
class Division:
    """How rows are divided into files. Without any of these an epoch is one file.

    Parameters
    ----------
    partition_by
        Columns: rows of the same values are in the same folder.
    include_key
        Whether these columns are in the files too.
    max_rows_per_file
        A file ends with this row at the latest.
    approximate_bytes_per_file
        A file ends when it has grown to this size, as it is stored.
    rotate_every
        A new file begins when the time enters another such span (a duration of Polars, such as "1h") for
        the first time. A row that is out of order stays in the file that is being written.
    rotate_by
        The column of that time.
    """

    partition_by: tuple[str, ...] = ()
    include_key: bool = True
    max_rows_per_file: int | None = None
    approximate_bytes_per_file: int | None = None
    rotate_every: str | None = None
    rotate_by: str | None = None

    def __post_init__(self) -> None:
        if self.max_rows_per_file is not None:
            check_positive("max_rows_per_file", self.max_rows_per_file)
        size = self.approximate_bytes_per_file
        if size is not None and size < 1:
            raise PlanError(f"approximate_bytes_per_file={size} is not a size")
        if self.rotate_every is not None and not _is_duration(self.rotate_every):
            raise PlanError(f"rotate_every={self.rotate_every!r} is not a duration", hint='for example "1h"')

    @property
    def divides(self) -> bool:
        """Whether an epoch may have several files."""
        limits = (self.max_rows_per_file, self.approximate_bytes_per_file, self.rotate_every)
        return bool(self.partition_by) or any(limit is not None for limit in limits)

    def check_schema(self, schema: pl.Schema) -> None:
        """Raise PlanError naming a column that is not there, or cannot divide rows."""
        check_keys(schema, self.partition_by)
        if self.partition_by and not self.written(schema):
            raise PlanError("all columns are keys: none is left for the files", hint="use include_key=True")
        if self.rotate_every is None:
            return
        column = self.rotate_by
        if column is None or column not in schema:
            raise PlanError(
                f"rotate_every={self.rotate_every!r} needs a column of times"
                + (f", and there is no '{column}'" if column else ""),
                choices=[name for name, dtype in schema.items() if dtype.is_temporal()],
                hint="give the source an event_time=, and keep its column",
            )
        if not isinstance(schema[column], (pl.Datetime, pl.Date)):
            raise PlanError(f"rotate_every needs times, but column '{column}' is {schema[column]}")

    def written(self, schema: pl.Schema) -> pl.Schema:
        """The columns that are in the files."""
        if self.include_key:
            return schema
        return pl.Schema({name: dtype for name, dtype in schema.items() if name not in self.partition_by})

    def identity(self) -> dict[str, Json]:
        """All of it, as a checkpoint pins it."""
        return asdict(self) | {"partition_by": list(self.partition_by)}


def divided(
    frames: Iterable[pl.DataFrame], encoding: Encoding, division: Division, *, threads: int = 1
) -> Iterator[tuple[str, bytes | memoryview]]:
    """The files of an epoch, in pieces that alternate.

    Cost    holds BLOCK_ROWS + WAITING_ROWS_MAX rows, what is being encoded, and the encoders of open files
    """
    if division.approximate_bytes_per_file is not None:
        threads = 1  # what comes next depends on how many bytes there are now
    steps = _Files(encoding, division).steps(cut(frames, BLOCK_ROWS))
    for file, part in in_order(_encoded, steps, size=_step_bytes, threads=threads):
        encoder = file.encoder
        assert encoder is not None
        pieces = pieces_of(encoder.finish()) or [b""] if part is None else pieces_of(encoder.append(part))
        for piece in pieces:
            file.bytes += len(piece)
            yield file.name, piece


@dataclass(slots=True)
class _File:
    """A file that has got rows. It has an encoder from the first time on that they are encoded."""

    name: str
    schema: pl.Schema
    span: int
    rows: int = 0
    bytes: int = 0
    waiting: list[pl.DataFrame] = field(default_factory=list)
    waiting_rows: int = 0
    encoder: Encoder | None = None
    encoded_in: int = 0


_Step: TypeAlias = "tuple[_File, pl.DataFrame | None]"
"""Rows that are encoded next, of some file; None: its end."""


class _Files:
    """All files that have got rows, the one that has waited longest for others first.

    Encoders are what costs memory, so they are few. Where none is left for a file, one that has got no row
    for a round of encoding gives its own away and ends; if there is none, the file ends with the rows it has.
    """

    def __init__(self, encoding: Encoding, division: Division) -> None:
        self._encoding = encoding
        self._division = division
        self._open: OrderedDict[str, _File] = OrderedDict()
        self._numbers: dict[str, int] = {}
        self._waiting_rows = 0
        self._encoders = 0
        self._round = 0  # how often all that waited has been encoded
        self._encoders_max = max(1, min(OPEN_FILES_MAX, ENCODERS_BYTES_MAX // encoding.encoder_bytes))
        self._chunk_rows = encoding.chunk_rows

    def steps(self, blocks: Iterable[pl.DataFrame]) -> Iterator[_Step]:
        """What is to be done, in order, to write these rows."""
        for block in blocks:
            yield from self._add_block(block)
        for folder in list(self._open):
            yield from self._end(folder)

    def _add_block(self, block: pl.DataFrame) -> Iterator[_Step]:
        size = self._division.approximate_bytes_per_file
        if size is not None:
            rows = max(_CHUNK_ROWS_MIN, size // _row_bytes(block.schema))
            self._chunk_rows = min(self._encoding.chunk_rows, rows)
        for folder, part in self._parts(block):
            if part.height or not self._division.partition_by:
                yield from self._add(folder, self._without_key(part), self._spans(part))
        if self._waiting_rows >= WAITING_ROWS_MAX:
            self._round += 1
            for folder in list(self._open):
                yield from self._encode(folder)

    def _parts(self, block: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
        """The rows of each folder, in their order; folders in the order of their first row."""
        keys = list(self._division.partition_by)
        if not keys:
            yield "", block
            return
        frame = block.select(keys).with_row_index("__row")
        groups = frame.group_by(keys, maintain_order=True).agg("__row")
        lengths = groups["__row"].list.len().to_list()
        ordered = block[groups["__row"].explode()]
        start = 0
        for folder, length in zip(folders_of(groups.select(keys)), lengths, strict=True):
            yield folder, ordered.slice(start, length)
            start += length

    def _without_key(self, part: pl.DataFrame) -> pl.DataFrame:
        return part if self._division.include_key else part.drop(self._division.partition_by)

    def _spans(self, part: pl.DataFrame) -> np.ndarray | None:
        """The latest span that has begun by each row; None if time does not matter."""
        every, column = self._division.rotate_every, self._division.rotate_by
        if every is None:
            return None
        assert column is not None
        begun = part.select(pl.col(column).dt.truncate(every).cast(pl.Int64).fill_null(_NO_SPAN).cum_max())
        return begun.to_series().to_numpy()

    def _add(self, folder: str, part: pl.DataFrame, spans: np.ndarray | None) -> Iterator[_Step]:
        start, rows = 0, part.height
        while start < rows or not (rows or self._open):
            file = self._open.get(folder)
            if file is None:
                span = _NO_SPAN if spans is None or not rows else int(spans[start])
                file = self._begin(folder, part.schema, span)
            self._open.move_to_end(folder)
            end = rows if spans is None else int(np.searchsorted(spans, file.span, side="right"))
            if end <= start < rows:
                yield from self._end(folder)
                continue
            limits = [end, start + self._chunk_rows - file.waiting_rows]
            if self._division.max_rows_per_file is not None:
                limits.append(start + self._division.max_rows_per_file - file.rows)
            piece = part.slice(start, min(limits) - start)
            start += piece.height
            yield from self._append(folder, file, piece)

    def _begin(self, folder: str, schema: pl.Schema, span: int) -> _File:
        number = self._numbers[folder] = self._numbers.get(folder, 0) + 1
        file = self._open[folder] = _File(f"{folder}{number:05d}{self._encoding.suffix}", schema, span)
        return file

    def _append(self, folder: str, file: _File, piece: pl.DataFrame) -> Iterator[_Step]:
        file.waiting.append(piece)
        file.waiting_rows += piece.height
        file.rows += piece.height
        self._waiting_rows += piece.height
        if file.waiting_rows == self._chunk_rows:
            yield from self._encode(folder)
        size = self._division.approximate_bytes_per_file
        is_full = file.rows == self._division.max_rows_per_file or (size is not None and file.bytes >= size)
        if is_full and folder in self._open:
            yield from self._end(folder)

    def _encode(self, folder: str) -> Iterator[_Step]:
        """Encode the rows that wait for it; the file ends if it cannot have an encoder of its own."""
        file = self._open.get(folder)
        if file is None or not file.waiting:
            return
        if file.encoder is None and self._encoders == self._encoders_max:
            idle = next((name for name, other in self._open.items() if self._is_idle(other)), None)
            if idle is None:
                yield from self._end(folder)
                return
            yield from self._end(idle)
        yield from self._encode_waiting(file)

    def _is_idle(self, file: _File) -> bool:
        return file.encoder is not None and not file.waiting and file.encoded_in < self._round

    def _end(self, folder: str) -> Iterator[_Step]:
        file = self._open.pop(folder)
        yield from self._encode_waiting(file)
        self._encoders -= 1
        yield file, None

    def _encode_waiting(self, file: _File) -> Iterator[_Step]:
        if file.encoder is None:
            file.encoder = self._encoding.encoder(file.schema)
            self._encoders += 1
        if not file.waiting:
            return
        self._waiting_rows -= file.waiting_rows
        file.encoded_in = self._round
        rows = pl.concat(file.waiting)
        file.waiting, file.waiting_rows = [], 0
        yield file, rows


def _encoded(step: _Step) -> tuple[_File, Part | None]:
    file, rows = step
    assert file.encoder is not None
    return file, None if rows is None else file.encoder.encode(rows)


def _step_bytes(step: _Step) -> int:
    return 0 if step[1] is None else frame_bytes(step[1])


def _is_duration(text: object) -> bool:
    """Whether Polars knows it, and it is longer than nothing."""
    if not isinstance(text, str) or not set(text) & set("123456789"):
        return False
    try:
        pl.select(pl.lit(0).cast(pl.Datetime("us")).dt.truncate(text))
    except pl.exceptions.PolarsError:
        return False
    return True


def _row_bytes(schema: pl.Schema) -> int:
    """About how many bytes a row has, from its types alone."""
    columns = schema.to_arrow(compat_level=ARROW_LEVEL)
    return max(1, sum(_value_bytes(field.type) for field in columns))


def _value_bytes(dtype: pa.DataType) -> int:
    try:
        return max(1, int(dtype.bit_width) // 8)
    except ValueError:
        inner = [dtype.field(index).type for index in range(dtype.num_fields)]
        return sum(_value_bytes(within) for within in inner) or _VALUE_BYTES
