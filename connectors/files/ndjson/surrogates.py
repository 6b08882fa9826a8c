"""Halves of surrogate pairs: JSON can write them, but they are no characters; Polars reads them as NUL."""

from __future__ import annotations

import re

SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NO_HALF = re.compile(  # an escaped backslash, or a pair
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)


def has_half_pair(data: bytes) -> bool:
    """Whether there is one that is not part of a pair."""
    if SURROGATE.search(data) is None:
        return False
    return SURROGATE.search(_NO_HALF.sub(b"", data)) is not None
