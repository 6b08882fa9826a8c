"""How far a run is: a line on a terminal, or an output that is redrawn in a notebook."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

from arrowstream.kernels.notices import compilations
from arrowstream.runtime.metrics import Metrics, ProgressListener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.live import Live

    from arrowstream.runtime.options import RunOptions

SHOW_AFTER_S = 0.5
"""A run that is over by then shows nothing: a bar that only flashes is a nuisance."""

_BAR_CELLS = 12  # the whole line fits 80 columns
_ENDED = frozenset({"finished", "stopped", "failed"})


class Screen(Protocol):
    """Where the progress is drawn; each call replaces what was drawn before."""

    def draw(self, metrics: Metrics, note: str | None) -> None:
        """Draw it."""
        ...

    def close(self) -> None:
        """Leave the last drawing where it is, and restore the cursor."""
        ...


class ProgressDisplay:
    """Tells the user how far a run is, once it has lasted long enough to be worth it.

    Parameters
    ----------
    open_screen
        Called when there is something to draw for the first time.
    """

    def __init__(self, open_screen: Callable[[], Screen]) -> None:
        self._open_screen = open_screen
        self._screen: Screen | None = None
        self._metrics = Metrics()
        self._note: str | None = None

    def update(self, metrics: Metrics) -> None:
        """Show this state of the run."""
        if metrics.rows_in > self._metrics.rows_in:
            self._note = None
        self._metrics = metrics
        if self._screen is None and (metrics.seconds < SHOW_AFTER_S or metrics.state in _ENDED):
            return
        self._draw()

    def say(self, text: str) -> None:
        """Show a line of text at once, until more rows have been read."""
        self._note = text
        self._draw()

    def close(self) -> None:
        """Show nothing more; called once, also after an error."""
        if self._screen is not None:
            self._screen.close()

    def _draw(self) -> None:
        if self._screen is None:
            self._screen = self._open_screen()
        self._screen.draw(self._metrics, self._note)


@contextmanager
def shown(options: RunOptions, *, auto: bool = True) -> Iterator[RunOptions]:
    """The options with someone who shows the progress, if it is to be shown, for as long as it runs.

    `auto` is what the setting "auto" means where there is somebody to see it.
    """
    wanted = options.progress
    if isinstance(wanted, ProgressListener):
        yield options
        return
    notebook = in_notebook()
    if wanted is False or (wanted == "auto" and not (auto and (notebook or _on_terminal()))):
        yield replace(options, progress=False)
        return
    display = ProgressDisplay(NotebookScreen if notebook else TerminalScreen)
    try:
        with compilations(lambda _: display.say("compiling kernels, once on this machine …")):
            yield replace(options, progress=display)
    finally:
        display.close()


def in_notebook() -> bool:
    """Whether this is a Jupyter kernel; IPython is not imported to find out."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def facts(metrics: Metrics) -> list[str]:
    """What there is to say about a run, most important first.

    Examples
    --------
    >>> facts(Metrics(rows_in=12_000_000, rows_total=20_000_000, rows_per_s=45e6, late_rows=3))
    ['12,000,000 rows', '45.0 M rows/s', '3 late']
    """
    parts = [f"{metrics.rows_in:,} rows"]
    if metrics.rows_per_s:
        parts.append(_rate(metrics.rows_per_s))
    if metrics.watermark is not None and metrics.state not in _ENDED:
        parts.append(f"watermark {metrics.watermark:%Y-%m-%d %H:%M:%S}")
    if metrics.late_rows:
        parts.append(f"{metrics.late_rows:,} late")
    if metrics.dead_letters:
        parts.append(f"{metrics.dead_letters:,} dead letters")
    if metrics.state != "running":
        parts.append(f"{metrics.state}, {metrics.seconds:.1f} s")
    return parts


def _rate(rows_per_s: float) -> str:
    if rows_per_s >= 1e6:
        return f"{rows_per_s / 1e6:.1f} M rows/s"
    return f"{rows_per_s:,.0f} rows/s"


class TerminalScreen:
    """One line at the bottom of the terminal, on the error stream: output can still be piped."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live: Live = Live(console=Console(stderr=True), auto_refresh=False)
        self._live.start()

    def draw(self, metrics: Metrics, note: str | None) -> None:
        """Replace the line."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        line = Table.grid(padding=(0, 2))
        cells: list[Any] = [Text(fact, no_wrap=True, overflow="ellipsis") for fact in facts(metrics)]
        if metrics.fraction is not None:
            cells[:0] = [
                ProgressBar(total=1.0, completed=metrics.fraction, width=_BAR_CELLS),
                Text(f"{metrics.fraction:4.0%}", no_wrap=True),
            ]
        if note is not None:
            cells.append(Text(note, style="yellow"))
        line.add_row(*cells)
        self._live.update(line, refresh=True)

    def close(self) -> None:
        """Leave the last line where it is."""
        self._live.stop()


class NotebookScreen:
    """An output of the running cell that is replaced; Rich would want widgets for that."""

    def __init__(self) -> None:
        self._handle = _ipython().display(_ipython().HTML(""), display_id=True)

    def draw(self, metrics: Metrics, note: str | None) -> None:
        """Replace the output."""
        self._handle.update(_ipython().HTML(progress_html(metrics, note)))

    def close(self) -> None:
        """The last drawing stays."""


def progress_html(metrics: Metrics, note: str | None) -> str:
    """The same line as HTML, in the colours of the page."""
    bar = ""
    if metrics.fraction is not None:
        bar = f'<progress max="1" value="{metrics.fraction:.4f}" style="width:10em"></progress> '
    said = [escape(fact) for fact in facts(metrics)]
    if note is not None:
        said.append(f"<em>{escape(note)}</em>")
    text = " &ensp;".join(f'<span style="white-space:nowrap">{fact}</span>' for fact in said)
    return f'<div style="font-family:monospace">{bar}{text}</div>'


def show_html(html: str) -> None:
    """Show HTML in the output of the running cell."""
    _ipython().display(_ipython().HTML(html))


def _ipython() -> Any:
    """`IPython.display`, which ships no types; it is there when this runs in a notebook."""
    import IPython.display

    return IPython.display
