"""How much a part of a file may become in memory."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from arrowstream.connectors.files.compression import FLOOR_BYTES, RATIO_MAX
from arrowstream.errors import DataError

if TYPE_CHECKING:
    from arrowstream.connectors.files.columnar import Footer

_ROWS_MAX = 2**32 - 2  # of a frame of Polars
_VIEW_BYTES = 16  # of a string, at least


def check_parts(path: str, footer: Footer, size_bytes: int, decompressed_max: int | None) -> None:
    """Raise DataError if a part of a file is too large, by what its footer says.

    Parameters
    ----------
    size_bytes
        Of the file.
    """
    try:
        check_cap(max(footer.part_bytes, default=0), size_bytes, decompressed_max)
    except DataError as error:
        raise DataError(f"a part of {path} is too large: {error.fact}", hint=error.hint) from error


def check_cap(decoded_bytes: int, stored_bytes: int, decompressed_max: int | None) -> None:
    """Raise DataError for what would take too much memory."""
    cap = decompressed_max
    rule = "decompressed_max"
    if cap is None:
        cap = max(FLOOR_BYTES, RATIO_MAX * stored_bytes)
        rule = f"the default of decompressed_max, {RATIO_MAX:,} times what is stored"
    if decoded_bytes > cap:
        raise DataError(
            f"it holds {decoded_bytes:,} bytes when decompressed, more than {cap:,}: the cap of {rule}",
            hint="if the file is meant to be that large, give a larger decompressed_max=",
        )


def check_rows(rows: int) -> None:
    """Raise DataError for a number of rows that no part can have."""
    if not 0 <= rows <= _ROWS_MAX:
        raise DataError(f"it is said to have {rows:,} rows")


def row_bytes(schema: pl.Schema) -> int:
    """What a row takes in memory, at least."""
    return sum(_value_bytes(dtype) for dtype in schema.dtypes())


@cache
def _value_bytes(dtype: pl.DataType) -> int:
    if dtype in {pl.String, pl.Binary}:
        return _VIEW_BYTES
    if dtype.is_nested() or dtype in {pl.Boolean, pl.Null}:
        return 0
    digits = "".join(filter(str.isdigit, str(pl.Series([], dtype=dtype).to_physical().dtype)))
    return int(digits or 8) // 8
