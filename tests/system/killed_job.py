"""The jobs that are killed: run as `python killed_job.py QUERY ROOT EPOCH_ROWS` in a process of its own.

It prints "ready" when the run begins and the report's status at its end. ROOT holds the input (`data/`), the
checkpoint (`state/`) and the outputs; a restart is the same command.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import polars as pl

import arrowstream as ars

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


QUERIES = {query.__name__: query for query in (windows, hopping, rows)}


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
