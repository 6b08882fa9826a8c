"""What CSV and NDJSON share: a byte stream cut at the ends of records, and blocks parsed side by side."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, Protocol, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa

from arrowstream.config import DEAD_DTYPE
from arrowstream.connectors.files.errors import LIBRARY_ERRORS
from arrowstream.connectors.files.streams import BLOCK_BYTES, skip
from arrowstream.errors import ArrowStreamError, ConnectorError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from arrowstream.types import Json, OnError

BOM = b"\xef\xbb\xbf"
RECORD_BYTES_MAX = 64 << 20
"""A record that does not end within this is an error: it has to be held in memory as a whole."""

_RETURN = 13
_THREADS_MAX = 8
_COUNTED_BYTES = 1 << 16  # at once: in the cache of one core
_ORIGINAL_BYTES_MAX = 1 << 20  # of a bad record that are handed on
_SHOWN_CHARACTERS_MAX = 80

Piece = TypeVar("Piece")
Parsed = TypeVar("Parsed")


class Ends(Protocol):
    """Where the whole records at the beginning of some bytes end, and perhaps more about them."""

    @property
    def end(self) -> int:
        """Behind the last whole record."""
        ...


Found = TypeVar("Found", bound=Ends)


@dataclass(frozen=True, slots=True)
class Whole:
    """Records that are lines."""

    end: int

    @classmethod
    def of(cls, data: bytes, at_end: bool) -> Whole:  # noqa: FBT001 - see `cut`
        """All lines that are finished; at the end all there is."""
        return cls(len(data) if at_end else data.rfind(b"\n") + 1)

    @staticmethod
    def is_plain(data: bytes) -> bool:  # noqa: ARG004 - see `cut`
        """Every newline ends a record."""
        return True


@dataclass(frozen=True, slots=True)
class Cut(Generic[Found]):
    """Whole records of a file, one behind the other, at byte `offset`; the first begins on line `line`.

    `next_line` is that of the record behind them.
    """

    data: bytes
    offset: int
    line: int
    next_line: int
    found: Found

    @property
    def resume(self) -> Json:
        """Where the next one begins."""
        return [self.offset + len(self.data), self.next_line]


def place(resume: Json, path: str) -> tuple[int, int]:
    """Byte offset and line number of a position.

    Raises
    ------
    ConnectorError
        It is none.
    """
    match resume:
        case [int(offset), int(line)] if offset >= 0 and line >= 1:
            return offset, line
    raise ConnectorError(f"position {resume} is not one of {path}", hint="it was written for another file")


def skip_to(stream: BinaryIO, offset: int, path: str) -> None:
    """Move on from the beginning.

    Raises
    ------
    ConnectorError
        The stream ends before.
    """
    if skip(stream, offset) < offset:
        raise ConnectorError(f"{path} ends before byte {offset:,}, where reading is to go on")


def cut(
    stream: BinaryIO,
    path: str,
    *,
    begun: bytes,
    offset: int,
    line: int,
    find: Callable[[bytes, bool], Found],
    is_plain: Callable[[bytes], bool],
    growing: bool,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[Cut[Found]]:
    """Pieces of about `block_bytes` that end where a record ends.

    `begun` are bytes at `offset` that were read already. `find(data, at_end)` says where the records in
    `data` end; at the end of the file (but for a growing one) the last one needs no newline. Bytes are plain
    if every newline in them ends a record.

    Raises
    ------
    DataError
        A record does not end within RECORD_BYTES_MAX.
    """
    rest, at_end, damage = begun, False, None
    while not at_end:
        read = stream.read(block_bytes)
        last = read.rfind(b"\n") + 1
        if last and len(read) == block_bytes and is_plain(read) and is_plain(rest):
            whole = b"".join((rest, memoryview(read)[:last]))  # the only copy that is made
            found = find(whole, False)  # noqa: FBT003 - see `find`
            piece = Cut(whole, offset, line, line + newlines(whole), found)
            yield piece
            offset, line, rest = offset + len(whole), piece.next_line, read[last:]
            continue
        data = b"".join((rest, read)) if rest else read
        at_end = not read
        if 0 < len(read) < block_bytes:
            # Probably all there is: what is behind the last newline belongs to the same piece.
            try:
                more = stream.read(block_bytes)
            except (ArrowStreamError, *LIBRARY_ERRORS) as error:
                more, damage = b"", error
            data, at_end = data + more, not more
        found = find(data, at_end and not growing and damage is None)
        if end := found.end:
            whole = data if end == len(data) else data[:end]
            next_line = line + newlines(whole)
            yield Cut(whole, offset, line, next_line, found)
            offset, line = offset + end, next_line
        if damage is not None:
            raise damage
        rest = data[end:]
        if len(rest) > RECORD_BYTES_MAX:
            raise DataError(
                f"{path}: the record on line {line} does not end within {RECORD_BYTES_MAX >> 20} MiB",
                hint="it is no such file, or the record has to be taken out of it",
            )


def newlines(data: bytes) -> int:
    """How many there are; numpy is four times as fast as `bytes.count`."""
    array = np.frombuffer(data, np.uint8)
    starts = range(0, len(array), _COUNTED_BYTES)
    return sum(int(np.count_nonzero(array[start : start + _COUNTED_BYTES] == 10)) for start in starts)


def in_order(pieces: Iterator[Piece], parse: Callable[[Piece], Parsed]) -> Iterator[Parsed]:
    """`parse` of every piece, in their order, on several threads once there are several pieces.

    An error of `pieces` comes behind the results of those before it.

    Cost    holds as many pieces and results as there are cores, and two more
    """
    # One more than cores: the libraries do not keep all of them busy all the time.
    threads = min(_THREADS_MAX, len(os.sched_getaffinity(0))) + 1 if hasattr(os, "sched_getaffinity") else 4
    waiting: deque[Piece | Future[Parsed]] = deque()
    pool: ThreadPoolExecutor | None = None
    failure: BaseException | None = None
    is_open = True
    try:
        while is_open or waiting:
            while is_open and len(waiting) <= threads:
                try:
                    piece = next(pieces, None)
                except (ArrowStreamError, *LIBRARY_ERRORS) as error:
                    piece, failure = None, error
                if piece is None:
                    is_open = False
                    break
                waiting.append(piece)
                if len(waiting) > 1 and pool is None:
                    pool = ThreadPoolExecutor(threads, thread_name_prefix="arrowstream-parse")
                if pool is not None:
                    for index, other in enumerate(waiting):
                        if not isinstance(other, Future):
                            waiting[index] = pool.submit(parse, other)
            if waiting:
                first = waiting.popleft()
                yield first.result() if isinstance(first, Future) else parse(first)
        if failure is not None:
            raise failure
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """Where the records of some bytes begin and end, without what ends them; `lines` counts from 0.

    Shape   starts, ends, lines: int64[n]
    """

    data: bytes
    starts: np.ndarray[Any, Any]
    ends: np.ndarray[Any, Any]
    lines: np.ndarray[Any, Any]

    @classmethod
    def of(cls, data: bytes, quotes: np.ndarray[Any, Any] | None = None) -> Records:
        """Split at newlines, but for those between an odd quote and the next one."""
        array = np.frombuffer(data, np.uint8)
        breaks = np.flatnonzero(array == 10)
        ends = breaks
        if quotes is not None and len(quotes):
            ends = breaks[np.searchsorted(quotes, breaks) % 2 == 0]
        if data and (not len(ends) or ends[-1] != len(data) - 1):
            ends = np.append(ends, len(data))
        starts = np.zeros(len(ends), np.int64)
        starts[1:] = ends[:-1] + 1
        lines = np.arange(len(ends)) if quotes is None else np.searchsorted(breaks, starts)
        if b"\r" in data:
            ends = ends - ((ends > starts) & (array[np.maximum(ends, 1) - 1] == _RETURN))
        return cls(data, starts, ends, lines)

    def __len__(self) -> int:
        return len(self.starts)

    def at(self, index: int) -> bytes:
        """The bytes of a record."""
        return self.data[self.starts[index] : self.ends[index]]

    def take(self, keep: np.ndarray[Any, Any]) -> Records:
        """Some of them, by index or mask."""
        return Records(self.data, self.starts[keep], self.ends[keep], self.lines[keep])

    def content(self) -> pl.Series:
        """As Binary, each with its newline behind it: for records that are lines."""
        joined = self.joined()
        offsets = np.append(0, np.flatnonzero(np.frombuffer(joined, np.uint8) == 10) + 1)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(joined)]
        return pl.Series(pa.Array.from_buffers(pa.large_binary(), len(self), buffers), dtype=pl.Binary)

    def joined(self, stands_in: np.ndarray[Any, Any] | None = None, stand_in: bytes = b"") -> bytes:
        """As bytes of their own, each with a newline behind it; neighbours are copied together.

        In the place of some there is another record.

        Shape   stands_in: bool[n]
        """
        if not len(self):
            return b""
        view = memoryview(self.data)
        gaps = self.starts[1:] - self.ends[:-1]
        apart = gaps > 1
        if b"\r" in self.data:
            returns = np.frombuffer(self.data, np.uint8)[self.ends[:-1]] == _RETURN
            apart &= ~((gaps == len(b"\r\n")) & returns)
        if stands_in is not None:
            apart |= stands_in[1:] | stands_in[:-1]
        ends = np.flatnonzero(apart)
        begins = np.append(0, ends + 1)
        firsts = self.starts[begins].tolist()
        lasts = self.ends[np.append(ends, len(self) - 1)].tolist()
        others = [False] * len(firsts) if stands_in is None else stands_in[begins].tolist()
        pieces: list[bytes | memoryview] = []
        for first, last, other in zip(firsts, lasts, others, strict=True):
            pieces += (stand_in if other else view[first:last], b"\n")
        return b"".join(pieces)


def all_but(count: int, places: Iterable[int]) -> np.ndarray[Any, Any]:
    """A mask of all places but some."""
    mask = np.ones(count, np.bool_)
    mask[list(places)] = False
    return mask


def dead_letters(
    records: Records, errors: Sequence[str], *, first_line: int, path: str, on_error: OnError
) -> pl.Series:
    """Bad records and what is wrong with each, in a piece that begins on line `first_line`.

    Shape   returns DEAD_DTYPE[n]

    Raises
    ------
    DataError
        With on_error="raise", for the first of them.
    """
    lines = (records.lines + first_line).tolist()
    if on_error == "raise":
        raise DataError(
            f"{path}, line {lines[0]}: {errors[0]}: {shown(records.at(0))}",
            hint='mend the line, or leave bad lines out: on_error="skip" or "dead_letter"',
        )
    starts = records.starts.tolist()
    ends = np.minimum(records.ends, records.starts + _ORIGINAL_BYTES_MAX).tolist()
    letters = pl.DataFrame(
        {
            "original": [records.data[start:end] for start, end in zip(starts, ends, strict=True)],
            "error": errors,
            "source": [path] * len(lines),
            "position": [f"line {line}" for line in lines],
        },
        {field.name: field.dtype for field in DEAD_DTYPE.fields},
    )
    return letters.to_struct()


def shown(text: bytes | str) -> str:
    """Some text in a message."""
    told = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f'"{told}"' if len(told) <= _SHOWN_CHARACTERS_MAX else f'"{told[:_SHOWN_CHARACTERS_MAX]}…"'


def first_failing(parts: Sequence[Piece], works: Callable[[Sequence[Piece]], bool]) -> Iterator[int]:
    """Indices of the parts that do not work, found by halving.

    Cost    two calls of `works` for each halving of each part found
    """
    spans = [(0, len(parts))]
    while spans:
        start, end = spans.pop()
        if start == end or works(parts[start:end]):
            continue
        if end - start == 1:
            yield start
            continue
        middle = (start + end) // 2
        spans += ((middle, end), (start, middle))
