"""Files as a source that does not end: new files are picked up, growing ones are tailed.

The position of a partition says, for each content that has been begun and is still of interest, where it is
stored and how far it has been handed on, and for the files that were read as a whole only that they were. So
a run that goes on finds out by itself what has been renamed, copied, compressed or truncated meanwhile.
"""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from arrowstream.connectors.files.columnar import ParquetFormat
from arrowstream.connectors.files.conform import common_schema
from arrowstream.connectors.files.credentials import shown
from arrowstream.connectors.files.decoder import Decoder
from arrowstream.connectors.files.decompression import decompressed
from arrowstream.connectors.files.errors import LIBRARY_ERRORS
from arrowstream.connectors.files.follow_reader import FollowReader
from arrowstream.connectors.files.followed import Followed
from arrowstream.connectors.files.follower import Follower
from arrowstream.connectors.files.hive import hive_keys
from arrowstream.connectors.files.labels import FileLabels
from arrowstream.connectors.files.options import FileOptions
from arrowstream.connectors.files.parts import PartsFormat
from arrowstream.connectors.files.paths import named
from arrowstream.connectors.files.place_errors import AbsentError
from arrowstream.connectors.files.places import FoundFile, place_of
from arrowstream.connectors.files.rotations import oldest_first
from arrowstream.connectors.files.row_groups import RowGroups
from arrowstream.connectors.files.source import check_options, rules_of
from arrowstream.connectors.files.stream_source import stored_suffixes
from arrowstream.connectors.files.watch import LocalWatch, PolledWatch, Seen
from arrowstream.errors import DataError, PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Self

    import pyarrow as pa

    from arrowstream.connectors.files.streams import StreamFormat
    from arrowstream.connectors.files.watch import Watch
    from arrowstream.types import Duration, Json, PathLike, Position

_FOOTER_MAGIC = (b"PAR1", b"ARROW1")
_INFERRED_FILES = 10  # whose first rows say what columns there are
_ALONE_S = 0.2  # how long a reader that nobody polls for waits


