"""The runs of one part of an operator's state: what is written, what is needed, when to start afresh."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from arrowstream.protocols import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from polars.datatypes import DataTypeClass

_REWRITE_FACTOR = 2  # runs may hold twice the live rows: writing stays proportional to what changes
_REWRITE_SLACK_ROWS = 4096
_RUNS_MAX = 64  # opening very many small files would make a restart slow


class RunLog:
    """Ids and sizes of live runs.

    Parameters
    ----------
    first_id, step
        Ids are `first_id`, `first_id + step`, …: parts of one operator keep apart.
    """

    def __init__(self, first_id: int, step: int) -> None:
        self._next_id = first_id
        self._step = step
        self._live: list[tuple[int, int]] = []

    def should_rewrite(self, live_rows: int) -> bool:
        """Whether the next run should hold everything, and replace all before it."""
        rows = sum(rows for _, rows in self._live)
        return rows > _REWRITE_FACTOR * live_rows + _REWRITE_SLACK_ROWS or len(self._live) >= _RUNS_MAX

    def add(self, frame: pl.DataFrame, *, whole: bool) -> tuple[Run, ...]:
        """All live runs, with a new one of the rows of `frame` if there are any."""
        if whole:
            self._live.clear()
        runs = [Run(run_id, None) for run_id, _ in self._live]
        if frame.height:
            stored = frame.cast({name: _storable(dtype) for name, dtype in frame.schema.items()})
            runs.append(Run(self._next_id, stored.rechunk().to_arrow()))
            self._live.append((self._next_id, frame.height))
            self._next_id += self._step
        return tuple(runs)

    def restore(self, runs: Sequence[tuple[int, pa.Table]]) -> list[pl.DataFrame]:
        """Take over the runs of a snapshot; returns their rows, in the order of writing.

        Columns of 128-bit integers are text in them: the caller knows the types.
        """
        self._live = [(run_id, table.num_rows) for run_id, table in runs]
        if self._live:
            self._next_id = max(run_id for run_id, _ in self._live) + self._step
        return [pl.DataFrame(table) for _, table in runs]


def _storable(dtype: pl.DataType | DataTypeClass) -> pl.DataType | DataTypeClass:
    """The type as Arrow can hold it: it has no integers of 128 bits."""
    if dtype in (pl.Int128, pl.UInt128):
        return pl.String
    if isinstance(dtype, pl.List):
        return pl.List(_storable(dtype.inner))
    if isinstance(dtype, pl.Array):
        return pl.Array(_storable(dtype.inner), dtype.size)
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: _storable(field.dtype) for field in dtype.fields})
    return dtype
