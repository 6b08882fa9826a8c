"""Files that are read from front to back, block by block: CSV, NDJSON, Avro, IPC streams."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

import numpy as np
import polars as pl

from arrowstream.config import DEAD, DEAD_DTYPE
from arrowstream.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from arrowstream.types import Json, OnError

BLOCK_BYTES = 8 << 20
"""About how much decompressed input a block is: large enough for all cores, small enough to hold several."""

_SKIPPED_BYTES = 1 << 20  # at once, of a stream that cannot seek


@dataclass(frozen=True, slots=True)
class Block:
    """Some slots of a file in their order, and where the next block begins.

    `frame` has the columns asked for, and `config.DEAD` if there is a dead slot among them. `resume` is
    what the format itself needs to go on behind them, in terms of the decompressed stream, such as
    [byte offset, line number].
    """

    frame: pl.DataFrame
    resume: Json


class StreamFormat(Protocol):
    """How the bytes of one format become rows: an immutable value that holds the format's options.

    Errors of the libraries may come out as they are (`errors.LIBRARY_ERRORS`); whoever reads translates
    them. A DataError of the format's own names the path, and the line or record.

    A format that looks at rows to find out types may also have `without_types() -> StreamFormat`: the same,
    but its `schema` looks at few of them, for the names of columns. It is asked where types are known.
    """

    @property
    def name(self) -> str:
        """For texts: "CSV"."""
        ...

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What names of files end in, in lower case and without that of a compression: (".csv", ".tsv")."""
        ...

    @property
    def has_types(self) -> bool:
        """Whether each file says of which type its columns are (Avro), or the reader decides (CSV)."""
        ...

    @property
    def is_sparse(self) -> bool:
        """Whether a record may have any of the columns (NDJSON): what it lacks is null.

        `blocks` is then given the columns of the scan, whatever the head of the file has.
        """
        ...

    def schema(self, stream: BinaryIO, path: str) -> pl.Schema:
        """Columns of one file, from the head of its stream: as written, or as its first rows look.

        A file without anything in it has no columns.
        """
        ...

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
        """The slots of one file from `resume` on (None: the beginning).

        `stream` stands at its beginning, and may not be able to seek: `skip` gets to a place in it. A short
        `read` means that the end is near, or damage, which the next `read` raises: what was read before it
        is a block still. `schema` has all columns of the file in its own order, with the types they shall
        have; a record that cannot be read so is a bad one: a DataError, or, unless `on_error` is "raise", a
        dead slot (`with_dead`), also with "skip": the engine counts and drops it. `columns`, at least one,
        are wanted, in this order. With `growing` a record that is not finished yet is left for later.

        Cost    holds a few blocks
        """
        ...

    def identity(self) -> Json:
        """The options that change which rows there are."""
        ...


def skip(stream: BinaryIO, size_bytes: int) -> int:
    """Move on by so many bytes; the number is smaller if the stream ends before."""
    left = size_bytes
    if stream.seekable():
        here = stream.tell()
        end = stream.seek(0, 2)
        return stream.seek(min(here + size_bytes, end)) - here
    while left and (piece := stream.read(min(left, _SKIPPED_BYTES))):
        left -= len(piece)
    return size_bytes - left


class Rewindable(io.RawIOBase):
    """A stream whose beginning is read twice; damage shows the second time only.

    Parameters
    ----------
    keeps
        False if it will not be rewound: what has been read is not kept then.
    """

    def __init__(self, stream: BinaryIO, *, keeps: bool = True) -> None:
        self._stream = stream
        self._keeps = keeps
        self._kept = bytearray()
        self._at = -1
        self.damage: DataError | None = None

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def rewind(self) -> None:
        """Begin again, for good."""
        assert self._keeps
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        """See `io.RawIOBase`; gives less than `size` bytes where the stream does."""
        if self._at < 0:
            piece = self._undamaged(size)
            if self._keeps:
                self._kept += piece
            return piece
        end = len(self._kept) if size < 0 else self._at + size
        piece = bytes(self._kept[self._at : end])
        self._at += len(piece)
        if len(piece) < size or size < 0:
            self._kept.clear()
            self._at = 0
            if self.damage is not None:
                if piece and size >= 0:
                    return piece
                raise self.damage
            piece += self._stream.read(size - len(piece) if size >= 0 else -1)
        return piece

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """See `io.RawIOBase`."""
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def _undamaged(self, size: int) -> bytes:
        try:
            return self._stream.read(size) if self.damage is None else b""
        except DataError as error:
            self.damage = error
            return b""


class DeadSlot(NamedTuple):
    """What could not be read, at place `slot` of a block."""

    slot: int
    original: bytes | None
    error: str
    position: str


def with_dead(rows: pl.DataFrame, dead: Sequence[DeadSlot], path: str) -> pl.DataFrame:
    """The good rows of a block with its dead slots among them, in order of their `slot`.

    Shape   rows: [n]; returns [n + len(dead)], with the column DEAD if there is a dead slot
    """
    if not dead:
        return rows
    is_row = np.ones(rows.height + len(dead), np.bool_)
    is_row[[letter.slot for letter in dead]] = False
    letters = [
        {"original": letter.original, "error": letter.error, "source": path, "position": letter.position}
        for letter in dead
    ]
    return interleaved(
        rows, np.where(is_row, np.cumsum(is_row) - 1, -1), pl.Series(DEAD, letters, DEAD_DTYPE)
    )


def interleaved(rows: pl.DataFrame, row_of: np.ndarray[Any, Any], letters: pl.Series) -> pl.DataFrame:
    """Rows of a block, and a dead slot wherever a slot has no row.

    Shape   row_of: int64[n], -1: none; letters: one of DEAD_DTYPE for each of these; returns [n], with DEAD
    """
    is_dead = row_of < 0
    where = pl.Series(row_of).set(pl.Series(is_dead), None)
    which = pl.Series(np.cumsum(is_dead) - 1).set(pl.Series(~is_dead), None)
    return rows.select(pl.all().gather(where)).with_columns(letters.alias(DEAD).gather(which))


def with_dead_at(places: np.ndarray[Any, Any], rows: pl.DataFrame, letters: pl.Series) -> pl.DataFrame:
    """Rows, of which those at some places are dead slots: whatever they hold, it is not shown.

    Shape   places: int64[m], ascending; rows: [n]; letters: one of DEAD_DTYPE a place; returns [n], with DEAD
    """
    is_dead = np.zeros(rows.height, np.bool_)
    is_dead[places] = True
    which = pl.Series(np.cumsum(is_dead) - 1).set(pl.Series(~is_dead), None)
    return rows.select(pl.when(pl.Series(~is_dead)).then(pl.all())).with_columns(
        letters.alias(DEAD).gather(which)
    )
