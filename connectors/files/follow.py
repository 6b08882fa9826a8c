"""Files as a source that does not end: new files are picked up, growing ones are tailed.

The position of a partition says, for each content that has been begun and is still of interest, where it is
stored and how far it has been handed on, and for the files that were read as a whole only that they were. So
a run that goes on finds out by itself what has been renamed, copied, compressed or truncated meanwhile.
"""

from __future__ import annotations

import copy
import os
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

import polars as pl

from arrowstream.config import DEAD
from arrowstream.connectors.files.conform import common_schema
from arrowstream.connectors.files.contents import Content, Finished
from arrowstream.connectors.files.credentials import shown
from arrowstream.connectors.files.decoder import Decoder
from arrowstream.connectors.files.decompression import decompressed
from arrowstream.connectors.files.errors import LIBRARY_ERRORS, translated
from arrowstream.connectors.files.followed import Followed
from arrowstream.connectors.files.follower import Follower
from arrowstream.connectors.files.hive import hive_keys
from arrowstream.connectors.files.labels import FileLabels
from arrowstream.connectors.files.options import FileOptions
from arrowstream.connectors.files.parts import IpcParts, ParquetParts
from arrowstream.connectors.files.paths import named
from arrowstream.connectors.files.places import FoundFile, place_of
from arrowstream.connectors.files.rotations import oldest_first
from arrowstream.connectors.files.source import check_options, rules_of
from arrowstream.connectors.files.stream_source import stored_suffixes
from arrowstream.connectors.files.tail import Progress, Replaced, read_new
from arrowstream.connectors.files.watch import LocalWatch, PolledWatch, Seen
from arrowstream.errors import DataError, PlanError
from arrowstream.protocols import ConnectorCounters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Self

    import pyarrow as pa

    from arrowstream.connectors.files.columnar import Format
    from arrowstream.connectors.files.streams import Block, StreamFormat
    from arrowstream.connectors.files.watch import Watch
    from arrowstream.types import Duration, Json, PathLike, Position

CHUNK_BYTES = 4 << 20
"""Of a growing file that are read and parsed at once."""

_FOOTER_MAGIC = (b"PAR1", b"ARROW1")
_INFERRED_FILES = 10  # whose first rows say what columns there are
_LINE_BYTES_MAX = 256 << 20
_READ_S = 0.2  # how long one `read` goes on where files have changed and no whole line has come
_ALONE_S = 0.2  # how long a reader that nobody polls for waits


@dataclass(slots=True)
class _Ready:
    """Slots that have been read, with how far their content was handed on before them, and is after them."""

    content: Content
    frame: pl.DataFrame
    before: Progress
    skip: int
    after: Progress
    left: int = 0  # slots that are to be dropped after it, too
    finished: tuple[bytes, ...] | None = None


