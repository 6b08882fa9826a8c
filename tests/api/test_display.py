"""How far a run is, on a terminal and in a notebook."""

from __future__ import annotations

import io
import sys
from datetime import datetime

import pytest

from arrowstream.api import display
from arrowstream.runtime.metrics import Metrics
from arrowstream.runtime.options import run_options


class Recorder:
    def __init__(self) -> None:
        self.drawn: list[tuple[Metrics, str | None]] = []
        self.closed = 0

    def draw(self, metrics, note) -> None:
        self.drawn.append((metrics, note))

    def close(self) -> None:
        self.closed += 1


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen() -> Recorder:
    return Recorder()


def test_a_short_run_shows_nothing(screen) -> None:
    shown = display.ProgressDisplay(lambda: screen)
    shown.update(Metrics(seconds=0.1, rows_in=5))
    shown.update(Metrics(seconds=0.49, rows_in=9))
    shown.update(Metrics(seconds=0.6, rows_in=9, state="finished"))
    shown.close()
    assert screen.drawn == []
    assert screen.closed == 0


def test_a_longer_run_is_shown_to_its_end(screen) -> None:
    shown = display.ProgressDisplay(lambda: screen)
    for seconds, state in ((0.2, "running"), (0.6, "running"), (0.9, "finished")):
        shown.update(Metrics(seconds=seconds, state=state))
    shown.close()
    assert [metrics.state for metrics, _ in screen.drawn] == ["running", "finished"]
    assert screen.closed == 1


def test_what_is_said_is_shown_at_once_and_until_rows_come(screen) -> None:
    shown = display.ProgressDisplay(lambda: screen)
    shown.say("compiling the window kernel")
    shown.update(Metrics(seconds=0.7))
    shown.update(Metrics(seconds=0.8, rows_in=100))
    assert [note for _, note in screen.drawn] == ["compiling the window kernel"] * 2 + [None]


@pytest.mark.parametrize(
    ("state", "last"),
    [
        ("running", "watermark 2026-01-02 03:04:05"),
        ("stopping", "stopping, 2.2 s"),
        ("finished", "finished, 2.2 s"),
    ],
)
def test_the_facts_of_a_run(state, last) -> None:
    metrics = Metrics(
        state=state,
        seconds=2.25,
        rows_in=1200,
        rows_per_s=850.0,
        late_rows=3,
        watermark=datetime(2026, 1, 2, 3, 4, 5, 600),
    )
    facts = display.facts(metrics)
    assert facts[:2] == ["1,200 rows", "850 rows/s"]
    assert "3 late" in facts
    assert last in facts
    assert ("watermark 2026-01-02 03:04:05" in facts) == (state != "finished")


@pytest.mark.parametrize(
    ("progress", "tty", "auto", "listens"),
    [
        ("auto", False, True, False),
        ("auto", True, True, True),
        ("auto", True, False, False),
        (False, True, True, False),
        (True, False, False, True),
    ],
)
def test_who_is_told(monkeypatch, progress, tty, auto, listens) -> None:
    monkeypatch.setattr(sys, "stderr", Tty() if tty else io.StringIO())
    with display.shown(run_options(progress=progress), auto=auto) as options:
        assert (options.listener is not None) is listens


def test_a_listener_of_ones_own_is_kept(screen) -> None:
    own = display.ProgressDisplay(lambda: screen)
    with display.shown(run_options(progress=own)) as options:
        assert options.listener is own


def test_the_terminal_gets_one_line_with_a_bar(monkeypatch) -> None:
    terminal = Tty()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    with display.shown(run_options(progress=True)) as options:
        assert options.listener is not None
        options.listener.update(Metrics(seconds=1.0, rows_in=500_000, rows_total=1_000_000, rows_per_s=2e6))
        options.listener.update(
            Metrics(seconds=2.0, rows_in=1_000_000, rows_total=1_000_000, state="finished")
        )
    text = terminal.getvalue()
    assert "50%" in text
    assert "500,000 rows" in text
    assert "2.0 M rows/s" in text
    assert "finished, 2.0 s" in text
    assert text.count("\n") == 1


def test_the_notebook_gets_a_bar_in_the_colours_of_the_page() -> None:
    html = display.progress_html(Metrics(rows_in=1, rows_total=4, state="running"), "compiling <kernel>")
    assert '<progress max="1" value="0.2500"' in html
    assert "1 rows" in html
    assert "<em>compiling &lt;kernel&gt;</em>" in html
    assert "color" not in html
