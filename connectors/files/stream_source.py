"""Files of a byte-stream format as a source: CSV, NDJSON, Avro, IPC streams."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import polars as pl

from arrowstream.connectors.files.compression import SUFFIXES
from arrowstream.connectors.files.conform import common_schema
from arrowstream.connectors.files.decoder import Decoder
from arrowstream.connectors.files.errors import LIBRARY_ERRORS, translated
from arrowstream.connectors.files.options import FileOptions
from arrowstream.connectors.files.source import FileSource, rules_of
from arrowstream.connectors.files.stream_reader import StreamReader
from arrowstream.errors import ArrowStreamError, DataError, PlanError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from arrowstream.connectors.files.streams import StreamFormat
    from arrowstream.types import Json, PathLike, Position

OPEN_MAX = 256
"""Partitions whose files are all open at once; many systems allow 1,024 files."""

_INFERRED_FILES = 10
"""Files whose first rows say of which types the columns are; as many as Polars looks at."""


class StreamSource(FileSource):
    """Files that are read from front to back.

    Parameters
    ----------
    paths, options
        As in `FileSource`; without `options.schema` the heads of the first files say which columns there are.
    format
        Of the files without their compression.

    Raises
    ------
    PlanError
        No file found, an option that is not known, or no columns.
    DataError
        The head of a file cannot be read.
    ConnectorError
        A file cannot be read at all.
    """

    def __init__(
        self,
        paths: PathLike | Iterable[PathLike],
        format: StreamFormat,  # noqa: A002 - the word for it
        options: FileOptions | None = None,
    ) -> None:
        options = options or FileOptions()
        super().__init__(paths, stored_suffixes(format), options)
        self._format = format
        given = self._options.schema is not None
        self._has_file_schema(self._given_schema() if given else self._inferred_schema())

    def __repr__(self) -> str:
        return self._shown(self._format.name)

    def identity(self) -> Json:
        """See `FileSource`."""
        common = super().identity()
        assert isinstance(common, dict)
        columns = [[name, str(dtype)] for name, dtype in self._file_schema.items()]
        return {**common, "format": self._format.name, "options": self._format.identity(), "columns": columns}

    def horizon_missing(self) -> str | None:
        """Why the watermark stands still until the end, in words for `explain()`."""
        return f"{self._format.name} files have no statistics"

    def open(self, partition: str, position: Position | None) -> StreamReader:
        """A reader that starts right after `position`."""
        return StreamReader(
            self.files_of(partition),
            self._place,
            self.decoder(),
            position,
            columns=self._columns,
            on_error=self._options.on_error,
            row_column=self._row_column if self._row_column in self._columns else None,
            stays_open=len(self._partitions) <= OPEN_MAX,
        )

    def decoder(self) -> Decoder:
        """How each file is read."""
        options = self._options
        columns = tuple(name for name in self._columns if name != self._row_column)
        untyped: Callable[[], StreamFormat] | None = getattr(self._format, "without_types", None)
        return Decoder(
            untyped() if untyped is not None and self._file_schema else self._format,
            self._file_schema,
            columns or tuple(self._file_schema.names()[:1]),
            rules_of(options, is_sparse=self._format.is_sparse),
            on_error=options.on_error,
            compression=options.compression,
            decompressed_max=options.decompressed_max,
            labels=self._labels,
        )

    def _inferred_schema(self) -> pl.Schema:
        """Of the first file if it says of which types its columns are, else what several have in common."""
        heads = (head for head in self._heads() if head)
        if self._format.has_types:
            found = next(heads, pl.Schema())
        else:
            among = list(islice(heads, _INFERRED_FILES))
            if self._options.missing_columns != "insert" and not self._format.is_sparse:
                among = [pl.Schema({name: head[name] for name in among[0] if name in head}) for head in among]
            try:
                found = common_schema(among)
            except DataError as error:
                raise PlanError(error.fact, hint=error.hint) from error
        if not found:
            raise PlanError(f"{self._files[0].path} has no columns", hint="the files are empty: give schema=")
        return found

    def _heads(self) -> Iterator[pl.Schema]:
        """Columns of each file; where bad files are no error those that cannot be read have none."""
        decoder = self.decoder()
        for file in self._files:
            try:
                yield decoder.head(self._place.open(file), file.path)
            except (ArrowStreamError, *LIBRARY_ERRORS) as error:
                told = translated(error, file.path, self._format.name)
                if self._options.on_error == "raise" or not isinstance(told, DataError):
                    raise told from error


def stored_suffixes(format: StreamFormat) -> tuple[str, ...]:  # noqa: A002 - the word for it
    """What names of files of a format end in, compressed ones too."""
    return tuple(f"{suffix}{codec}" for suffix in format.suffixes for codec in ("", *SUFFIXES))
