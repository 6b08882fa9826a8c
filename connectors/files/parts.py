"""Parquet and Arrow IPC files part by part: remote ones, and those in which damage costs only its part."""

from __future__ import annotations

import io
import os
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

import polars as pl

from arrowstream.connectors.files.columnar import TAIL_BYTES, Format
from arrowstream.connectors.files.errors import LIBRARY_ERRORS, changed, translated
from arrowstream.connectors.files.remote_files import RemoteStream
from arrowstream.connectors.files.streams import Block, DeadSlot, with_dead
from arrowstream.errors import ConnectorError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import ClassVar

    from arrowstream.types import Json, OnError

_COPY_BYTES = 1 << 20  # at once, of a file that has to be copied


class Parts(Protocol):
    """The parts of one file, counted from 0: `RowGroups` or `RecordBatches`.

    Errors are those of the libraries, or a DataError without the path. Whoever makes one closes it.

    Parameters
    ----------
    stream
        Can seek.
    schema, columns
        All columns of the file, and those that are wanted.
    decompressed_max
        Most bytes of a part in memory. None: 1 GiB, or 1,000 times its size in the file, whichever is more.
    """

    format: ClassVar[Format]
    kind: ClassVar[str]

    def __init__(
        self, stream: BinaryIO, schema: pl.Schema, columns: Sequence[str], decompressed_max: int | None
    ) -> None: ...

    def count(self) -> int:
        """How many there are."""
        ...

    def frames(self, index: int, done: int, *, at_once: bool) -> Iterator[pl.DataFrame]:
        """Rows of a part from `done` on; `at_once`: an error comes before any of them."""
        ...

    def close(self) -> None:
        """Stop to read ahead."""
        ...


@dataclass(frozen=True, slots=True)
class PartsFormat:
    """A `StreamFormat` for files with a footer, each part validated; with the types that Polars reads.

    Of a remote file only the footer and the columns wanted are fetched, parts ahead.

    Parameters
    ----------
    parts
        How one file is read.
    decompressed_max
        See `Parts`.
    """

    parts: type[Parts]
    decompressed_max: int | None = None
    has_types: bool = True
    is_sparse: bool = False

    @property
    def name(self) -> str:
        """See `StreamFormat`."""
        return self.parts.format.name

    @property
    def suffixes(self) -> tuple[str, ...]:
        """See `StreamFormat`."""
        return self.parts.format.suffixes

    def schema(self, stream: BinaryIO, path: str) -> pl.Schema:  # noqa: ARG002 - see `StreamFormat`
        """See `StreamFormat`."""
        with _seekable(stream) as file:
            return self.parts.format.footer(self.parts.format.tail(file)).schema

    def blocks(
        self,
        stream: BinaryIO,
        path: str,
        *,
        schema: pl.Schema,
        columns: Sequence[str],
        resume: Json,
        on_error: OnError,
        growing: bool = False,
    ) -> Iterator[Block]:
        """See `StreamFormat`; `resume` is [part, rows of it]. A dead slot stands for a part."""
        assert not growing
        with _seekable(stream) as file:
            disk = _Disk(file) if isinstance(file, io.BufferedReader) else None
            empty = pl.DataFrame(schema={name: schema[name] for name in columns})
            with closing(self.parts(file, schema, columns, self.decompressed_max)) as parts:
                first, done = cast("list[int]", resume) if resume is not None else (0, 0)
                for index in range(first, parts.count()):
                    try:
                        for frame in parts.frames(index, done, at_once=on_error != "raise"):
                            done += frame.height
                            yield Block(frame, [index, done])
                    except (DataError, *LIBRARY_ERRORS) as error:
                        if disk is not None:
                            disk.check_unchanged()  # or it may be the mix of two versions of the file
                        place = f"{parts.kind} {index}"
                        told = _told(error, path, place)
                        if on_error == "raise" or not isinstance(told, DataError):
                            raise told from error
                        dead = DeadSlot(0, None, told.fact, place)
                        yield Block(with_dead(empty, [dead], path), [index + 1, 0])
                    done = 0

    def identity(self) -> Json:
        """See `StreamFormat`; a cap changes which parts are good ones."""
        return {"decompressed_max": self.decompressed_max}


def _told(error: BaseException, path: str, place: str) -> DataError | ConnectorError:
    if isinstance(error, DataError):
        return DataError(f"{place} of {path}: {error.fact}", hint=error.hint)
    told = translated(error, f"{place} of {path}", "data")
    if not isinstance(told, DataError):
        return cast("ConnectorError", translated(error, path, "data"))
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return DataError(
        f"{place} of {path} cannot be read: {reason}",
        hint="the file is damaged: write it again, or leave it out",
    )


class _Disk:
    """A local file."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._status = self._now()

    def check_unchanged(self) -> None:
        """Raise ConnectorError if there is another file by this name by now, or other content."""
        try:
            now = self._now()
        except OSError as error:
            raise translated(error, self._stream.name, "data") from error
        if now != self._status:
            raise changed(self._stream.name)

    def _now(self) -> list[tuple[int, int, int]]:
        statuses = (Path(self._stream.name).stat(), os.fstat(self._stream.fileno()))
        return [(status.st_ino, status.st_size, status.st_mtime_ns) for status in statuses]


@contextmanager
def _seekable(stream: BinaryIO) -> Iterator[BinaryIO]:
    """The stream, or a copy on disk of one that comes from front to back only."""
    if isinstance(stream, RemoteStream) and stream.seekable():
        size = stream.seek(0, io.SEEK_END)
        stream.seek(max(0, size - TAIL_BYTES))  # what is needed first anyway
        stream.read(1)
        if not stream.has_ranges:
            stream.seek(0)
    if stream.seekable():
        yield stream
        return
    with NamedTemporaryFile(prefix="arrowstream-") as copy:
        while piece := stream.read(_COPY_BYTES):
            copy.write(piece)
        copy.flush()
        with open(copy.name, "rb") as file:  # noqa: PTH123 - a plain buffered file
            yield file
