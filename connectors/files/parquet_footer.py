"""What the footer of a Parquet file says of its column chunks.

PyArrow does not catch what its own metadata raise: the chunk of a damaged footer would end the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import pyarrow as pa

from arrowstream.connectors.files.thrift import Compact

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from arrowstream.connectors.files.thrift import Struct, Value

_T = TypeVar("_T")

_ROW_GROUPS = 4  # fields of a footer
_COLUMNS = 1  # of a row group
_METADATA = 3  # of a column chunk
_PATH, _VALUES, _UNCOMPRESSED_BYTES, _COMPRESSED_BYTES = 3, 5, 6, 7  # of its metadata
_DATA_PAGE, _DICTIONARY_PAGE, _STATISTICS = 9, 11, 12
_OLD_MIN, _NULLS, _MIN = 2, 3, 6  # of its statistics


class ColumnChunk(NamedTuple):
    """One leaf column of a row group. `least` is its smallest value as it is stored; None: not known."""

    path: str
    values: int
    uncompressed_bytes: int
    compressed_bytes: int
    start: int
    nulls: int | None
    least: bytes | None

    @property
    def end(self) -> int:
        """Where it ends in the file."""
        return self.start + self.compressed_bytes

    def is_of(self, columns: Container[str]) -> bool:
        """Whether it is one of these columns, or a field of one."""
        return self.path in columns or self.path.split(".")[0] in columns


def row_groups(tail: bytes) -> Iterator[list[ColumnChunk]]:
    """The column chunks of each row group, read as they are asked for.

    Parameters
    ----------
    tail
        The file from its footer on.

    Raises
    ------
    pa.ArrowInvalid, UnicodeDecodeError
        It is no such footer.
    """
    footer = Compact(tail)
    for number, kind in footer.fields():
        if number != _ROW_GROUPS:
            footer.value(kind)
            continue
        for item in footer.items():
            group = _checked(footer.value(item), dict)
            columns = [_checked(column, dict) for column in _checked(group.get(_COLUMNS), list)]
            yield [_chunk(_checked(column.get(_METADATA), dict)) for column in columns]
        return


def _chunk(metadata: Struct) -> ColumnChunk:
    statistics = metadata.get(_STATISTICS)
    start = _checked(metadata.get(_DATA_PAGE), int)
    dictionary = metadata.get(_DICTIONARY_PAGE)
    nulls = least = None
    if isinstance(statistics, dict):
        nulls = statistics.get(_NULLS)
        least = statistics.get(_MIN, statistics.get(_OLD_MIN))
    return ColumnChunk(
        path=b".".join(_checked(name, bytes) for name in _checked(metadata.get(_PATH), list)).decode(),
        values=_checked(metadata.get(_VALUES), int),
        uncompressed_bytes=_checked(metadata.get(_UNCOMPRESSED_BYTES), int),
        compressed_bytes=_checked(metadata.get(_COMPRESSED_BYTES), int),
        start=dictionary if isinstance(dictionary, int) and 0 < dictionary < start else start,
        nulls=nulls if isinstance(nulls, int) else None,
        least=least if isinstance(least, bytes) else None,
    )


def _checked(value: Value | None, kind: type[_T]) -> _T:
    if not isinstance(value, kind):
        raise pa.ArrowInvalid("the footer lacks what it has to say of each column")
    return value
