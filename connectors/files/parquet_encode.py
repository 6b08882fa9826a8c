"""Rows as Parquet: every row group is encoded as a file of its own, and they are put together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from arrowstream.connectors.files.arrow_tables import canonical, check_schema
from arrowstream.connectors.files.encode import ROW_GROUP_ROWS, check_option, check_positive
from arrowstream.connectors.files.parquet_splice import MAGIC, Footer, body_of, read_footer
from arrowstream.errors import PlanError

if TYPE_CHECKING:
    from arrowstream.connectors.files.encode import Content, Encoder
    from arrowstream.types import Json

_File: TypeAlias = memoryview
"""A file of Parquet, whole."""

_COMPRESSIONS = ("zstd", "snappy", "lz4", "gzip", "brotli", "uncompressed")


@dataclass(frozen=True, slots=True)
class ParquetEncoding:
    """Parquet: a row group a chunk. Categories are kept."""

    compression: str = "zstd"
    compression_level: int | None = None
    row_group_size: int = ROW_GROUP_ROWS

    def __post_init__(self) -> None:
        check_option("compression", self.compression, _COMPRESSIONS)
        _check_level(self.compression, self.compression_level)
        check_positive("row_group_size", self.row_group_size)

    @property
    def name(self) -> str:
        """Of the format."""
        return "Parquet"

    @property
    def suffix(self) -> str:
        """Of its files."""
        return ".parquet"

    @property
    def chunk_rows(self) -> int:
        """A row group."""
        return self.row_group_size

    @property
    def encoder_bytes(self) -> int:
        """The footer so far, and what Arrow keeps for a column."""
        return 1 << 18

    def encoder(self, schema: pl.Schema) -> Encoder:
        """Of one file."""
        return _ParquetEncoder(schema, self)

    def check_schema(self, schema: pl.Schema) -> None:
        """Raise PlanError naming a column that Parquet cannot hold."""
        check_schema(schema, self.name)

    def identity(self) -> dict[str, Json]:
        """All options that change the bytes."""
        return {"format": "parquet", **asdict(self)}


class _ParquetEncoder:
    """Parquet with dictionaries for text only: twice as fast, and numbers compress as well without.

    The bytes are those that PyArrow's writer gives for the same row groups.
    """

    def __init__(self, schema: pl.Schema, encoding: ParquetEncoding) -> None:
        self._schema = schema
        self._encoding = encoding
        self._footer: Footer | None = None
        self._bytes = 0

    def encode(self, rows: pl.DataFrame) -> _File:
        """A file with these rows in one row group; without one if there are no rows."""
        table = canonical(rows, keep_categories=True)
        compression = self._encoding.compression
        # Typed as a bool by PyArrow, which takes names as well.
        text: Any = [field.name for field in table.schema if _is_text(field.type)]
        file = pa.BufferOutputStream()
        with pq.ParquetWriter(
            file,
            table.schema,
            compression="none" if compression == "uncompressed" else compression,
            compression_level=self._encoding.compression_level,
            use_dictionary=text,
        ) as writer:
            if table.num_rows:
                writer.write_table(table, row_group_size=table.num_rows)
        return memoryview(file.getvalue()).cast("B")

    def append(self, part: _File) -> Content:
        """The bytes of the row group, and in the file's footer what the part's own says of it."""
        body, written = body_of(part)
        pieces: list[bytes | memoryview] = []
        if self._footer is None:
            pieces.append(MAGIC)
            self._bytes = len(MAGIC)
            self._footer = read_footer(written)
        else:
            self._footer.add(read_footer(written, begin=self._bytes, group=len(self._footer.groups)))
        self._bytes += len(body)
        return [*pieces, body]

    def finish(self) -> Content:
        """The footer; a file that has got no rows has its columns."""
        head = [] if self._footer is not None else self.append(self.encode(pl.DataFrame(schema=self._schema)))
        assert self._footer is not None
        return [*head, self._footer.end()]


def _is_text(dtype: pa.DataType) -> bool:
    tests = (pa.types.is_large_string, pa.types.is_large_binary, pa.types.is_dictionary)
    return any(test(dtype) for test in tests)


def _check_level(compression: str, level: int | None) -> None:
    if level is None:
        return
    try:
        low, high = (
            pa.Codec.minimum_compression_level(compression),
            pa.Codec.maximum_compression_level(compression),
        )
    except (ValueError, pa.ArrowInvalid) as error:
        raise PlanError(
            f"compression_level={level} was given, but {compression} has no levels",
            hint='leave it out, or use compression="zstd"',
        ) from error
    if not low <= level <= high:
        raise PlanError(
            f"compression_level={level} is not between {low} and {high}, the levels of {compression}"
        )
