"""Parquet and Arrow IPC files as a source: their footers say how many rows there are, and more."""

from __future__ import annotations

import copy
from bisect import bisect_left, bisect_right
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from arrowstream.config import END_OF_TIME
from arrowstream.connectors.files.columnar import Format, IpcFormat, ParquetFormat
from arrowstream.connectors.files.errors import (
    LIBRARY_ERRORS,
    changed,
    schema_differs,
    translated,
    unattributed,
)
from arrowstream.connectors.files.options import FileOptions
from arrowstream.connectors.files.source import FileSource
from arrowstream.errors import ArrowStreamError, ConnectorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Self

    import polars as pl

    from arrowstream.types import Json, PathLike, Position

_FOOTER_THREADS = 8  # reading footers is waiting for the disk
_STREAMS_MAX = 16  # each running scan holds threads of Polars and what it reads ahead
_CHUNK_BYTES = 16 << 20  # of rows that Polars gathers before it hands them over
_PART_ROWS_MAX = 1 << 20  # larger row groups are decoded more than once where parts are read one by one


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file as it was when the query was built."""

    path: str
    size_bytes: int
    mtime_ns: int
    part_rows: tuple[int, ...]

    def check_unchanged(self) -> None:
        """Raise ConnectorError if it is gone or another one by now."""
        try:
            status = Path(self.path).stat()
        except OSError as error:
            raise translated(error, self.path, "data") from error
        if (status.st_size, status.st_mtime_ns) != (self.size_bytes, self.mtime_ns):
            raise changed(self.path)


class ColumnarSource(FileSource):
    """Files with footers, which are read when it is made.

    Parameters
    ----------
    paths, options
        As in `FileSource`.
    event_time
        The column whose statistics give the readers' `horizon`.

    Raises
    ------
    PlanError
        No file found, or files whose schemas differ.
    DataError, ConnectorError
        A footer cannot be read.
    """

    format: ClassVar[Format]

    def __init__(
        self,
        paths: PathLike | Iterable[PathLike],
        options: FileOptions | None = None,
        *,
        event_time: str | None = None,
    ) -> None:
        super().__init__(paths, self.format.suffixes, options or FileOptions())
        read, schema = _read_footers([file.path for file in self._files], self.format)
        self._data_files = {file.path: file for file in read}
        self._has_file_schema(schema)
        self._event_time: str | None = None
        if event_time is not None:
            self._event_time = self.checked([event_time])[0]

    def __repr__(self) -> str:
        files = f"{len(self._files)} files" if len(self._files) > 1 else "1 file"
        return f"{type(self).__name__}({files}, {self.row_count:,} rows, first {self._files[0].path})"

    @property
    def row_count(self) -> int:
        """Rows of all files."""
        return sum(sum(file.part_rows) for file in self._data_files.values())

    def with_event_time(self, column: str) -> Self:
        """The same rows, read by readers that know the `horizon` of this column."""
        other = copy.copy(self)
        other._event_time = self.checked([column])[0]  # noqa: SLF001 - our own copy
        return other

    def identity(self) -> Json:
        """See `FileSource`."""
        common = super().identity()
        assert isinstance(common, dict)
        return {"format": self.format.name, **common}

    def horizon_missing(self) -> str | None:
        """Why the watermark stands still until the end, in words for `explain()`; None if it moves."""
        if self._event_time is None:
            return "no event-time column is read from the files"
        time_type = self._time_type()
        blind = [
            file.path
            for file in self._data_files.values()
            if any(
                rows and time is None
                for rows, time in zip(
                    file.part_rows, _minimums(file, self.format, self._event_time, time_type), strict=True
                )
            )
        ]
        if not blind:
            return None
        return (
            f"{len(blind)} of {len(self._files)} files have no statistics of '{self._event_time}': {blind[0]}"
        )

    def open(self, partition: str, position: Position | None) -> FileReader:
        """A reader that starts right after `position`, which is [index of the file, rows read of it]."""
        files = [self._data_files[file.path] for file in self.files_of(partition)]
        times = None if self._event_time is None else (self._event_time, self._time_type())
        streams = len(self._partitions) <= _STREAMS_MAX
        return FileReader(files, self.format, self._columns, times, position, streams=streams)

    def _time_type(self) -> pl.DataType:
        assert self._event_time is not None
        return self._file_schema[self._event_time]


class ParquetSource(ColumnarSource):
    """Parquet files; row-group statistics let windows close while the files are read."""

    format: ClassVar[Format] = ParquetFormat()


class IpcSource(ColumnarSource):
    """Arrow IPC files (Feather V2); without statistics windows close at the end, if no lateness is given."""

    format: ClassVar[Format] = IpcFormat()


class FileReader:
    """Reads the files of one partition in one scan, so that Polars reads ahead across files.

    With `streams=False` nothing is read ahead: each part (row group) is a query of its own, so that
    thousands of readers can be open at once. May block on the disk. `horizon` may be called from another
    thread than `read`.
    """

    def __init__(
        self,
        files: Sequence[DataFile],
        format: Format,  # noqa: A002 - the word for it
        columns: Sequence[str],
        times: tuple[str, pl.DataType] | None,
        position: Position | None,
        *,
        streams: bool = True,
    ) -> None:
        self._files = files
        self._format = format
        self._columns = list(columns)
        self._times = times
        self._streams = streams
        self._ends = list(accumulate(sum(file.part_rows) for file in files))
        self._row = self._row_of(position)
        self._batches: Iterator[pl.DataFrame] | None = None
        self._rest: pl.DataFrame | None = None

    def read(self, max_rows: int) -> tuple[pl.DataFrame, Position] | None:
        """The next at most `max_rows` rows and the position after them; None at the end."""
        assert max_rows > 0
        frame = self._rest if self._rest is not None else self._next_batch(max_rows)
        if frame is None:
            return None
        self._rest = frame.slice(max_rows) if frame.height > max_rows else None
        frame = frame.head(max_rows) if self._rest is not None else frame
        self._row += frame.height
        return frame, self._position_of(self._row)

    def horizon(self, position: Position | None, skip: int) -> int | None:
        """The smallest event time after `position` and `skip` rows, from statistics; None if not known."""
        ends, lows = self._horizons
        index = bisect_right(ends, self._row_of(position) + skip)
        return END_OF_TIME if index == len(ends) else lows[index]

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
        if self._row == self._ends[-1]:
            return iter(())
        first, skipped = self._index_and_row(self._row, bisect_right)
        remaining = self._files[first:]
        for file in remaining:
            file.check_unchanged()
        scan = self._format.scan([file.path for file in remaining]).select(self._columns)
        return scan.slice(skipped).collect_batches(
            chunk_size=min(rows, self._chunk_rows(remaining[0])), maintain_order=True
        )

    def _parts(self) -> Iterator[pl.DataFrame]:
        first, skipped = self._index_and_row(self._row, bisect_right)
        for file in self._files[first:]:
            file.check_unchanged()
            scan = self._format.scan([file.path]).select(self._columns)
            rows_max = min(_PART_ROWS_MAX, self._chunk_rows(file))
            for end in accumulate(file.part_rows):
                while skipped < end:
                    rows = min(end - skipped, rows_max)
                    yield scan.slice(skipped, rows).collect(engine="streaming")
                    skipped += rows
            skipped = 0

    def _chunk_rows(self, file: DataFile) -> int:
        """Few rows at once where they are large."""
        return max(1, _CHUNK_BYTES // self._format.row_bytes(file.path, self._columns))

    def _check_end(self) -> None:
        if self._row != self._ends[-1]:
            for file in self._files:
                file.check_unchanged()
            paths = [file.path for file in self._files]
            fact = f"{self._row:,} rows came where the footers say {self._ends[-1]:,}"
            raise unattributed(ConnectorError(fact), paths, self._format.name)

    def _diagnosed(self, error: BaseException) -> ArrowStreamError:
        """Which file it was: Polars does not always say, so read them one by one from here on."""
        first, _ = self._index_and_row(self._row, bisect_right)
        remaining = self._files[min(first, len(self._files) - 1) :]
        for file in remaining:
            try:
                file.check_unchanged()
                for _ in self._format.scan([file.path]).select(self._columns).collect_batches():
                    pass
            except (ArrowStreamError, *LIBRARY_ERRORS) as found:
                return translated(found, file.path, self._format.name)
        return unattributed(error, [file.path for file in remaining], self._format.name)

    @cached_property
    def _horizons(self) -> tuple[list[int], list[int | None]]:
        """Ends of the parts in rows of the partition, and the smallest event time from each on."""
        ends = list(accumulate(rows for file in self._files for rows in file.part_rows))
        lows: list[int | None] = []
        low: int | None = END_OF_TIME
        for file in reversed(self._files):
            times: list[int | None] = [None] * len(file.part_rows)
            if self._times is not None:
                times = _minimums(file, self._format, *self._times)
            for rows, time in zip(reversed(file.part_rows), reversed(times), strict=True):
                if rows:
                    low = None if low is None or time is None else min(low, time)
                lows.append(low)
        return ends, lows[::-1]

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


def _read_footers(paths: list[str], format: Format) -> tuple[list[DataFile], pl.Schema]:  # noqa: A002
    """All files with their row counts, and the schema that they share."""

    def read(path: str) -> tuple[DataFile, pl.Schema]:
        try:
            status = Path(path).stat()
            schema, part_rows = format.footer(path)
        except LIBRARY_ERRORS as error:
            raise translated(error, path, format.name) from error
        return DataFile(path, status.st_size, status.st_mtime_ns, part_rows), schema

    with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
        read_files = list(pool.map(read, paths))
    expected = read_files[0][1]
    for file, schema in read_files:
        if (error := schema_differs(file.path, paths[0], schema, expected)) is not None:
            raise error
    return [file for file, _ in read_files], expected


def _minimums(file: DataFile, format: Format, column: str, dtype: pl.DataType) -> list[int | None]:  # noqa: A002
    """Per part of the file; unknown where the footer says nothing or is not the one read before."""
    try:
        times = format.minimums(file.path, column, dtype)
    except LIBRARY_ERRORS as error:
        raise translated(error, file.path, format.name) from error
    unknown: list[int | None] = [None] * len(file.part_rows)
    return times if times is not None and len(times) == len(file.part_rows) else unknown
