"""What window operators take out of a frame of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from arrowstream.config import CLOCK, NO_TIME, PARTITION, PARTITION_SHIFT
from arrowstream.errors import DataError
from arrowstream.plan.lower import in_company

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from arrowstream.plan.nodes import Windowed
    from arrowstream.runtime.operators.bounds import Bounds
    from arrowstream.runtime.operators.states import Array

_ANCHOR = "__arrowstream_anchor"
START = "__arrowstream_start"
"""Column of closed groups: the start of their window, physical."""

NO_CLOCK = np.zeros(0, dtype=np.int64)
NO_RANKS = NO_CLOCK
NO_PARTITION = np.zeros(0, dtype=np.uint32)


def physical(column: pl.Series) -> Array:
    """Times as int64 of the column's unit; zero copy for one chunk."""
    return column.cast(pl.Int64).rechunk().to_numpy()  # unlike to_physical, cast builds no query


def without(frame: pl.DataFrame, names: Collection[str]) -> pl.DataFrame:
    """The frame without those of these columns that it has. `DataFrame.drop` would build a query for it."""
    if not any(name in names for name in frame.columns):
        return frame
    return pl.DataFrame([column for column in frame.get_columns() if column.name not in names])


def clock_of(frame: pl.DataFrame, node: Windowed) -> Array:
    """The running maximum before each row, or no values where nothing is late."""
    if node.inputs[0].lateness is None:
        return NO_CLOCK
    return frame.get_column(CLOCK).rechunk().to_numpy()


def partition_of(frame: pl.DataFrame) -> Array:
    """The partition of each row, or no values where there is only one."""
    if PARTITION not in frame.columns:
        return NO_PARTITION
    return frame.get_column(PARTITION).rechunk().to_numpy()


def evaluate(frame: pl.DataFrame, expressions: Sequence[pl.Expr]) -> list[pl.Series]:
    """The values of expressions that look at each row alone; plain columns are not copied."""
    plain = [_plain_name(expr) for expr in expressions]
    if all(name is not None for name in plain):
        return [frame.get_column(name) for name in plain if name is not None]
    numbered = [expr.alias(str(i)) for i, expr in enumerate(expressions)]
    anchor = pl.col(frame.columns[0]).alias(_ANCHOR)  # literals take the frame's height from it
    return in_company(frame, lambda rows: rows.select(anchor, *numbered)).get_columns()[1:]


def _plain_name(expr: pl.Expr) -> str | None:
    return expr.meta.root_names()[0] if expr.meta.is_column() else None


@dataclass(frozen=True, slots=True)
class Lateness:
    """Which rows are late, by the definition: a window is missed if it ends at or before the row's watermark.

    Attributes
    ----------
    entered
        Rows that enter at least one window.
    first_end
        End of the first window that each row lies in.
    watermark
        Of every row, `NO_TIME` before anything is known.
    late_rows, missed_windows, lateness_needed
        Rows that enter none; windows missed by rows that enter others; the lateness that would have kept all.
    """

    entered: Array
    first_end: Array
    watermark: Array
    late_rows: int
    missed_windows: int
    lateness_needed: int


def judge(times: Array, clock: Array, lateness: int, windows: Bounds) -> Lateness:
    """Find late rows and rows without a window, for operators that do not leave it to the kernel."""
    last_start = windows.starts(times)
    last_end = windows.ends(last_start)
    inside = last_end > times
    first_end, every = last_end, windows.geometry.every
    if windows.arithmetic:
        first_end = last_end - (last_end - times - 1) // every * every
    if not clock.size:
        return Lateness(inside, first_end, np.full(len(times), NO_TIME), 0, 0, 0)
    known = clock != NO_TIME
    watermark = np.where(known, clock - lateness, NO_TIME)
    affected = inside & known & (first_end <= watermark)
    late = affected & (last_end <= watermark)
    partly = affected & ~late
    missed = (watermark[partly] - first_end[partly]) // every + 1
    needed = (clock - first_end + 1)[affected]
    return Lateness(
        inside & ~late,
        first_end,
        watermark,
        int(late.sum()),
        int(missed.sum()),
        int(needed.max(initial=0)),
    )


def broken_promise() -> DataError:
    """The error where a row lies in a closed window although nothing can be late."""
    return DataError(
        "a row is older than the source's statistics say any remaining row can be",
        hint="rewrite the files with right statistics, or close windows by the rows: give lateness=",
    )


def ranks(partition: Array, base_row: int, rows: Array) -> Array:
    """Where rows stand: partition, then number of the row."""
    rank = rows.astype(np.int64) + base_row
    if partition.size:
        rank += partition[rows].astype(np.int64) << PARTITION_SHIFT
    return rank