class FollowSource:
    """Files that come, grow and go.

    Parameters
    ----------
    paths
        Files, globs and folders, which need not be there yet; local or URLs.
    format
        Of all of them. Uncompressed files of lines (CSV, NDJSON) are read as they grow; all others once, when
        they are complete.
    options
        See `FileOptions`. Keys of Hive partitions are read if `hive_schema` says which there are.

    Raises
    ------
    PlanError
        No schema is given, and there is no file yet to infer it from; an option that is not known.
    """

    bounded = False
    replayable = True

    def __init__(
        self,
        paths: PathLike | Iterable[PathLike],
        format: StreamFormat | ParquetFormat,  # noqa: A002 - the word for it
        options: FileOptions | None = None,
    ) -> None:
        self._options = options = options or FileOptions()
        check_options(options)
        self._place = place_of(paths, options.storage_options)
        self._patterns = absolute(paths) if self._place.is_local else tuple(named(paths))
        if len(set(self._shown)) < len(set(self._patterns)):
            raise PlanError(
                "the URLs differ only in what is not shown: their files could not be told apart",
                hint="follow each of them in a scan of its own",
            )
        self._format = _as_stream(format, options)
        self._labels = _labels_of(options)
        schema = self._given_schema() or self._inferred_schema()
        labels = self._labels.schema
        if (path := options.include_file_paths) is not None and path in schema:
            raise PlanError(
                f"include_file_paths='{path}': the files have a column of that name", hint="give another name"
            )
        self._file_schema = pl.Schema({name: dtype for name, dtype in schema.items() if name not in labels})
        self._row_column: str | None = None
        self._columns = tuple(pl.Schema({**schema, **labels}))

    def __repr__(self) -> str:
        more = f" and {len(self._patterns) - 1} more" if len(self._patterns) > 1 else ""
        return f"{self._format.name}(follows {self._shown[0]}{more})"

    @property
    def polars_schema(self) -> pl.Schema:
        """Columns and types of every batch."""
        numbers = {} if self._row_column is None else {self._row_column: pl.Int64()}
        types = pl.Schema({**self._file_schema, **self._labels.schema, **numbers})
        return pl.Schema({name: types[name] for name in self._columns})

    @property
    def schema(self) -> pa.Schema:
        """The same in Arrow's terms."""
        return self.polars_schema.to_arrow()

    @property
    def idle_timeout(self) -> Duration | None:
        """How long a partition without rows holds the others back (None: until it has some)."""
        return self._options.idle_timeout

    def partitions(self) -> list[str]:
        """The whole scan is one; others join when their first file is found."""
        return ["scan"] if self._options.clock_by == "scan" else []

    def project(self, columns: Sequence[str]) -> Self:
        """The same rows with these columns only."""
        other = copy.copy(self)
        other._columns = tuple(columns) or self._columns[:1]  # noqa: SLF001 - our own copy
        return other

    def with_metadata(self, *, file: str | None, row: str | None) -> Self:
        """The same rows, with the path of their file and their number in it, from 0, as further columns."""
        other = copy.copy(self)
        for name in (file, row):
            if name is not None and name in self.polars_schema:
                raise PlanError(f"the files have a column '{name}' already", hint="give another name")
        if file is not None:
            other._labels = self._labels.with_path(file)  # noqa: SLF001 - our own copy
        other._row_column = row  # noqa: SLF001 - our own copy
        other._columns = (*self._columns, *(name for name in (file, row) if name is not None))  # noqa: SLF001
        return other

    def identity(self) -> Json:
        """What a checkpoint pins: where files are looked for, and how they are read."""
        return {
            "format": self._format.name,
            "follow": list(self._shown),
            "clock_by": self._options.clock_by,
            "options": self._format.identity(),
            "columns": [[name, str(dtype)] for name, dtype in self._file_schema.items()],
        }

    def follow(self, positions: Mapping[str, Position], state: Json) -> FollowedFiles:
        """Begin to follow, from the positions of an earlier run and what it has retired."""
        follower = Follower(
            self._watch(),
            clock_by=self._options.clock_by,
            tails=self._place.is_local and not self._format.has_types,
            is_complete=self._is_complete,
            compression=self._options.compression,
            state=state,
            positions=positions,
        )
        return FollowedFiles(follower, self._followed(), positions)

    def open(self, partition: str, position: Position | None) -> AloneReader:
        """A reader that looks for files itself."""
        positions = {} if position is None else {partition: position}
        return AloneReader(self.follow(positions, None), partition)

    @property
    def _shown(self) -> tuple[str, ...]:
        """The patterns without credentials."""
        return self._patterns if self._place.is_local else tuple(map(shown, self._patterns))

    def _watch(self) -> Watch:
        if self._place.is_local:
            return LocalWatch(self._patterns, self._suffixes)
        return PolledWatch(self._remote_files, self._patterns)

    @property
    def _suffixes(self) -> tuple[str, ...]:
        # Local ones are found whatever their compression and rotation.
        return self._format.suffixes if self._place.is_local else stored_suffixes(self._format)

    def _remote_files(self, pattern: str) -> list[Seen]:
        try:
            found = self._place.find(pattern, self._suffixes)
        except (PlanError, AbsentError) as error:
            raise FileNotFoundError(error.fact) from error
        return [Seen(file.path, file.size_bytes, 0, version=file.version) for file in found]

    def _is_complete(self, seen: Seen) -> bool | None:
        """Whether the footer is there; None for files without one."""
        if not self._format.has_types:
            return None
        with self._place.open(seen.path) as stream:
            if not stream.read(6).startswith(_FOOTER_MAGIC):
                return None
            stream.seek(0)
            self._format.schema(stream, seen.path)
            return True

    def _followed(self) -> Followed:
        options = self._options
        row_column = self._row_column if self._row_column in self._columns else None
        decoder = Decoder(
            self._format,
            self._file_schema,
            tuple(name for name in self._columns if name != self._row_column),
            rules_of(options, is_sparse=self._format.is_sparse),
            on_error=options.on_error,
            compression=options.compression,
            decompressed_max=options.decompressed_max,
            labels=self._labels,
        )
        return Followed(decoder, self._place, row_column, self.polars_schema)

    def _given_schema(self) -> pl.Schema | None:
        return None if self._options.schema is None else pl.Schema(self._options.schema)

    def _inferred_schema(self) -> pl.Schema:
        """What the files have in common that are there already."""
        watch = self._watch()
        schemas = []
        for seen in sorted(watch.look(), key=lambda seen: oldest_first(seen.path))[:_INFERRED_FILES]:
            try:
                with decompressed(
                    self._place.open(seen.path), seen.path, compression=self._options.compression
                ) as stream:
                    schemas.append(self._format.schema(stream, seen.path))
            except (DataError, *LIBRARY_ERRORS):
                continue  # not complete yet, perhaps: reading it will tell
        watch.close()
        try:
            schema = common_schema([schema for schema in schemas if schema])
        except DataError as error:
            raise PlanError(error.fact, hint=error.hint) from error
        if not schema:
            raise PlanError(
                f"no file with rows is at {', '.join(self._shown)} yet, to see which columns there are",
                hint='give schema={"name": pl.Int64, …}: what is followed may look otherwise at every start',
            )
        return schema


