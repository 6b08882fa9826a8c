"""Reading SQL before Polars does: an expression can read nothing but the row.

Polars' SQL can open files (`read_csv('…')` in a subquery), and looks for them when the text is parsed.
Whatever could begin a query is therefore refused before Polars sees the text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from arrowstream.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(
    r"""(?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*")|(?P<comment>--[^\n]*)|(?P<word>\w+)|(?P<other>.)""",
    re.DOTALL,
)
_ELSEWHERE = re.compile(
    r"\bselect\b|\(\s*(?:with|table|values|from)\b|\b(?:read|scan)_\w+\s*\(", re.IGNORECASE
)
_QUOTING = re.compile(r"\\|\$|`")
"""With these a text could end elsewhere for Polars than for us: then texts are searched too."""

_SHOWN_MAX = 60


def tokens(text: str) -> Iterator[tuple[str, str]]:
    """What it is ("quoted", "comment", "word", "other"), and the text of it; all of them make up the text."""
    for found in _TOKEN.finditer(text):
        yield str(found.lastgroup), found[0]


def check_reads_nothing(text: str) -> None:
    """Raise PlanError if an expression has a query, or a function that reads files, in it.

    Examples
    --------
    >>> check_reads_nothing("channel = 'select'")
    >>> check_reads_nothing("a IN (SELECT b FROM read_csv('c'))")
    Traceback (most recent call last):
        ...
    arrowstream.errors.PlanError: a IN (SELECT b FROM read_csv('c')) would read something else than the row
      hint: an expression has no query in it
    """
    if "/*" in text:
        raise PlanError(f"{shown(text)} has a comment in it", hint="leave it out")
    code = "".join(part if kind in ("word", "other") else " " for kind, part in tokens(text))
    if _ELSEWHERE.search(text if _QUOTING.search(text) else code):
        raise reads_elsewhere(text)


def reads_elsewhere(text: str) -> PlanError:
    """The error for an expression that has a query in it."""
    return PlanError(
        f"{shown(text)} would read something else than the row", hint="an expression has no query in it"
    )


def shown(text: str) -> str:
    """A piece of SQL as an error shows it: in one line, and not too long."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_MAX else f"{line[: _SHOWN_MAX - 3]}…"
