"""What the commands print with: results on standard output, everything else on standard error."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import polars as pl

    from arrowstream.errors import ArrowStreamError

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)

_CELL_CHARACTERS_MAX = 48


@contextmanager
def own_warnings(hidden: Callable[[str], str] = str) -> Iterator[None]:
    """Print warnings, and what is logged, as the rest of the output: not with the line that raised them.

    `hidden` takes out of a text what must not be printed.
    """
    handler = _LogHandler(hidden)
    logger = logging.getLogger("arrowstream")
    logger.addHandler(handler)
    propagated, logger.propagate = logger.propagate, False
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_args, **_kwargs: print_warning(hidden(str(message)))
            yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated


class _LogHandler(logging.Handler):
    """Prints records as warnings are printed."""

    def __init__(self, hidden: Callable[[str], str]) -> None:
        super().__init__(logging.WARNING)
        self._hidden = hidden

    def emit(self, record: logging.LogRecord) -> None:
        """Print one."""
        print_warning(self._hidden(record.getMessage()))


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
