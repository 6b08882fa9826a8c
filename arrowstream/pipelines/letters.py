"""Dead letters for outputs that hold text only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import arrowstream as ars

TEXT_FORMATS = ("csv", "ndjson")

BASE64 = "base64:"
"""Begins what is not UTF-8, and could not be told as text otherwise."""

_UTF8 = ("^(?:[0-7].|c[2-9a-f]N|d.N|e0[ab].N|e[1-9abcef]NN|ed[89].N|f0[9ab].NN|f[123]NNN|f48.NN)*$").replace(
    "N", "[89ab]."
)
"""Of hexadecimal digits: bytes that are UTF-8. Polars' cast fails on others, also where it is not strict."""


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
    is_text = original.bin.encode("hex").str.contains(_UTF8)
    # An empty value instead of a null: the cast looks at what is behind nulls too.
    text = pl.when(is_text).then(original).otherwise(pl.lit(b"")).cast(pl.String)
    in_base64 = pl.lit(BASE64) + original.bin.encode("base64")
    return letters.with_columns(pl.when(is_text).then(text).otherwise(in_base64).alias("original"))
