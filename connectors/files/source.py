"""Files as a bounded, replayable source: what all formats have in common."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

from arrowstream.connectors.files.committed import committed_files
from arrowstream.connectors.files.compression import COMPRESSIONS
from arrowstream.connectors.files.conform import Rules
from arrowstream.connectors.files.labels import FileLabels, labels_of
from arrowstream.connectors.files.paths import partition_names
from arrowstream.connectors.files.places import place_of
from arrowstream.errors import ConnectorError, PlanError, nearest, unknown_choice

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    from arrowstream.connectors.files.options import FileOptions
    from arrowstream.connectors.files.places import FoundFile, Place
    from arrowstream.types import Json, PathLike

CHOICES = {
    "clock_by": ("scan", "file", "directory"),
    "on_error": ("raise", "skip", "dead_letter"),
    "missing_columns": ("insert", "raise", None),
    "extra_columns": ("ignore", "raise", None),
    "compression": COMPRESSIONS,
}


class FileSource:
    """Files in natural path order (2 before 10), with the columns of one schema.

    Which files there are, and how large and how old they are, is found out when it is made; rows are read
    only by the readers that `open` of a format's own source gives.

    Parameters
    ----------
    paths
        A file, glob or directory, or several of them, local or URLs. Directories are searched recursively.
    suffixes
        What names of files in directories end in.
    options
        See `FileOptions`.

    Raises
    ------
    PlanError
        No file found, or an option that is not known.
    ConnectorError
        The place does not answer.
    """

    def __init__(
        self, paths: PathLike | Iterable[PathLike], suffixes: tuple[str, ...], options: FileOptions
    ) -> None:
        check_options(options)
        self._options = options
        self._place = place_of(paths, options.storage_options)
        self._files: Sequence[FoundFile] = found_files(self._place, paths, suffixes, options)
        self._labels = FileLabels()
        names = partition_names([file.path for file in self._files], options.clock_by)
        self._partitions: dict[str, list[FoundFile]] = {name: [] for name in names}
        for name, file in zip(names, self._files, strict=True):
            self._partitions[name].append(file)
        self._file_schema = pl.Schema()
        self._row_column: str | None = None
        self._columns: tuple[str, ...] = ()

    def _shown(self, format_name: str, *facts: str) -> str:
        """What plans and reports call it, such as "CSV(3 files, first in/a.csv)"."""
        first = self._files[0].path
        files = [f"{len(self._files):,} files", *facts, f"first {first}"]
        return f"{format_name}({', '.join(files if len(self._files) > 1 else [*facts, first])})"

    @property
    def polars_schema(self) -> pl.Schema:
        """Columns and types of every batch."""
        schema = self._full_schema()
        return pl.Schema({name: schema[name] for name in self._columns})

    @property
    def schema(self) -> pa.Schema:
        """The same in Arrow's terms."""
        try:
            return self.polars_schema.to_arrow()
        except pa.ArrowInvalid as error:
            raise PlanError(
                f"a column of {self._files[0].path} has a type that Arrow does not have: {error}",
                hint="leave the column out, or rewrite the files with another type",
            ) from error

    @property
    def bounded(self) -> bool:
        """Files end."""
        return True

    @property
    def replayable(self) -> bool:
        """Files can be read again."""
        return True

    def partitions(self) -> list[str]:
        """Names of the partitions, in natural order of their first files."""
        return list(self._partitions)

    def project(self, columns: Sequence[str]) -> Self:
        """The same rows with these columns only; one column stays, as it is what carries the row count."""
        other = copy.copy(self)
        other._columns = self.checked(columns) or self._columns[:1]  # noqa: SLF001 - our own copy
        return other

    def with_metadata(self, *, file: str | None, row: str | None) -> Self:
        """The same rows, with the path of their file and their number in it, from 0, as further columns."""
        other = copy.copy(self)
        for name in (file, row):
            if name is not None and name in self._full_schema():
                raise PlanError(f"the files have a column '{name}' already", hint="give another name")
        if file is not None:
            other._labels = self._labels.with_path(file)  # noqa: SLF001 - our own copy
        other._row_column = row  # noqa: SLF001 - our own copy
        other._columns = (*self._columns, *(name for name in (file, row) if name is not None))  # noqa: SLF001
        return other

    def identity(self) -> Json:
        """What a checkpoint pins: path, size and version of each file, and what changes their rows."""
        files: list[Json] = [[file.path, file.size_bytes, file.version] for file in self._files]
        return {"clock_by": self._options.clock_by, "files": files}

    def files_of(self, partition: str) -> list[FoundFile]:
        """The files of a partition, in their order."""
        if partition not in self._partitions:
            raise ConnectorError(f"there is no partition '{partition}'", choices=self._partitions)
        return self._partitions[partition]

    def checked(self, columns: Sequence[str]) -> tuple[str, ...]:
        """The names, if there are such columns."""
        schema = self._full_schema()
        for name in columns:
            if name not in schema:
                similar = nearest(name, schema)
                raise PlanError(
                    f"{self._files[0].path} has no column '{name}'",
                    choices=schema.names(),
                    hint=f"did you mean '{similar}'?" if similar else None,
                )
        return tuple(columns)

    def _given_schema(self) -> pl.Schema:
        assert self._options.schema is not None
        schema = pl.Schema(self._options.schema)
        if not schema:
            raise PlanError("schema= has no columns", hint="leave it out, or name columns and types")
        return schema

    def _has_file_schema(self, schema: pl.Schema) -> None:
        """Set the columns that are read from the files themselves."""
        self._labels = labels_of(self._files, schema, self._options)
        labels = self._labels.schema
        self._file_schema = pl.Schema({name: dtype for name, dtype in schema.items() if name not in labels})
        self._columns = tuple(pl.Schema({**schema, **labels}))

    def _full_schema(self) -> pl.Schema:
        numbers = {} if self._row_column is None else {self._row_column: pl.Int64()}
        return pl.Schema({**self._file_schema, **self._labels.schema, **numbers})