class FollowedFiles:
    """A run's hold on what is followed: partitions come and go, and readers do not wait."""

    def __init__(self, follower: Follower, followed: Followed, positions: Mapping[str, Position]) -> None:
        self._follower = follower
        self._followed = followed
        self._positions = dict(positions)
        self.poll = follower.poll
        self.waiting_for = follower.waiting_for
        self.state = follower.state
        self.close = follower.close

    def open(self, partition: str) -> FollowReader:
        """A reader of a partition, at its position if it had one."""
        return FollowReader(partition, self._follower, self._followed, self._positions.pop(partition, None))

    def retire(self, partition: str, position: Position) -> None:
        """A partition is over, and all its rows are handed on."""
        self._follower.retire(partition, position)


class AloneReader:
    """A reader that polls for itself. May block for a short while."""

    def __init__(self, following: FollowedFiles, partition: str) -> None:
        self._following = following
        self._reader = following.open(partition)
        self.counters = self._reader.counters
        self.within = self._reader.within

    def read(self, max_rows: int) -> tuple[pl.DataFrame, Position] | None:
        """The next rows; none if nothing comes within a short wait."""
        result = self._reader.read(max_rows)
        if result is None or result[0].height:
            return result
        self._following.poll(_ALONE_S)
        return self._reader.read(max_rows)

    def close(self) -> None:
        """Let go of everything."""
        self._reader.close()
        self._following.close()


def _as_stream(files: StreamFormat | ParquetFormat, options: FileOptions) -> StreamFormat:
    """Files with a footer are read from front to back as all others."""
    return PartsFormat(RowGroups, options.decompressed_max) if isinstance(files, ParquetFormat) else files


class _HiveValues(dict[str, tuple[object, ...]]):
    """Values of the keys of a path, found out when they are asked for."""

    def __init__(self, schema: Mapping[str, pl.DataType]) -> None:
        super().__init__()
        self._schema = schema

    def __missing__(self, path: str) -> tuple[object, ...]:
        keys = hive_keys([FoundFile(path, 0, None)], hive_partitioning=True, hive_schema=self._schema)
        if set(keys.schema) != set(self._schema):
            raise DataError(
                f"{path} lies in folders with the keys {', '.join(keys.schema) or 'none'}, not "
                f"{', '.join(self._schema)}",
                hint="hive_schema= says which there are",
            )
        found = dict(zip(keys.schema, keys.values[path], strict=True))
        return tuple(found[name] for name in self._schema)


def _labels_of(options: FileOptions) -> FileLabels:
    path = options.include_file_paths
    labels = FileLabels(path_columns=() if path is None else (path,))
    if options.hive_partitioning is False or options.hive_schema is None:
        if options.hive_partitioning:
            raise PlanError(
                "hive_partitioning with follow: the folders that will come are not known",
                hint='hive_schema={"day": pl.Date, …} says which keys they have',
            )
        return labels
    keys = pl.Schema(options.hive_schema)
    return replace(labels, keys=keys, values=_HiveValues(keys))


def absolute(paths: PathLike | Iterable[PathLike]) -> tuple[str, ...]:
    """What the user names, as absolute patterns."""
    named = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not named:
        raise PlanError("no paths were given", hint="name a file, a glob or a directory")
    patterns = [str(path).removeprefix("file://") for path in named]
    return tuple(dict.fromkeys(os.path.normpath(Path(path).expanduser().absolute()) for path in patterns))
