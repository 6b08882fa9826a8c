"""The Parquet files that all contenders read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arrowstream import nexmark

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = ("auction", "bidder", "price", "channel", "date_time")
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
