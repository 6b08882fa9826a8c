"""What the commands print with: results on standard output, everything else on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import polars as pl

    from arrowstream.errors import ArrowStreamError

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)

_CELL_CHARACTERS_MAX = 48


def print_error(error: ArrowStreamError) -> None:
    """Fact, place, choices and hint, without a traceback."""
    fact, *rest = str(error).splitlines() or [type(error).__name__]
    err.print(Text.assemble(("error: ", "bold red"), fact))
    for line in rest:
        err.print(Text(line))


def print_warning(message: str) -> None:
    """A warning, and its hint."""
    fact, *rest = message.splitlines() or [""]
    err.print(Text.assemble(("warning: ", "bold yellow"), fact))
    for line in rest:
        err.print(Text(line))


def table(frame: pl.DataFrame, *, title: str | None = None) -> Table:
    """The rows of a small frame; numbers to the right, with thousands separated."""
    result = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for name, dtype in frame.schema.items():
        result.add_column(Text(name), justify="right" if dtype.is_numeric() else "left")
    for row in frame.iter_rows():
        result.add_row(*(Text(_cell(value)) for value in row))
    return result


def _cell(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    text = str(value)
    return text if len(text) <= _CELL_CHARACTERS_MAX else f"{text[: _CELL_CHARACTERS_MAX - 1]}…"
