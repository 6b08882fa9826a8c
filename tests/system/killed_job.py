"""The jobs that are killed: run as `python killed_job.py QUERY ROOT EPOCH_ROWS` in a process of its own.

It prints "ready" when the run begins and the report's status at its end. ROOT holds the input (`data/`), the
checkpoint (`state/`) and the outputs; a restart is the same command.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))

from system.torn import TornSource

import arrowstream as ars
from arrowstream.connectors.files.columnar_source import ParquetSource
from arrowstream.connectors.files.options import FileOptions

PRICE = pl.col("price")


def windows(root: Path) -> list[ars.Job]:
    """Tumbling windows into Parquet, and the late rows into IPC, from one read."""
    bids = ars.scan_parquet(root / "data", event_time="date_time", lateness="40ms")
    windows = bids.group_by_dynamic("date_time", every="200ms", group_by="auction")
    folded = windows.agg(
        bids=pl.len(),
        total=PRICE.sum(),
        mean=(PRICE / 7).mean(),
        spread=(PRICE / 7).std(),
        first=pl.col("bidder").first(),
        last=pl.col("channel").last(),
    )
    return [folded.sink_parquet(root / "windows"), windows.late().sink_ipc(root / "late")]


def hopping(root: Path) -> list[ars.Job]:
    """Overlapping windows by a string, with an aggregation that keeps rows, over several partitions."""
    bids = ars.scan_parquet(root / "data", event_time="date_time", lateness="40ms", clock_by="file")
    hops = bids.group_by_dynamic("date_time", every="100ms", period="300ms", group_by="channel")
    result = hops.agg(bids=pl.len(), mean=(PRICE / 7).mean(), median=PRICE.median())
    return [result.sink_parquet(root / "hops")]


def rows(root: Path) -> list[ars.Job]:
    """No state at all: filtered and computed rows into IPC."""
    bids = ars.scan_parquet(root / "data", event_time="date_time")
    return [bids.filter(PRICE > 1_000).with_columns(euro=PRICE / 7).sink_ipc(root / "rows")]


def letters(root: Path) -> list[ars.Job]:
    """Windows of good rows, and the dead letters of four kinds of bad ones."""
    torn = TornSource(ParquetSource(root / "data", FileOptions(clock_by="file")), PRICE % 17 == 0)
    bids = (
        ars.scan(torn)
        .with_columns(t=pl.when(PRICE % 13 > 0).then("date_time"))
        .with_event_time("t", lateness="40ms", on_error="dead_letter")
        .validate({"channel": pl.col("channel") != "Apple", "third": PRICE % 3 > 0}, on_error="dead_letter")
    )
    valid = bids.group_by_dynamic("t", every="200ms", group_by="channel").agg(pl.len(), PRICE.sum())
    return [valid.sink_parquet(root / "valid"), bids.dead_letters().sink_ipc(root / "bad")]


QUERIES = {query.__name__: query for query in (windows, hopping, rows, letters)}


def main() -> None:
    """Run one of the jobs to its end."""
    query, root, epoch_rows = QUERIES[sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("ignore", ars.LateRowsWarning)
    jobs = query(root)
    print("ready", flush=True)
    report = ars.run(jobs, checkpoint=root / "state", checkpoint_every=epoch_rows, progress=False)
    print(report.status, flush=True)


if __name__ == "__main__":
    main()
