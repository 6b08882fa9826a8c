"""What the pages of a Parquet file say of themselves, looked at before Polars believes it.

Polars asks for memory for as many values as the header of a page announces. A damaged number can be more than
there is, and that ends the process.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import pyarrow as pa

from arrowstream.connectors.files.parquet_footer import ColumnChunk, row_groups
from arrowstream.connectors.files.thrift import Compact

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from arrowstream.connectors.files.thrift import Struct

_HEADER_BYTES = (256, 1 << 16, 1 << 24)  # long ones have long text in their statistics
_UNCOMPRESSED_BYTES, _COMPRESSED_BYTES = 2, 3  # fields of a header
_DATA, _DICTIONARY, _DATA_V2 = 5, 7, 8  # one of them
_VALUES = 1  # field of each of these


class _Page(NamedTuple):
    start: int
    end: int
    uncompressed_bytes: int
    values: int
    is_dictionary: bool


def check_pages(stream: BinaryIO, tail: bytes, columns: Collection[str]) -> None:
    """Look at the headers of all pages of some columns; without any, of all columns.

    Parameters
    ----------
    stream
        The file, best without a buffer.
    tail
        The file from its footer on.

    Raises
    ------
    pa.ArrowInvalid, UnicodeDecodeError
        A header has a number that cannot be.
    """
    for number, group in enumerate(row_groups(tail)):
        for chunk in group:
            if columns and not chunk.is_of(columns):
                continue
            for page in _pages(stream, chunk):
                # A value of a dictionary takes a byte at least.
                most = page.uncompressed_bytes if page.is_dictionary else chunk.values
                if page.end <= page.start or not 0 <= page.values <= most:
                    raise pa.ArrowInvalid(
                        f"a page of column '{chunk.path}' of row group {number}, at byte {page.start}, says "
                        f"that it has {page.values:,} values in {page.uncompressed_bytes:,} bytes"
                    )


def _pages(stream: BinaryIO, chunk: ColumnChunk) -> Iterator[_Page]:
    at, left = chunk.start, chunk.values
    while left > 0 and at < chunk.end:
        page = _page(stream, at)
        yield page
        at = page.end
        left -= 0 if page.is_dictionary else page.values


def _page(stream: BinaryIO, at: int) -> _Page:
    header, header_bytes = _header(stream, at)
    sizes = (header.get(_UNCOMPRESSED_BYTES), header.get(_COMPRESSED_BYTES))
    described = header.get(_DATA) or header.get(_DATA_V2) or header.get(_DICTIONARY)
    values = described.get(_VALUES) if isinstance(described, dict) else 0  # pages of other kinds have none
    uncompressed, compressed, count = (
        number if isinstance(number, int) else -1 for number in (*sizes, values)
    )
    end = at + header_bytes + compressed if min(uncompressed, compressed) >= 0 else at
    return _Page(at, end, uncompressed, count, _DICTIONARY in header)


def _header(stream: BinaryIO, at: int) -> tuple[Struct, int]:
    *shorter, longest = _HEADER_BYTES
    for size in shorter:
        with suppress(pa.ArrowInvalid):
            return _struct(stream, at, size)
    return _struct(stream, at, longest)


def _struct(stream: BinaryIO, at: int, size: int) -> tuple[Struct, int]:
    stream.seek(at)
    reader = Compact(stream.read(size))
    return reader.struct(), reader.position
