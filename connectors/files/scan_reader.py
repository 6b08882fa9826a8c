"""Reads local Parquet files by scans of Polars."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from time import perf_counter
from typing import TYPE_CHECKING, BinaryIO, cast

import polars as pl
import pyarrow as pa

from arrowstream.config import END_OF_TIME
from arrowstream.connectors.files.columnar import ParquetFormat
from arrowstream.connectors.files.errors import LIBRARY_ERRORS, translated, unattributed
from arrowstream.connectors.files.parquet_pages import check_pages
from arrowstream.errors import ArrowStreamError, ConnectorError
from arrowstream.protocols import ConnectorCounters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from arrowstream.connectors.files.labels import FileLabels
    from arrowstream.connectors.files.part_reader import Lows
    from arrowstream.connectors.files.places import FoundFile, Place
    from arrowstream.types import Position

_FORMAT = ParquetFormat()
_RUN_BYTES = 1 << 30  # of files that are looked at, and then read in one go
_CHUNK_BYTES = 16 << 20  # of rows that Polars gathers before it hands them over
_PART_ROWS_MAX = 1 << 20  # larger row groups are decoded more than once where parts are read one by one


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file as it was when the query was built.

    `tail` is the end of a remote file, from its footer on; `part_rows` is empty where it could not be read.
    """

    file: FoundFile
    part_rows: tuple[int, ...]
    tail: bytes | None = None

    @property
    def path(self) -> str:
        """Its name in errors and checkpoints."""
        return self.file.path

    @property
    def readable(self) -> str | bytes:
        """What the functions of a `Format` take."""
        return self.path if self.tail is None else self.tail


