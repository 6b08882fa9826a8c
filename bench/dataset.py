"""The files that all contenders read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from arrowstream import nexmark

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = ("auction", "bidder", "price", "channel", "date_time")
NAMES = {
    "bids": "zstd Parquet in 4 files",
    "parquet": "zstd Parquet",
    "ipc": "Arrow IPC",
    "csv": "CSV",
    "ndjson": "JSON lines",
    "avro": "snappy Avro",
}
FILES = 4
SEED = 0
_BIDS, _BEFORE, _EPOCH = 46, 4, 50  # of 50 events the first 4 are no bids


def bids(data: Path, rows: int) -> tuple[str, int]:
    """Glob and size in bytes of the files of so many bids in `data`; written unless they are there."""
    folder = data / f"bids-{rows}-seed-{SEED}"
    if not folder.exists():
        epochs, rest = divmod(rows, _BIDS)
        partial = folder.with_suffix(".partial")  # renamed when whole: an interrupted one is written again
        nexmark.write_parquet(
            partial,
            events=epochs * _EPOCH + (_BEFORE + rest if rest else 0),
            seed=SEED,
            kinds=["bid"],
            bid_columns=COLUMNS,
            files=FILES,
        )
        partial.rename(folder)
    files = sorted(folder.glob("bid/*.parquet"))
    return str(folder / "bid" / "*.parquet"), sum(path.stat().st_size for path in files)


def files(data: Path, rows: int, kind: str) -> tuple[str, int]:
    """Glob or path, and size in bytes, of so many bids as `kind`: one of NAMES."""
    source, size = bids(data, rows)
    if kind == "bids":
        return source, size
    path = data / f"bids-{rows}-seed-{SEED}.{kind}"
    if not path.exists():
        partial = path.with_suffix(".partial")
        _write(pl.read_parquet(source), partial, kind)
        partial.rename(path)
    return str(path), path.stat().st_size


def _write(frame: pl.DataFrame, path: Path, kind: str) -> None:
    match kind:
        case "parquet":
            frame.write_parquet(path, row_group_size=500_000)
        case "ipc":
            frame.write_ipc(path, record_batch_size=500_000)
        case "csv":
            frame.write_csv(path)
        case "ndjson":
            frame.write_ndjson(path)
        case "avro":
            frame.write_avro(path, compression="snappy")
        case _:
            raise ValueError(kind)
