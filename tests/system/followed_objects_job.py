"""The job that is killed while it follows objects: `python followed_objects_job.py ROOT ENDPOINT BUCKET`.

It prints "ready" when the run has begun, and goes on until it is killed. The bucket holds the input (`in/`),
ROOT the checkpoint (`state/`) and the output (`out/`); a restart is the same command.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import polars as pl

import arrowstream as ars
from arrowstream.connectors.files import watch


def storage_options(endpoint: str) -> dict[str, object]:
    """How to get there."""
    return {
        "key": "k",
        "secret": "s",
        "endpoint_url": endpoint,
        "client_kwargs": {"region_name": "us-east-1"},
    }


def main() -> None:
    """Follow until the end of the process."""
    root, endpoint, bucket = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    watch.REMOTE_LOOK_S = 0.05
    lines = ars.scan_ndjson(
        f"s3://{bucket}/in/", schema={"n": pl.Int64}, follow=True, storage_options=storage_options(endpoint)
    )
    with lines.sink_parquet(root / "out").start(checkpoint=root / "state", checkpoint_every="50ms") as live:
        print("ready", flush=True)
        live.wait()


if __name__ == "__main__":
    main()
