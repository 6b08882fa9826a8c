"""The job that is killed while it follows logs: run as `python followed_job.py ROOT PATTERN`.

It prints "ready" when the run has begun, and goes on until it is killed. ROOT holds the logs (`logs/`), the
checkpoint (`state/`) and the output (`out/`); a restart is the same command.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

import arrowstream as ars


def main() -> None:
    """Follow until the end of the process."""
    root, pattern = Path(sys.argv[1]), sys.argv[2]
    lines = ars.scan_ndjson(root / "logs" / pattern, schema={"n": pl.Int64}, follow=True)
    job = lines.sink_parquet(root / "out")
    with job.start(checkpoint=root / "state", checkpoint_every="50ms") as live:
        print("ready", flush=True)
        live.wait()


if __name__ == "__main__":
    main()