class ScanReader:
    """Reads the files of one partition in scans of many, so that Polars reads ahead across files.

    With `streams=False` nothing is read ahead: each part (row group) is a query of its own, so that
    thousands of readers can be open at once. May block on the disk. `horizon` may be called from another
    thread than `read`.
    """

    def __init__(
        self,
        files: Sequence[DataFile],
        place: Place,
        columns: Sequence[str],
        position: Position | None,
        *,
        labels: FileLabels,
        row_column: str | None,
        lows: Callable[[], Lows] | None,
        streams: bool = True,
    ) -> None:
        self.counters = ConnectorCounters()
        self._files = files
        self._place = place
        self._columns = columns
        self._labels = labels
        self._row_column = row_column
        self._lows_of = lows
        self._streams = streams
        added = {*labels.schema, row_column}
        self._read_columns = [name for name in columns if name not in added]
        self._ends = list(accumulate(sum(data.part_rows) for data in files))
        self._row = self._row_of(position)
        self._counted = bisect_left(self._ends, self._row) if self._row else 0
        self._batches: Iterator[pl.DataFrame] | None = None
        self._rest: pl.DataFrame | None = None

    def read(self, max_rows: int) -> tuple[pl.DataFrame, Position] | None:
        """The next at most `max_rows` rows and the position after them; None at the end."""
        assert max_rows > 0
        began_s = perf_counter()
        frame = self._rest if self._rest is not None else self._next_batch(max_rows)
        if frame is None:
            self._count(self._row, began_s)
            return None
        self._rest = frame.slice(max_rows) if frame.height > max_rows else None
        frame = frame.head(max_rows) if self._rest is not None else frame
        if len(self._read_columns) < len(self._columns):
            frame = self._with_added(frame)
        self._count(self._row + frame.height, began_s)
        return frame, self._position_of(self._row)

    def horizon(self, position: Position | None, skip: int) -> int | None:
        """The smallest event time after `position` and `skip` rows, from statistics; None if not known."""
        row = self._row_of(position) + skip
        if row == self._ends[-1]:
            return END_OF_TIME
        return None if self._lows is None else self._lows.after(row)

    def close(self) -> None:
        """Stop the scan."""
        self._batches = None  # Polars stops a query whose iterator is gone
        self._rest = None

    def _next_batch(self, rows: int) -> pl.DataFrame | None:
        try:
            if self._batches is None:
                self._batches = self._stream(rows) if self._streams else self._parts()
            frame = next(self._batches, None)
        except LIBRARY_ERRORS as error:
            raise self._diagnosed(error) from error
        if frame is None:
            self._check_end()
        return frame

    def _stream(self, rows: int) -> Iterator[pl.DataFrame]:
        first, skipped = self._index_and_row(self._row, bisect_right)
        for files in _in_runs(self._files[first:]):
            for file in files:
                self._check(file)
            scan = _FORMAT.scan([file.path for file in files]).select(self._wanted)
            yield from scan.slice(skipped).collect_batches(
                chunk_size=min(rows, self._chunk_rows(files[0])), maintain_order=True
            )
            skipped = 0

    def _check(self, file: DataFile) -> None:
        """Raise if a file is not what it was, or if Polars cannot be let at it."""
        self._place.check_unchanged(file.file)
        with open(file.path, "rb", buffering=0) as stream:  # noqa: PTH123 - a page header here and there
            check_pages(cast("BinaryIO", stream), _FORMAT.tail(cast("BinaryIO", stream)), self._read_columns)

    def _parts(self) -> Iterator[pl.DataFrame]:
        first, skipped = self._index_and_row(self._row, bisect_right)
        for file in self._files[first:]:
            self._check(file)
            scan = _FORMAT.scan([file.path]).select(self._wanted)
            rows_max = min(_PART_ROWS_MAX, self._chunk_rows(file))
            for end in accumulate(file.part_rows):
                while skipped < end:
                    rows = min(end - skipped, rows_max)
                    yield scan.slice(skipped, rows).collect(engine="streaming")
                    skipped += rows
            skipped = 0

    def _chunk_rows(self, file: DataFile) -> int:
        """Few rows at once where they are large."""
        return max(1, _CHUNK_BYTES // _FORMAT.row_bytes(file.path, self._read_columns))

    def _check_end(self) -> None:
        if self._row != self._ends[-1]:
            for file in self._files:
                self._place.check_unchanged(file.file)
            paths = [file.path for file in self._files]
            fact = f"{self._row:,} rows came where the footers say {self._ends[-1]:,}"
            if len(paths) == 1:
                raise translated(pa.ArrowInvalid(fact), paths[0], _FORMAT.name)
            raise unattributed(ConnectorError(fact), paths, _FORMAT.name)

    def _diagnosed(self, error: BaseException) -> ArrowStreamError:
        """Which file it was: Polars does not always say, so read them one by one from here on."""
        first, _ = self._index_and_row(self._row, bisect_right)
        remaining = self._files[min(first, len(self._files) - 1) :]
        for file in remaining:
            try:
                self._check(file)
                for _ in _FORMAT.scan([file.path]).select(self._wanted).collect_batches():
                    pass
            except (ArrowStreamError, *LIBRARY_ERRORS) as found:
                return translated(found, file.path, _FORMAT.name)
        return unattributed(error, [file.path for file in remaining], _FORMAT.name)

    @cached_property
    def _lows(self) -> Lows | None:
        return None if self._lows_of is None else self._lows_of()

    @property
    def _wanted(self) -> list[str] | pl.Expr:
        return self._read_columns or pl.first()  # one column at least has the number of rows

    def _with_added(self, frame: pl.DataFrame) -> pl.DataFrame:
        """With the columns that say of which file a row is, and which row of it."""
        heights, first_row = self._heights(frame.height)
        added = self._labels.rows(heights, self._columns)
        if self._row_column in self._columns:
            starts = [first_row, *([0] * (len(heights) - 1))]
            numbers = [
                pl.int_range(start, start + height, dtype=pl.Int64, eager=True)
                for start, (_, height) in zip(starts, heights, strict=True)
            ]
            added.append(pl.concat(numbers).alias(str(self._row_column)))
        return frame.with_columns(added).select(self._columns)

    def _heights(self, rows: int) -> tuple[list[tuple[str, int]], int]:
        """Of which files the next rows are, how many of each, and the number of the first one in its file."""
        index, first_row = self._index_and_row(self._row, bisect_right)
        heights = []
        row = self._row
        while row < self._row + rows:
            end = min(self._ends[index], self._row + rows)
            if end > row:
                heights.append((self._files[index].path, end - row))
            row = end
            index += 1
        return heights, first_row

    def _count(self, row: int, began_s: float) -> None:
        """Go on to a row, counting the files whose end it passes."""
        counters = self.counters
        counters.rows += row - self._row
        counters.seconds += perf_counter() - began_s
        self._row = row
        while self._counted < len(self._files) and self._ends[self._counted] <= row:
            counters.files += 1
            counters.bytes += self._files[self._counted].file.size_bytes
            self._counted += 1

    def _index_and_row(self, row: int, side: Callable[[list[int], int], int]) -> tuple[int, int]:
        index = side(self._ends, row)
        return index, row - (self._ends[index - 1] if index else 0)

    def _position_of(self, row: int) -> Position:
        return list(self._index_and_row(row, bisect_left))  # the end of a file, not the start of the next

    def _row_of(self, position: Position | None) -> int:
        match position:
            case None:
                return 0
            case [int(index), int(row)] if 0 <= index < len(self._files):
                start = self._ends[index - 1] if index else 0
                if 0 <= row <= self._ends[index] - start:
                    return start + row
        raise ConnectorError(
            f"position {position} is not in the {len(self._files)} files from {self._files[0].path} on",
            hint="the position was written for other files",
        )


def _in_runs(files: Sequence[DataFile]) -> Iterator[Sequence[DataFile]]:
    """One file behind the other, in lists that are large enough to be scanned fast."""
    first, size_bytes = 0, 0
    for index, file in enumerate(files):
        if size_bytes >= _RUN_BYTES:
            yield files[first:index]
            first, size_bytes = index, 0
        size_bytes += file.file.size_bytes
    if first < len(files):
        yield files[first:]
