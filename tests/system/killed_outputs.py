"""One job with an output of every kind, from one read: `python killed_outputs.py ROOT EPOCH_ROWS ENDPOINT`.

It prints "ready" when the run begins and the report's status at its end. ROOT holds the input (`data/`), the
checkpoint (`state/`) and the local outputs; those of objects are in a bucket named as ROOT.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import polars as pl

import arrowstream as ars
from arrowstream.connectors.files import objects

S3_OUTPUTS = ("objects", "object-parts")


def bucket_of(root: Path) -> str:
    """Where a run's objects are."""
    return f"kill-{root.parent.name}-{root.name}"


def storage_options(endpoint: str) -> dict[str, object]:
    """How to get there."""
    return {
        "key": "key-of-the-tests",
        "secret": "secret-of-the-tests",
        "endpoint_url": endpoint,
        "client_kwargs": {"region_name": "us-east-1"},
    }


def jobs(root: Path, endpoint: str) -> list[ars.Job]:
    """Every format, divided and not, compressed and not; local folders and S3."""
    bids = ars.scan_parquet(root / "data", event_time="date_time")
    rows = bids.filter(pl.col("price") > 1_000).with_columns(euro=pl.col("price") / 7)
    s3 = {"storage_options": storage_options(endpoint)}
    bucket = f"s3://{bucket_of(root)}"
    key = (pl.col("auction") % 2).alias("group")
    parts = pl.PartitionBy(f"{bucket}/object-parts", key=key, include_key=False)
    return [
        rows.sink_parquet(root / "parquet"),
        rows.sink_ipc(root / "ipc", compression="lz4"),
        rows.sink_ipc(root / "ipc-stream", format="stream"),
        rows.sink_parquet(pl.PartitionBy(root / "partitioned", key=key, max_rows_per_file=200)),
        rows.sink_ipc(root / "rotated", rotate_every="100ms", max_rows_per_file=400),
        rows.sink_csv(root / "csv"),
        rows.sink_ndjson(root / "ndjson"),
        rows.sink_csv(root / "compressed", compression="zstd"),
        rows.sink_avro(root / "avro", compression="deflate"),
        rows.sink_parquet(f"{bucket}/objects", **s3),
        rows.sink_ipc(parts, **s3),
    ]


OUTPUTS = (
    "parquet", "ipc", "ipc-stream", "partitioned", "rotated", "csv", "ndjson", "compressed", "avro"
)  # fmt: skip


def main() -> None:
    """Run to the end."""
    root, epoch_rows, endpoint = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    objects.MULTIPART_BYTES = 6_000
    if "ARROWSTREAM_TEST_S3" not in os.environ:
        objects.PART_BYTES = 6_000  # moto takes small parts, as the test tells it to
    made = jobs(root, endpoint)
    print("ready", flush=True)
    report = ars.run(made, checkpoint=root / "state", checkpoint_every=epoch_rows, progress=False)
    print(report.status, flush=True)


if __name__ == "__main__":
    main()
