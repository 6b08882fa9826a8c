"""Parquet and Arrow IPC files as a source: their footers say how many rows there are, and more."""

from __future__ import annotations

import copy
from bisect import bisect_left, bisect_right
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar

import polars as pl

from arrowstream.config import END_OF_TIME
from arrowstream.connectors.files.caps import check_parts
from arrowstream.connectors.files.columnar import Footer, Format, IpcFormat, ParquetFormat
from arrowstream.connectors.files.conform import differences
from arrowstream.connectors.files.decoder import Decoder
from arrowstream.connectors.files.errors import LIBRARY_ERRORS, translated, unattributed
from arrowstream.connectors.files.options import FileOptions
from arrowstream.connectors.files.part_reader import FileLows, Lows, PartReader
from arrowstream.connectors.files.parts import IpcParts, ParquetParts
from arrowstream.connectors.files.source import FileSource, rules_of
from arrowstream.errors import ArrowStreamError, ConnectorError, DataError, PlanError
from arrowstream.protocols import ConnectorCounters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Self

    from arrowstream.connectors.files.labels import FileLabels
    from arrowstream.connectors.files.places import FoundFile, Place
    from arrowstream.connectors.files.streams import StreamFormat
    from arrowstream.types import Json, PathLike, Position

_FOOTER_THREADS = 8  # reading footers is waiting for the disk, or the network
_STREAMS_MAX = 16  # each running scan holds threads of Polars and what it reads ahead
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


class ColumnarSource(FileSource):
    """Files with footers, which are read when it is made.

    Local files without a difference in their columns are read by one scan of Polars, if damage is an error;
    all others part by part.

    Parameters
    ----------
    paths, options
        As in `FileSource`.
    event_time
        The column whose statistics give the readers' `horizon`.

    Raises
    ------
    PlanError
        No file found, or files whose schemas differ more than the options allow.
    DataError, ConnectorError
        A footer cannot be read.
    """

    format: ClassVar[Format]
    parts: ClassVar[type[ParquetParts | IpcParts]]

    def __init__(
        self,
        paths: PathLike | Iterable[PathLike],
        options: FileOptions | None = None,
        *,
        event_time: str | None = None,
    ) -> None:
        super().__init__(paths, self.format.suffixes, options or FileOptions())
        read = self._read_footers()
        self._data_files = {data.path: data for data, _ in read}
        schemas = {data.path: footer.schema for data, footer in read if footer is not None}
        self._has_file_schema(self._expected(schemas))
        self._is_one_scan = (
            self._place.is_local and self._options.on_error == "raise" and self._match(schemas)
        )
        self._event_time: str | None = None
        if event_time is not None:
            self._event_time = self.checked([event_time])[0]

    def __repr__(self) -> str:
        files = f"{len(self._files)} files" if len(self._files) > 1 else "1 file"
        rows = "" if self.row_count is None else f"{self.row_count:,} rows, "
        return f"{type(self).__name__}({files}, {rows}first {self._files[0].path})"

    @property
    def row_count(self) -> int | None:
        """Rows of all files; None if not all footers say it."""
        files = self._data_files.values()
        if not all(data.part_rows or data.tail is None for data in files):
            return None
        return sum(sum(data.part_rows) for data in files)

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
        if self._event_time not in self._file_schema:
            return f"'{self._event_time}' does not come from the files"
        blind = [
            data.path
            for data in self._data_files.values()
            if self._is_blind(data)
            or any(
                rows and time is None for rows, time in zip(data.part_rows, self._minimums(data), strict=True)
            )
        ]
        if not blind:
            return None
        return (
            f"{len(blind)} of {len(self._files)} files have no statistics of '{self._event_time}': {blind[0]}"
        )

    def open(self, partition: str, position: Position | None) -> FileReader | PartReader:
        """A reader that starts right after `position`."""
        files = [self._data_files[file.path] for file in self.files_of(partition)]
        if not self._is_one_scan:
            return self._part_reader(files, position)
        return FileReader(
            files,
            self._place,
            self.format,
            self._columns,
            position,
            labels=self._labels,
            row_column=self._row_column,
            lows=self._lows_of(files),
            streams=len(self._partitions) <= _STREAMS_MAX,
        )

    def _part_reader(self, files: Sequence[DataFile], position: Position | None) -> PartReader:
        columns = tuple(name for name in self._columns if name != self._row_column)
        decoder = Decoder(
            self._stream_format(),
            self._file_schema,
            columns or tuple(self._file_schema.names()[:1]),
            rules_of(self._options),
            on_error=self._options.on_error,
            compression="uncompressed",
            labels=self._labels,
        )
        return PartReader(
            [data.file for data in files],
            self._place,
            decoder,
            position,
            columns=self._columns,
            on_error=self._options.on_error,
            row_column=self._row_column if self._row_column in self._columns else None,
            lows=self._lows_of(files),
        )

    def _stream_format(self) -> StreamFormat:
        return self.parts(self._options.decompressed_max)

    def _lows_of(self, files: Sequence[DataFile]) -> Callable[[], Lows] | None:
        if self._event_time is None or self._event_time not in self._file_schema:
            return None
        if any(self._is_blind(data) for data in files):
            return None
        return lambda: Lows([FileLows(data.part_rows, self._minimums(data)) for data in files])

    def _is_blind(self, data: DataFile) -> bool:
        """Whether the footer of a file that can be read does not even tell how many rows there are."""
        return bool(data.tail) and not data.part_rows and not self.format.has_rows

    def _minimums(self, data: DataFile) -> Sequence[int | None]:
        """Per part of a file; unknown where the footer says nothing, or is not the one read before."""
        assert self._event_time is not None
        unknown: list[int | None] = [None] * len(data.part_rows)
        if not data.part_rows:
            return unknown
        dtype = self._file_schema[self._event_time]
        try:
            times = self.format.minimums(data.readable, self._event_time, dtype)
        except LIBRARY_ERRORS as error:
            raise translated(error, data.path, self.format.name) from error
        return times if times is not None and len(times) == len(data.part_rows) else unknown

    def _expected(self, schemas: dict[str, pl.Schema]) -> pl.Schema:
        """The columns of the scan: as given, else those of the first file."""
        if self._options.schema is not None:
            return self._given_schema()
        if not schemas:
            raise DataError(
                f"{self._files[0].path} is not a readable {self.format.name} file, and no other is"
            )
        return next(iter(schemas.values()))

    def _match(self, schemas: dict[str, pl.Schema]) -> bool:
        """Whether all files have the columns of the scan, in whatever order."""
        rules = rules_of(self._options)
        labelled = self._labels.schema
        differ = False
        for path, schema in schemas.items():
            own = pl.Schema({name: dtype for name, dtype in schema.items() if name not in labelled})
            try:
                differ = bool(differences(path, own, self._file_schema, rules)) or differ
            except DataError as error:
                raise PlanError(error.fact, choices=error.choices, hint=error.hint) from error
        return not differ

    def _read_footers(self) -> list[tuple[DataFile, Footer | None]]:
        """Of each file; None where bad files are no error and this is one."""

        def read(file: FoundFile) -> tuple[DataFile, Footer | None]:
            try:
                tail = None if self._place.is_local else self._tail(file)
                footer = self.format.footer(file.path if tail is None else tail)
                if self._options.on_error == "raise":  # else a part that is too large costs only itself
                    check_parts(file.path, footer, file.size_bytes, self._options.decompressed_max)
            except (ArrowStreamError, *LIBRARY_ERRORS) as error:
                told = translated(error, file.path, self.format.name)
                if self._options.on_error == "raise" or not isinstance(told, DataError):
                    raise told from error
                return DataFile(file, (), b""), None
            return DataFile(file, footer.part_rows, tail), footer

        with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
            return list(pool.map(read, self._files))

    def _tail(self, file: FoundFile) -> bytes:
        with self._place.open(file) as stream:
            return self.format.tail(stream)