class FollowReader:
    """Reads one partition of what a follower finds. Each batch is of one file.

    May block on the disk only: where nothing is new, `read` gives a batch without rows at once.
    """

    def __init__(self, partition: str, follower: Follower, followed: Followed, position: Position) -> None:
        self.counters = ConnectorCounters()
        self._partition = partition
        self._follower = follower
        self._followed = followed
        self._contents = dict.fromkeys(follower.of_partition(partition))
        self._finished = Finished(position["finished"] if isinstance(position, dict) else None)
        self._nothing = pl.DataFrame(schema=followed.schema)
        self._ready: deque[_Ready] = deque()
        self._whole: dict[Content, Iterator[Block]] = {}

    def read(self, max_rows: int) -> tuple[pl.DataFrame, Position] | None:
        """The next at most `max_rows` rows, none if nothing is new; None if no file is left that may grow."""
        assert max_rows > 0
        began_s = perf_counter()
        ready = self._next()
        self.counters.seconds += perf_counter() - began_s
        if ready is None:
            if self._follower.is_over(self._partition):
                return None
            return self._nothing, self._position(None)
        content, taken = ready.content, ready.frame
        if taken.height > max_rows:
            taken = taken.head(max_rows)
            rest, skip = ready.frame.slice(max_rows), ready.skip + max_rows
            self._ready.appendleft(_Ready(content, rest, ready.before, skip, ready.after))
            content.hand(ready.before, skip)
        else:
            content.hand(ready.after, 0)
        self._contents[content] = None
        dead = taken.height - taken.get_column(DEAD).null_count() if DEAD in taken.columns else 0
        self.counters.dead_letters += dead
        self.counters.rows += taken.height - dead
        return taken, self._position([content.uid, content.entry_of(ready.before, ready.skip)])

    def _next(self) -> _Ready | None:
        """The next slots; on the way to them notes which files are finished."""
        while True:
            if not self._ready:
                self._fill()
            if not self._ready:
                return None
            ready = self._ready.popleft()
            if ready.finished is not None:
                self._finished.add(ready.finished)
            if ready.frame.height:
                return ready
            ready.content.hand(ready.after, ready.left)
            self._contents[ready.content] = None

    def within(self, position: Position, rows: int) -> Position:
        """The position after only `rows` rows of the batch that `position` was given with."""
        assert isinstance(position, dict)
        uid, entry = position["from"]
        begun = [*entry[:_SKIP], entry[_SKIP] + rows, *entry[_SKIP + 1 :]]
        return {**position, "files": {**position["files"], uid: begun}, "from": None}

    def close(self) -> None:
        """Let go of the files that are read as a whole."""
        self._whole.clear()
        self._ready.clear()

    def _position(self, origin: Json) -> Position:
        # In this order: what is found to be finished meanwhile must not be in neither of the two.
        entries = {content.uid: content.entry() for content in self._contents}
        self._follower.note(self._partition, self._finished)
        if None in entries.values():
            self._contents = {content: None for content in self._contents if content.entry() is not None}
            entries = {uid: entry for uid, entry in entries.items() if entry is not None}
        return {"files": entries, "finished": self._finished.as_json(), "from": origin}

    def _fill(self) -> None:
        """Read of the next contents until there is something."""
        until_s = monotonic() + _READ_S
        while not self._ready and monotonic() < until_s:
            content = self._follower.take(self._partition)
            if content is None:
                return
            more = False
            try:
                more = self._read_whole(content) if content.whole else self._read_tail(content)
            except Replaced:
                self._follower.replaced(content)
            except FileNotFoundError:
                pass  # renamed or deleted just now: the next look finds out
            except PermissionError as error:
                self._follower.denied(content, error)
            except LIBRARY_ERRORS as error:
                raise translated(error, content.seen.path, self._followed.name) from error
            finally:
                self._follower.put_back(content, more=more)

    # Growing files

    def _read_tail(self, content: Content) -> bool:
        """Read what is new, up to a chunk; whether there is more."""
        descriptor = self._follower.descriptor(content)
        status = os.fstat(descriptor)
        left = status.st_size - content.progress.offset
        if left < 0:
            raise Replaced
        if not self._followed.knows(content, descriptor):
            content.read_as = (status.st_size, status.st_mtime_ns)
            return False
        size = CHUNK_BYTES
        while True:
            before, new = read_new(descriptor, content.progress, min(size, left))
            if new[:1] == b"\0" and not content.progress.offset:
                return self._pass_hole(content, new)
            read = self._parse(content, before, new, all_there=left <= size)
            if read or size >= left:
                break
            if size >= _LINE_BYTES_MAX:
                raise DataError(
                    f"{content.seen.path} has no end of a line in {size >> 20} MiB from byte "
                    f"{content.progress.offset} on",
                    hint="this is no file of lines",
                )
            size *= 4  # a long line
        self.counters.bytes += read
        if left <= size:
            content.read_as = (status.st_size, status.st_mtime_ns)
            return False
        return True

    def _pass_hole(self, content: Content, new: bytes) -> bool:
        """A writer went on at its old place in a file that was truncated: before it there is nothing."""
        hole = new[: len(new) - len(new.lstrip(b"\0"))]
        content.progress = content.progress.after(b"", hole, [len(hole), 1])
        content.hand(content.progress, 0)
        self._contents[content] = None
        return True

    def _parse(self, content: Content, before: bytes, new: bytes, *, all_there: bool) -> int:
        """Rows out of new bytes; gives how many of the bytes were whole lines."""
        total = 0
        growing = not (content.last_call and all_there)
        for block in self._followed.lines(new, content, growing=growing):
            assert isinstance(block.resume, list)
            size = block.resume[0] - content.progress.offset
            after = content.progress.after(before, new[total : total + size], block.resume)
            before = (before + new[total : total + size])[-after.kept_size :]
            total += size
            self._add(content, block.frame, after)
        return total

    def _add(
        self,
        content: Content,
        frame: pl.DataFrame,
        after: Progress,
        finished: tuple[bytes, ...] | None = None,
    ) -> None:
        after = replace(after, slots=content.progress.slots + frame.height)
        frame, errors = self._followed.shaped(frame, content)
        self.counters.errors += errors
        skipped = min(content.skip, frame.height)
        left = content.skip - skipped
        frame = frame.slice(skipped) if skipped else frame
        before, content.progress, content.skip = content.progress, after, left
        self._ready.append(_Ready(content, frame, before, skipped, after, left, finished))

    # Whole files

    def _read_whole(self, content: Content) -> bool:
        """Read the next block; whether there is more."""
        path = content.seen.path
        blocks = self._whole.pop(content, None)
        try:
            if blocks is None:
                descriptor = self._follower.descriptor(content) if content.seen.inode else None
                blocks = self._followed.blocks(content, descriptor)
                self.counters.files += 1
                self.counters.bytes += content.seen.size_bytes
            block = next(blocks, None)
        except (*LIBRARY_ERRORS, DataError, EOFError) as error:
            told = translated(error, path, self._followed.name)
            if isinstance(error, FileNotFoundError | PermissionError):
                raise
            if not isinstance(told, DataError) or self._followed.decoder.on_error == "raise":
                if isinstance(told, DataError) and self._follower.unsettled(content):
                    return False
                raise told from error
            if self._follower.unsettled(content):
                return False
            self._add(
                content,
                self._followed.decoder.dead_file(path, told),
                content.progress,
                self._follower.finish(content),
            )
            return False
        if block is None:
            self._add(content, self._nothing, content.progress, self._follower.finish(content))
            return False
        after = replace(content.progress, resume=block.resume)
        self._whole[content] = blocks
        self._add(content, block.frame, after)
        return True


