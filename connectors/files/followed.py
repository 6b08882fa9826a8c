"""Rows of the contents that a follower has found."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

import polars as pl

from arrowstream.config import DEAD
from arrowstream.connectors.files.tail import Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arrowstream.connectors.files.conform import Fit
    from arrowstream.connectors.files.contents import Content
    from arrowstream.connectors.files.decoder import Decoder
    from arrowstream.connectors.files.streams import Block
    from arrowstream.types import OnError

_HEAD_BYTES = 64 << 10  # a header is within them, or is none
_HEADLESS = (0, 0)  # where the first line of a file without a header begins: bytes and lines before it


class _Reading(NamedTuple):
    """How one growing file is read: its own columns with their types, and what they become."""

    schema: pl.Schema
    fit: Fit


class Followed:
    """Reads contents by a decoder of whole files.

    Parameters
    ----------
    decoder
        Of the scan.
    on_error
        With "skip", bad records are dropped.
    schema
        Of the rows.
    """

    def __init__(self, decoder: Decoder, on_error: OnError, schema: pl.Schema) -> None:
        self.name = decoder.format.name
        self.on_error: OnError = on_error
        self.nothing = pl.DataFrame(schema=schema)
        self.dead_file = decoder.dead_file
        self._decoder = decoder

    def knows(self, content: Content, descriptor: int) -> bool:
        """Find out the columns of a growing file; False as long as its header is not complete."""
        if content.reading is not None:
            return True
        path, written = content.seen.path, self._decoder.schema
        if not self._decoder.format.is_sparse:
            head = os.pread(descriptor, _HEAD_BYTES, 0)
            if b"\n" not in head and len(head) < _HEAD_BYTES and not content.last_call:
                return False
            written = self._decoder.head(cast("BinaryIO", io.BytesIO(head)), path)
            if content.headless and content.progress.offset == 0:
                content.headless = written.names() != content.columns
            if content.headless and content.columns is not None:
                written = pl.Schema(dict.fromkeys(content.columns, pl.String()))
            content.columns = written.names()
        content.reading = _Reading(*self._decoder.fitted(path, written))
        return True

    def lines(self, new: bytes, content: Content, *, growing: bool) -> Iterator[Block]:
        """The whole lines in new bytes of a growing file; without `growing` all lines."""
        reading = cast("_Reading", content.reading)
        progress = content.progress
        return self._decoder.format.blocks(
            cast("BinaryIO", io.BufferedReader(Section(new, progress.offset))),
            content.seen.path,
            schema=reading.schema,
            columns=reading.fit.reads,
            resume=list(_HEADLESS) if progress.resume is None and content.headless else progress.resume,
            on_error=self.on_error,
            growing=growing,
        )

    def blocks(self, content: Content) -> Iterator[Block]:
        """The blocks of a file that does not grow, from where its reading stands."""
        path = content.seen.path
        return self._decoder.blocks(cast("BinaryIO", Path(path).open("rb")), path, content.progress.resume)

    def shaped(self, frame: pl.DataFrame, content: Content) -> tuple[pl.DataFrame, int]:
        """A frame of a file as one of the scan, and how many of its slots were bad and are dropped."""
        if not content.whole:
            frame = self._decoder.shaped(frame, content.seen.path, cast("_Reading", content.reading).fit)
        if self.on_error != "skip" or DEAD not in frame.columns:
            return frame, 0
        good = frame.get_column(DEAD).is_null()
        return frame.filter(good).drop(DEAD), frame.height - int(good.sum())
