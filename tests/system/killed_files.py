"""A job over damaged, compressed text: `python killed_files.py ROOT EPOCH_ROWS` in a process of its own.

It prints "ready" when the run begins and the report's status at its end. ROOT holds the input (`data/`), the
checkpoint (`state/`) and the outputs.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import polars as pl

import arrowstream as ars
from arrowstream.connectors.files import lines

OUTPUTS = ("windows", "rows", "bad")
SCHEMA = {"auction": pl.Int64, "price": pl.Int64, "date_time": pl.Datetime("us")}


def jobs(root: Path) -> list[ars.Job]:
    """Windows, rows with their origin, and dead letters, from one read of files with clocks of their own."""
    bids = ars.scan_csv(
        root / "data",
        schema=SCHEMA,
        event_time="date_time",
        lateness="40ms",
        clock_by="file",
        on_error="dead_letter",
    ).with_metadata(row="row")
    windows = bids.group_by_dynamic("date_time", every="200ms", group_by="auction").agg(
        pl.len(), mean=(pl.col("price") / 7).mean(), last=pl.col("row").last()
    )
    return [
        windows.sink_parquet(root / "windows"),
        bids.filter(pl.col("price") > 5_000).sink_csv(root / "rows"),
        bids.dead_letters().drop("source", "error").sink_ipc(root / "bad"),
    ]


def main() -> None:
    """Run the job to its end."""
    root, epoch_rows = Path(sys.argv[1]), int(sys.argv[2])
    warnings.simplefilter("ignore", ars.LateRowsWarning)
    defaults = lines.cut.__kwdefaults__
    assert defaults is not None
    defaults["block_bytes"] = 10_000  # many blocks to go on in
    made = jobs(root)
    print("ready", flush=True)
    report = ars.run(made, checkpoint=root / "state", checkpoint_every=epoch_rows, progress=False)
    print(report.status, flush=True)


if __name__ == "__main__":
    main()