_SKIP = 8
"""Where in an entry of a position the number of slots stands that are handed on after its progress."""


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
        format: StreamFormat | Format,  # noqa: A002 - the word for it
        options: FileOptions | None = None,
    ) -> None:
        self._options = options = options or FileOptions()
        check_options(options)
        self._place = place_of(paths, options.storage_options)
        self._patterns = absolute(paths) if self._place.is_local else tuple(named(paths))
        self._format = _in_parts(format, options) if hasattr(format, "footer") else format
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
        return f"{type(self).__name__}({self._format.name}, follows {self._shown[0]}{more})"

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
        return PolledWatch(self._remote_files)

    @property
    def _suffixes(self) -> tuple[str, ...]:
        # Local ones are found whatever their compression and rotation.
        return self._format.suffixes if self._place.is_local else stored_suffixes(self._format)

    def _remote_files(self) -> list[Seen]:
        try:
            found = self._place.find(self._patterns, self._suffixes)
        except PlanError:
            return []  # there is none yet
        return [Seen(file.path, file.size_bytes, 0, version=str(file.version)) for file in found]

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


def _in_parts(footed: StreamFormat | Format, options: FileOptions) -> StreamFormat:
    """Files with a footer, read from front to back as all others."""
    return (ParquetParts if footed.name == "Parquet" else IpcParts)(options.decompressed_max)


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
