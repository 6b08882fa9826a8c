"""Dead letters for outputs that hold text only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import arrowstream as ars

TEXT_FORMATS = ("csv", "ndjson")

BASE64 = "base64:"
"""Begins what is not UTF-8, and could not be told as text otherwise."""


def as_text(letters: ars.Stream) -> ars.Stream:
    r"""Dead letters with their original bytes as text: as it is if it is UTF-8, else in base64.

    Examples
    --------
    >>> import arrowstream as ars
    >>> letters = ars.from_polars(pl.DataFrame({"original": [b"n/a", b"\xff", None]}))
    >>> as_text(letters).collect()["original"].to_list()
    ['n/a', 'base64:/w==', None]
    """
    original = pl.col("original")
    in_base64 = pl.lit(BASE64) + original.bin.encode("base64")
    return letters.with_columns(
        pl.coalesce(original.cast(pl.String, strict=False), in_base64).alias("original")
    )
