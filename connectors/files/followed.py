"""Rows of the contents that a follower has found."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

import polars as pl

from arrowstream.config import DEAD
from arrowstream.connectors.files.places import FoundFile
from arrowstream.connectors.files.tail import Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arrowstream.connectors.files.conform import Fit
    from arrowstream.connectors.files.contents import Content
    from arrowstream.connectors.files.decoder import Decoder
    from arrowstream.connectors.files.places import Place
    from arrowstream.connectors.files.streams import Block

_HEAD_BYTES = 64 << 10  # a header is within them, or is none
_HEADLESS = (0, 1)  # where the first line of a file without a header begins: bytes before it, its number


class Reading(NamedTuple):
    """How one file is read: its own columns with their types, and what they become."""

    schema: pl.Schema
    fit: Fit


@dataclass(frozen=True, slots=True)
class Followed:
    """Reads contents.

    Parameters
    ----------
    decoder
        Of the scan; it says how files are read.
    place
        Where they are.
    row_column
        Name of a column that is added: the number of the slot within its file.
    schema
        Of the rows.
    """

    decoder: Decoder
    place: Place
    row_column: str | None
    schema: pl.Schema

    @property
    def name(self) -> str:
        """Of the format."""
        return self.decoder.format.name

    def knows(self, content: Content, descriptor: int) -> bool:
        """Find out the columns of a growing file; False as long as its header is not complete."""
        if content.reading is not None:
            return True
        path, written = content.seen.path, self.decoder.schema
        if not self.decoder.format.is_sparse:
            head = os.pread(descriptor, _HEAD_BYTES, 0).lstrip(b"\0")
            if b"\n" not in head and len(head) < _HEAD_BYTES and not content.last_call:
                return False
            written = self.decoder.head(cast("BinaryIO", io.BytesIO(head)), path)
            if content.headless and content.progress.offset == 0:
                content.headless = written.names() != content.columns
            if content.headless and content.columns is not None:
                written = pl.Schema(dict.fromkeys(content.columns, pl.String()))
            content.columns = written.names()
        content.reading = Reading(*self.decoder.fitted(path, written))
        return True

    def lines(self, new: bytes, content: Content, *, growing: bool) -> Iterator[Block]:
        """The whole lines in new bytes of a growing file; without `growing` all lines."""
        reading = cast("Reading", content.reading)
        progress = content.progress
        return self.decoder.format.blocks(
            cast("BinaryIO", io.BufferedReader(Section(new, progress.offset))),
            content.seen.path,
            schema=reading.schema,
            columns=reading.fit.reads,
            resume=list(_HEADLESS) if progress.resume is None and content.headless else progress.resume,
            on_error=self.decoder.on_error,
            growing=growing,
        )

    def blocks(self, content: Content, descriptor: int | None) -> Iterator[Block]:
        """The blocks of a file that does not grow, from where its reading stands; a local one is open."""
        path = content.seen.path
        if descriptor is None:  # the version that was seen, or none: it is known by it when it is finished
            stream = self.place.open(FoundFile(path, content.seen.size_bytes, content.seen.version))
        elif self.decoder.format.has_types:  # some of their readers open the file again, by its path
            stream = self.place.open(path)
            if not os.path.samestat(os.fstat(stream.fileno()), os.fstat(descriptor)):
                stream.close()
                raise FileNotFoundError(path)
        else:
            stream = cast("BinaryIO", os.fdopen(os.dup(descriptor), "rb"))
            stream.seek(0)
        return self.decoder.blocks(stream, path, content.progress.resume)

    def shaped(self, frame: pl.DataFrame, content: Content) -> pl.DataFrame:
        """A frame of a file as one of the scan, with what is bad in its place."""
        if not content.whole and not content.refused:
            fitting = cast("Reading", content.reading).fit
            frame = self.decoder.shaped(frame, content.seen.path, fitting)
        if self.row_column is not None:
            begin = content.progress.slots
            numbers = pl.int_range(begin, begin + frame.height, dtype=pl.Int64, eager=True)
            frame = frame.with_columns(numbers.alias(self.row_column))
        if list(self.schema) != frame.columns:
            frame = frame.select([*self.schema, *([DEAD] if DEAD in frame.columns else [])])
        if DEAD in frame.columns and self.row_column is not None:
            numbered = pl.when(pl.col(DEAD).is_null()).then(self.row_column)
            frame = frame.with_columns(numbered.alias(self.row_column))
        return frame