def found_files(
    place: Place, paths: PathLike | Iterable[PathLike], suffixes: tuple[str, ...], options: FileOptions
) -> list[FoundFile]:
    """The files that a scan reads: those of `Place.find`, or of them the published ones.

    Raises
    ------
    PlanError
        There are none.
    """
    if not options.committed_only:
        return place.find(paths, suffixes)
    if not isinstance(paths, (str, Path)):
        raise PlanError("committed_only reads the output folder of one job", hint="give one path")
    committed = set(committed_files(paths, options.storage_options))
    files = [file for file in place.find(paths, suffixes) if file.path in committed] if committed else []
    if not files:
        raise PlanError(
            f"{paths} has no published epoch with rows yet", hint="run the job that writes it first"
        )
    return files


def check_options(options: FileOptions) -> None:
    """Raise PlanError for a word that is not known, and for options that exclude each other."""
    for name, choices in CHOICES.items():
        if (value := getattr(options, name)) not in choices:
            raise unknown_choice(name, value, [choice for choice in choices if choice is not None])
    if options.decompressed_max is not None and options.decompressed_max < 1:
        raise PlanError(
            f"decompressed_max={options.decompressed_max} is not a number of bytes", hint="leave it out"
        )
    if options.idle_timeout is not None and not options.follow:
        raise PlanError(
            "idle_timeout is for files that are followed", hint="leave it out, or give follow=True"
        )
    if options.committed_only and options.follow:
        raise PlanError(
            "committed_only and follow: the files of a running job would be read as they appear",
            hint="leave one of them out",
        )


def rules_of(options: FileOptions, *, is_sparse: bool = False) -> Rules:
    """How files may differ; where records may lack columns they may by default also have others."""
    return Rules(
        options.missing_columns or ("insert" if is_sparse else "raise"),
        options.extra_columns or ("ignore" if is_sparse else "raise"),
        options.cast_options,
        columns_are_chosen=options.schema is not None,
    )
