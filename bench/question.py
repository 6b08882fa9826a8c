"""What a question of the benchmark consists of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import polars as pl
    import pyarrow as pa

Result: TypeAlias = "pl.DataFrame | pa.Table | None"
"""A whole result in memory, or None where it went elsewhere (a sink)."""


@dataclass(frozen=True, slots=True)
class Input:
    """What a contender is given."""

    rows: int
    files: str
    """Glob of the Parquet files, or the one file of another format."""
    scratch: Path
    """An empty folder of its own for output."""


@dataclass(frozen=True, slots=True)
class Target:
    """`contender` should be at least `at_least` times as fast as the fastest of `against`."""

    contender: str
    against: Sequence[str]
    at_least: float


@dataclass(frozen=True, slots=True)
class MemoryTarget:
    """`contender` should peak at no more than `at_most` times the memory of `against`."""

    contender: str
    against: str
    at_most: float


@dataclass(frozen=True, slots=True)
class Question:
    """One comparison."""

    title: str
    asks: str
    contenders: Mapping[str, Callable[[Input], Result]]
    targets: Sequence[Target | MemoryTarget]
    keys: Sequence[str] = ()
    """Columns to sort by before results are compared; none where there is nothing to compare."""
    rows_factor: Mapping[str, float] = field(default_factory=dict)
    """Contenders that are given another multiple of the rows: compared by time a row."""
    input: str | None = "bids"
    """Where rows come from: "bids", the Parquet files; a format, one file of it; None: generated."""
    fresh_process: bool = False
    """Whether every run gets a new process: where peak memory is the question."""