class ParquetSource(ColumnarSource):
    """Parquet files; row-group statistics let windows close while the files are read."""

    format: ClassVar[Format] = ParquetFormat()
    parts: ClassVar[type[ParquetParts | IpcParts]] = ParquetParts


class IpcSource(ColumnarSource):
    """Arrow IPC files (Feather V2); without statistics windows close at the end, if no lateness is given."""

    format: ClassVar[Format] = IpcFormat()
    parts: ClassVar[type[ParquetParts | IpcParts]] = IpcParts


class FileReader:
    """Reads the files of one partition in one scan, so that Polars reads ahead across files.

    With `streams=False` nothing is read ahead: each part (row group) is a query of its own, so that
    thousands of readers can be open at once. May block on the disk. `horizon` may be called from another
    thread than `read`.
    """

    def __init__(
        self,
        files: Sequence[DataFile],
        place: Place,
        format: Format,  # noqa: A002 - the word for it
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
        self._format = format
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
        if self._row == self._ends[-1]:
            return iter(())
        first, skipped = self._index_and_row(self._row, bisect_right)
        remaining = self._files[first:]
        for file in remaining:
            self._place.check_unchanged(file.file)
        scan = self._format.scan([file.path for file in remaining]).select(self._wanted)
        return scan.slice(skipped).collect_batches(
            chunk_size=min(rows, self._chunk_rows(remaining[0])), maintain_order=True
        )

    def _parts(self) -> Iterator[pl.DataFrame]:
        first, skipped = self._index_and_row(self._row, bisect_right)
        for file in self._files[first:]:
            self._place.check_unchanged(file.file)
            scan = self._format.scan([file.path]).select(self._wanted)
            rows_max = min(_PART_ROWS_MAX, self._chunk_rows(file))
            for end in accumulate(file.part_rows):
                while skipped < end:
                    rows = min(end - skipped, rows_max)
                    yield scan.slice(skipped, rows).collect(engine="streaming")
                    skipped += rows
            skipped = 0

    def _chunk_rows(self, file: DataFile) -> int:
        """Few rows at once where they are large."""
        return max(1, _CHUNK_BYTES // self._format.row_bytes(file.path, self._read_columns))

    def _check_end(self) -> None:
        if self._row != self._ends[-1]:
            for file in self._files:
                self._place.check_unchanged(file.file)
            paths = [file.path for file in self._files]
            fact = f"{self._row:,} rows came where the footers say {self._ends[-1]:,}"
            raise unattributed(ConnectorError(fact), paths, self._format.name)

    def _diagnosed(self, error: BaseException) -> ArrowStreamError:
        """Which file it was: Polars does not always say, so read them one by one from here on."""
        first, _ = self._index_and_row(self._row, bisect_right)
        remaining = self._files[min(first, len(self._files) - 1) :]
        for file in remaining:
            try:
                self._place.check_unchanged(file.file)
                for _ in self._format.scan([file.path]).select(self._wanted).collect_batches():
                    pass
            except (ArrowStreamError, *LIBRARY_ERRORS) as found:
                return translated(found, file.path, self._format.name)
        return unattributed(error, [file.path for file in remaining], self._format.name)

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
