"""`arrowstream demo`: a stream of events, a windowed query over it, and how long Polars takes."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import polars as pl
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

import arrowstream as ars
from arrowstream import nexmark
from arrowstream.cli import console
from arrowstream.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from arrowstream.runtime.metrics import Metrics

AGGREGATES = {"bids": pl.len(), "total": pl.col("price").sum(), "top": pl.col("price").max()}
COLUMNS = ("auction", "bidder", "price", "channel", "date_time")
ROWS_SHOWN = 10
ROUNDS = 3
STEPS = 20
"""A replay in so many steps can be watched, and its first windows close long before the input ends."""

ROW_GROUP_ROWS_MAX = 250_000
_BAR_CELLS = 32

QUERY = """\
ars.scan_parquet("{files}", event_time="date_time")
   .group_by_dynamic("date_time", every="{every}", group_by="auction")
   .agg(bids=pl.len(), total=pl.col("price").sum(), top=pl.col("price").max())"""


def run_demo(*, events: int, folder: Path | None, seed: int, every: str) -> None:
    """Write the events, replay the query as one can watch, print the result, and compare with Polars."""
    with _folder(folder) as place:
        files = _write_events(place, events=events, seed=seed)
        console.out.print(Text("\n" + QUERY.format(files=files, every=every) + "\n", style="cyan"))
        _load_kernels(every)
        query = _windows(ars.scan_parquet(files, event_time="date_time"), every)
        result = _replay(query, batch_rows=max(1, events // STEPS))
        busiest = result.sort("bids", "date_time", descending=[True, False]).head(ROWS_SHOWN)
        console.out.print(
            console.table(busiest, title=f"The busiest {len(busiest)} of {len(result):,} result rows")
        )
        batch = (
            pl.scan_parquet(files)
            .group_by("auction", pl.col("date_time").dt.truncate(every))
            .agg(**AGGREGATES)
        )
        _compare(query, batch, result)


def _windows(bids: ars.Stream, every: str) -> ars.Stream:
    return bids.group_by_dynamic("date_time", every=every, group_by="auction").agg(**AGGREGATES)


def _load_kernels(every: str) -> None:
    """Run the query over a few rows: what is timed afterwards is the replay, not the compiler."""
    few = nexmark.bids(1000, columns=COLUMNS)
    with console.err.status("loading the kernels (they are compiled once on a machine, in some seconds)"):
        _windows(ars.from_polars(few, event_time="date_time"), every).collect(progress=False)


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="arrowstream-demo-") as temporary:
        yield Path(temporary)


def _write_events(folder: Path, *, events: int, seed: int) -> str:
    """Write the stream; returns the glob of the bids."""
    started = time.perf_counter()
    columns = (TextColumn("writing {task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console.err, transient=True) as progress:
        task = progress.add_task("events", total=events)
        paths = nexmark.write_parquet(
            folder,
            events=events,
            seed=seed,
            bid_columns=COLUMNS,
            row_group_rows=max(1, min(events // STEPS, ROW_GROUP_ROWS_MAX)),
            on_chunk=lambda rows: progress.advance(task, rows),
        )
    size = sum(path.stat().st_size for files in paths.values() for path in files)
    seconds = time.perf_counter() - started
    console.out.print(
        f"wrote {events:,} Nexmark events (persons, auctions, bids), {size / 1e6:,.0f} MB of Parquet, "
        f"in {seconds:.1f} s"
    )
    return str(folder / "bid" / "*.parquet")


class _Board:
    """The live display: how far the replay is, and what has come out of it so far."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._metrics: Metrics | None = None
        self.rows_in = self.late_rows = 0
        self._note = ""
        self.latest: pl.DataFrame | None = None
        self.rows_out = 0

    def update(self, metrics: Metrics) -> None:
        """Called by the run, some ten times a second."""
        self._metrics = metrics
        self.rows_in, self.late_rows = metrics.rows_in, metrics.late_rows
        self.draw()

    def say(self, text: str) -> None:
        """Called by the run when something takes long, such as compiling."""
        self._note = text
        self.draw()

    def draw(self) -> None:
        """Replace the display."""
        metrics = self._metrics
        if metrics is None:
            return
        line = Table.grid(padding=(0, 2))
        late = Text(f"{metrics.late_rows:,} late", style="yellow" if metrics.late_rows else "")
        line.add_row(
            ProgressBar(total=1.0, completed=metrics.fraction or 0.0, width=_BAR_CELLS),
            Text(f"{metrics.rows_in / 1e6:.1f} M rows"),
            Text(f"{metrics.rows_per_s / 1e6:.1f} M rows/s"),
            Text(f"watermark {metrics.watermark:%H:%M:%S}" if metrics.watermark else "watermark –"),
            late,
            Text(f"{self.rows_out:,} results"),
            Text(self._note, style="yellow"),
        )
        board = Table.grid()
        board.add_row(line)
        if self.latest is not None and self.latest.height:
            board.add_row(console.table(self.latest.tail(3), title="latest results"))
        self._live.update(board, refresh=True)


def _replay(query: ars.Stream, batch_rows: int) -> pl.DataFrame:
    """Run the query with its progress and its latest results on the screen; say when the first came."""
    started = time.perf_counter()
    first_s: float | None = None
    batches = []
    with Live(console=console.err, auto_refresh=False, transient=True) as live:
        board = _Board(live)
        for batch in query.iter_batches(batch_rows=batch_rows, progress=board):
            if first_s is None:
                first_s = time.perf_counter() - started
            frame = pl.DataFrame(batch)
            batches.append(frame)
            board.latest, board.rows_out = frame, board.rows_out + frame.height
    seconds = time.perf_counter() - started
    console.out.print(
        f"replayed {board.rows_in:,} bids in {seconds:.2f} s ({board.rows_in / seconds / 1e6:.1f} M rows/s), "
        f"{board.late_rows:,} late"
    )
    if first_s is not None:
        console.out.print(
            f"the first results were out after {first_s:.2f} s: a window closes as soon as none of its rows "
            "can follow"
        )
    return pl.concat(batches) if batches else pl.DataFrame(schema=query.schema)


def _compare(query: ars.Stream, batch: pl.LazyFrame, result: pl.DataFrame) -> None:
    """Say in one line how both do on the same files just now.

    Raises
    ------
    InternalError
        Their results differ.
    """
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(_seconds(lambda: query.collect(progress=False)))
        theirs.append(_seconds(lambda: batch.collect(engine="streaming")))
    keys = ["date_time", "auction"]
    expected = batch.select(result.columns).collect(engine="streaming").sort(keys)
    if not result.sort(keys).equals(expected):
        raise InternalError("the result is not the one that Polars gives on the same files")
    console.out.print(
        f"\n[bold]arrowstream {median(ours):.2f} s, Polars {median(theirs):.2f} s[/] "
        f"(its streaming engine, same files, medians of {ROUNDS}): "
        f"{median(theirs) / median(ours):.2f} × as fast, same result"
    )


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
