"""A folder with some bids, and a way to write a pipeline beside them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest

from arrowstream.pipelines import lint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BIDS = pl.DataFrame(
    {
        "time": [datetime(2026, 1, 1) + timedelta(seconds=second) for second in range(60)],
        "auction": [second % 3 for second in range(60)],
        "price": [second * 7 % 50 for second in range(60)],
        "channel": ["Apple" if second % 2 else "Google" for second in range(60)],
    }
)


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    """The folder; `bids.parquet` is in it."""
    BIDS.write_parquet(tmp_path / "bids.parquet")
    return tmp_path


@pytest.fixture
def write(bids: Path) -> Callable[..., Path]:
    """Writes a pipeline file beside the bids."""

    def written(text: str, name: str = "pipeline.yaml") -> Path:
        path = bids / name
        path.write_text(text)
        return path

    return written


@pytest.fixture
def mistakes(write: Callable[..., Path]) -> Callable[..., list[str]]:
    """What lint says of a text, line by line, without the folder."""

    def found(text: str, name: str = "pipeline.yaml", **options: object) -> list[str]:
        path = write(text, name)
        options.setdefault("environment", {})
        return [str(mistake).replace(f"{path.parent}/", "") for mistake in lint(path, **options)]

    return found
