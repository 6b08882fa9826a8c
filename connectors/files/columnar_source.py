"""Parquet and Arrow IPC files as a source: their footers say how many rows there are, and more."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar

import polars as pl

from arrowstream.connectors.files.caps import check_parts
from arrowstream.connectors.files.columnar import Footer, Format, IpcFormat, ParquetFormat
from arrowstream.connectors.files.conform import differences
from arrowstream.connectors.files.decoder import Decoder
from arrowstream.connectors.files.errors import LIBRARY_ERRORS, translated
from arrowstream.connectors.files.options import FileOptions
from arrowstream.connectors.files.part_reader import FileLows, Lows, PartReader
from arrowstream.connectors.files.parts import Parts, PartsFormat
from arrowstream.connectors.files.record_batches import RecordBatches
from arrowstream.connectors.files.row_groups import RowGroups
from arrowstream.connectors.files.scan_reader import DataFile, ScanReader
from arrowstream.connectors.files.source import FileSource, rules_of
from arrowstream.connectors.files.stream_source import OPEN_MAX
from arrowstream.errors import ArrowStreamError, DataError, PlanError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self

    from arrowstream.connectors.files.places import FoundFile
    from arrowstream.connectors.files.streams import StreamFormat
    from arrowstream.protocols import Reader
    from arrowstream.types import Json, PathLike, Position

_FOOTER_THREADS = 8  # reading footers is waiting for the disk, or the network
_STREAMS_MAX = 16  # each running scan holds threads of Polars and what it reads ahead


class ColumnarSource(FileSource):
    """Files with footers, which are read when it is made.

    They are read part by part.

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
    parts: ClassVar[type[Parts]]

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
        self._are_alike = self._place.is_local and self._options.on_error == "raise" and self._match(schemas)
        self._event_time: str | None = None
        if event_time is not None:
            self._event_time = self.checked([event_time])[0]

    def __repr__(self) -> str:
        rows = [] if self.row_count is None else [f"{self.row_count:,} rows"]
        return self._shown(self.format.name, *rows)

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

    def open(self, partition: str, position: Position | None) -> Reader:
        """A reader that starts right after `position`."""
        return self._part_reader(self._data_files_of(partition), position)

    def _data_files_of(self, partition: str) -> list[DataFile]:
        return [self._data_files[file.path] for file in self.files_of(partition)]

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
            stays_open=len(self._partitions) <= OPEN_MAX,
            lows=self._lows_of(files),
        )

    def _stream_format(self) -> StreamFormat:
        return PartsFormat(self.parts, self._options.decompressed_max)

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
    """Parquet files; row-group statistics let windows close while the files are read.

    Local files without a difference in their columns are read by one scan of Polars, if damage is an error.
    """

    format: ClassVar[Format] = ParquetFormat()
    parts: ClassVar[type[Parts]] = RowGroups

    def open(self, partition: str, position: Position | None) -> Reader:
        """See `ColumnarSource`."""
        if not self._are_alike:
            return super().open(partition, position)
        files = self._data_files_of(partition)
        return ScanReader(
            files,
            self._place,
            self._columns,
            position,
            labels=self._labels,
            row_column=self._row_column,
            lows=self._lows_of(files),
            streams=len(self._partitions) <= _STREAMS_MAX,
        )


class IpcSource(ColumnarSource):
    """Arrow IPC files (Feather V2); without statistics windows close at the end, if no lateness is given."""

    format: ClassVar[Format] = IpcFormat()
    parts: ClassVar[type[Parts]] = RecordBatches
