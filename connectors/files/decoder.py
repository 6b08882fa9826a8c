"""One file of a byte-stream format, as it is stored, to blocks with the columns of the scan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, cast

import polars as pl

from arrowstream.config import DEAD
from arrowstream.connectors.files.conform import Fit, Rules, fit
from arrowstream.connectors.files.decompression import decompressed
from arrowstream.connectors.files.errors import LIBRARY_ERRORS, translated
from arrowstream.connectors.files.labels import FileLabels
from arrowstream.connectors.files.streams import Block, DeadSlot, Rewindable, with_dead
from arrowstream.errors import ArrowStreamError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arrowstream.connectors.files.streams import StreamFormat
    from arrowstream.types import Compression, Json, OnError


@dataclass(frozen=True, slots=True)
class Decoder:
    """How each file of a scan is read.

    Parameters
    ----------
    format
        Of the files, without their compression.
    schema
        Columns of the files, as the scan has them.
    columns
        Those that are wanted, of the schema and of the labels, in this order.
    rules
        How a file may differ from the schema.
    on_error
        "raise", or else bad records come as dead slots.
    compression, decompressed_max
        See `decompressed`.
    labels
        Columns that are the same in all rows of a file, from its path. They take the place of columns of the
        file that have their names.
    """

    format: StreamFormat
    schema: pl.Schema
    columns: tuple[str, ...]
    rules: Rules = field(default_factory=Rules)
    on_error: OnError = "raise"
    compression: Compression = "infer"
    decompressed_max: int | None = None
    labels: FileLabels = field(default_factory=FileLabels)

    def head(self, raw: BinaryIO, path: str) -> pl.Schema:
        """Columns of a file, as its head has them; `raw` is closed."""
        with self._content(raw, path) as stream:
            return self._head(Rewindable(stream, keeps=False), path)

    def blocks(self, raw: BinaryIO, path: str, resume: Json) -> Iterator[Block]:
        """The slots of one file with the columns that are wanted, dead ones among them. `raw` is closed.

        Raises
        ------
        ArrowStreamError
            Naming the file. After a DataError other files can be read.
        """
        try:
            with self._content(raw, path) as stream:
                written, begun = self._written(stream, path)
                if written or self.format.is_sparse:
                    yield from self._blocks(begun, path, written, resume)
        except LIBRARY_ERRORS as error:
            raise translated(error, path, self.format.name) from error

    def fitted(self, path: str, written: pl.Schema) -> tuple[pl.Schema, Fit]:
        """With which types a file is to be read, and how what was read is made what is wanted.

        Raises
        ------
        DataError
            It has other columns than the rules allow.
        """
        if self.format.has_types:
            typed = written
        else:
            typed = pl.Schema({name: self.schema.get(name, pl.String()) for name in written})
        wanted = [name for name in self.columns if name in self.schema]
        labelled = self.labels.schema
        own = pl.Schema({name: dtype for name, dtype in typed.items() if name not in labelled})
        fitting = fit(path, own or typed, self.schema, wanted, self.rules)
        if self.format.is_sparse:
            return self.schema, Fit(tuple(wanted or self.schema.names()[:1]), None)
        return typed, fitting

    def shaped(self, frame: pl.DataFrame, path: str, fitting: Fit) -> pl.DataFrame:
        """What is wanted, and DEAD if it is there, of a frame that has what `fitting` reads."""
        fitted = fitting(frame)
        if tuple(fitted.columns[: len(self.columns)]) == self.columns:
            return fitted
        labels = self.labels(path)
        dead = frame.get_column(DEAD) if DEAD in frame.columns else None
        columns = []
        for name in self.columns:
            if name in labels:
                label = labels[name].alias(name).new_from_index(0, frame.height)
                columns.append(label if dead is None else _where(label, dead.is_null()))
            else:
                columns.append(fitted.get_column(name))
        return pl.DataFrame([*columns, *([] if dead is None else [dead])])

    def dead_file(self, path: str, error: ArrowStreamError) -> pl.DataFrame:
        """One dead slot, for what is left of a file that cannot be read on."""
        schema = {**self.schema, **self.labels.schema}
        nothing = pl.DataFrame(schema={name: schema[name] for name in self.columns})
        return with_dead(nothing, [DeadSlot(0, None, error.fact, "file")], path)

    def _content(self, raw: BinaryIO, path: str) -> BinaryIO:
        return decompressed(raw, path, compression=self.compression, max_bytes=self.decompressed_max)

    def _written(self, stream: BinaryIO, path: str) -> tuple[pl.Schema, BinaryIO]:
        """Columns as the head has them, and the stream at its beginning again."""
        if stream.seekable():
            written = self.format.schema(stream, path)
            stream.seek(0)
            return written, stream
        head = Rewindable(stream)
        written = self._head(head, path)
        head.rewind()
        return written, cast("BinaryIO", head)

    def _head(self, head: Rewindable, path: str) -> pl.Schema:
        try:
            written = self.format.schema(cast("BinaryIO", head), path)
        except (DataError, *LIBRARY_ERRORS) as error:
            raise head.damage or error from None
        if head.damage is not None and not written:
            raise head.damage
        return written

    def _blocks(self, stream: BinaryIO, path: str, written: pl.Schema, resume: Json) -> Iterator[Block]:
        typed, fitting = self.fitted(path, written)
        blocks = self.format.blocks(
            stream, path, schema=typed, columns=fitting.reads, resume=resume, on_error=self.on_error
        )
        for block in blocks:
            yield Block(self.shaped(block.frame, path, fitting), block.resume)


def _where(label: pl.Series, is_row: pl.Series) -> pl.Series:
    return pl.select(pl.when(is_row).then(label).alias(label.name)).to_series()
