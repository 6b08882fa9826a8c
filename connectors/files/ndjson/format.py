"""NDJSON files as a `StreamFormat`: options, inference, and the blocks of a file."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, BinaryIO

import polars as pl

from arrowstream.connectors.files.lines import BOM, Whole, cut, in_order, place, skip_to
from arrowstream.connectors.files.ndjson.decode import NdjsonDecoder
from arrowstream.connectors.files.ndjson.inference import inferred_schema
from arrowstream.connectors.files.streams import BLOCK_BYTES
from arrowstream.connectors.files.text import check_readable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from arrowstream.connectors.files.streams import Block
    from arrowstream.types import Json, OnError

_HEAD_BYTES = 1 << 16
_LOOK = 100  # records whose keys are compared with the schema of a scan


@dataclass(frozen=True, slots=True)
class NdjsonFormat:
    """How NDJSON files are read. The options have the names and meanings of `polars.scan_ndjson`.

    A line that is no JSON object, or in which a value is none of its column's type, is a bad record; a line
    of blanks is no record. What an object lacks is null. Of a key that comes twice the first one counts.
    Integers, decimals and times are taken only if nothing of them is lost; other numbers are the nearest
    float. In a String column a value that is no string is taken as JSON text, as Polars writes it.
    NaN, and half of a surrogate pair, are no JSON. What is in columns that are not asked for has to be JSON.

    Parameters
    ----------
    infer_schema_length
        How many records the columns and types are inferred from (None: all).
    schema_overrides
        Types of some columns, in place of inferred ones.

    Examples
    --------
    >>> NdjsonFormat(infer_schema_length=1000).suffixes
    ('.ndjson', '.jsonl', '.json')
    """

    infer_schema_length: int | None = 100
    schema_overrides: Mapping[str, pl.DataType | type[pl.DataType]] | None = None

    @property
    def name(self) -> str:
        """For texts."""
        return "NDJSON"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of file names."""
        return (".ndjson", ".jsonl", ".json")

    @property
    def has_types(self) -> bool:
        """The reader decides about types."""
        return False

    @property
    def is_sparse(self) -> bool:
        """A record may lack any column."""
        return True

    def identity(self) -> dict[str, Json]:
        """All options, as they change which rows there are."""
        options: dict[str, Json] = {option.name: getattr(self, option.name) for option in fields(self)}
        options["schema_overrides"] = {
            name: str(dtype) for name, dtype in (self.schema_overrides or {}).items()
        }
        return options

    def without_types(self) -> NdjsonFormat:
        """See `StreamFormat`."""
        return replace(self, infer_schema_length=min(self.infer_schema_length or _LOOK, _LOOK))

    def schema(self, stream: BinaryIO, path: str) -> pl.Schema:
        """See `StreamFormat`. Bad records are left out of the sample."""
        offset, begun = _begin(stream)
        size = BLOCK_BYTES if self.infer_schema_length is None else _HEAD_BYTES
        pieces = cut(
            stream,
            path,
            begun=begun,
            offset=offset,
            line=1,
            find=Whole.of,
            is_plain=Whole.is_plain,
            growing=False,
            block_bytes=size,
        )
        return inferred_schema(
            (line for piece in pieces for line in piece.data.split(b"\n")),
            self.infer_schema_length,
            self.schema_overrides or {},
            path,
        )

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
        """See `StreamFormat`.

        Raises
        ------
        PlanError
            A column of a type that no JSON value can be.
        DataError
            With on_error="raise", for a bad record.
        """
        wanted = pl.DataFrame(
            schema={name: schema[name] for name in columns}
        ).schema  # no classes inside types
        check_readable(wanted, self.name, nested=True)
        begun = b""
        if resume is None:
            line = 1
            offset, begun = _begin(stream)
        else:
            offset, line = place(resume, path)
            skip_to(stream, offset, path)
        decoder = NdjsonDecoder(wanted, path, on_error)
        pieces = cut(
            stream,
            path,
            begun=begun,
            offset=offset,
            line=line,
            find=Whole.of,
            is_plain=Whole.is_plain,
            growing=growing,
        )
        yield from in_order(pieces, decoder.block)


def _begin(stream: BinaryIO) -> tuple[int, bytes]:
    """Where the first record begins, behind a byte order mark, and what was read from there."""
    begun = b""
    while len(begun) < len(BOM) and (read := stream.read(len(BOM) - len(begun))):
        begun += read
    return (len(BOM), b"") if begun == BOM else (0, begun)
