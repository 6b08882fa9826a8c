"""Rows to the bytes of a file: a function of the rows alone, however they are cut, whatever the threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import polars as pl

from arrowstream.connectors.files.ahead import in_order
from arrowstream.errors import PlanError, unknown_choice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from arrowstream.types import Json

Content: TypeAlias = "bytes | list[bytes | memoryview]"
"""Bytes, whole or in pieces."""

Part: TypeAlias = Any
"""What an encoder has made of some rows, as it alone understands it."""

ROW_GROUP_ROWS = 1 << 18
"""Large enough that columns compress well and readers work in parallel, small enough to be held in memory."""


class Encoder(Protocol):
    """Makes one file of frames, each in two steps. The same frames give the same bytes."""

    def encode(self, rows: pl.DataFrame) -> Part:
        """What costs time: a pure function of the rows, on any thread, for several frames at once."""
        ...

    def append(self, part: Part) -> Content:
        """Put it at the end of the file, on one thread; returns what is ready."""
        ...

    def finish(self) -> Content:
        """The rest of the file. Nothing may be appended after."""
        ...


class Encoding(Protocol):
    """A format, and how it is written. Frozen."""

    @property
    def name(self) -> str:
        """The format's name in errors."""
        ...

    @property
    def suffix(self) -> str:
        """What the names of its files end in."""
        ...

    @property
    def chunk_rows(self) -> int:
        """How many rows an encoder is given at once, the last ones of a file apart."""
        ...

    @property
    def encoder_bytes(self) -> int:
        """About how much memory an encoder holds between two frames."""
        ...

    def encoder(self, schema: pl.Schema) -> Encoder:
        """An encoder for one file."""
        ...

    def check_schema(self, schema: pl.Schema) -> None:
        """Raise PlanError naming a column that the format cannot hold."""
        ...

    def identity(self) -> dict[str, Json]:
        """All options that change the bytes."""
        ...


def encode_file(
    frames: Iterable[pl.DataFrame], encoding: Encoding, *, threads: int = 1
) -> Iterator[bytes | memoryview]:
    """A file, piece by piece; nothing at all if there is no frame.

    Cost    holds a chunk for each thread, and one more
    """
    encoder: Encoder | None = None

    def encoded(rows: pl.DataFrame) -> Part:
        assert encoder is not None
        return encoder.encode(rows)

    def chunks() -> Iterator[pl.DataFrame]:
        nonlocal encoder
        for rows in cut(frames, encoding.chunk_rows):
            if encoder is None:
                encoder = encoding.encoder(rows.schema)
            yield rows

    for part in in_order(encoded, chunks(), size=frame_bytes, threads=threads):
        assert encoder is not None
        yield from pieces_of(encoder.append(part))
    if encoder is not None:
        yield from pieces_of(encoder.finish())


def pieces_of(content: Content) -> Sequence[bytes | memoryview]:
    """Bytes in one piece or several, as several."""
    if isinstance(content, list):
        return content
    return [content] if content else []


def frame_bytes(frame: pl.DataFrame) -> int:
    """About how much memory a frame has."""
    return int(frame.estimated_size())


def cut(frames: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """The rows in frames of exactly `rows` (the last one less); one without rows if there are none."""
    waiting: list[pl.DataFrame] = []
    waiting_rows = 0
    nothing: pl.DataFrame | None = None
    any_rows = False
    for frame in frames:
        nothing = frame.clear()
        start = 0
        while start < frame.height:
            any_rows = True
            piece = frame.slice(start, rows - waiting_rows)
            start += piece.height
            waiting.append(piece)
            waiting_rows += piece.height
            if waiting_rows == rows:
                yield pl.concat(waiting)
                waiting, waiting_rows = [], 0
    if waiting:
        yield pl.concat(waiting)
    elif nothing is not None and not any_rows:
        yield nothing


def check_option(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise PlanError unless the value is one of those."""
    if value not in choices:
        raise unknown_choice(name, value, choices)


def check_positive(name: str, rows: int) -> None:
    """Raise PlanError unless it is a number of rows."""
    if rows < 1:
        raise PlanError(f"{name}={rows} is not a number of rows", hint="leave it out for a good size")
