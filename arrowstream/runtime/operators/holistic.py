"""Aggregations that need a window's rows: they are kept, and Polars evaluates them when the window closes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import polars as pl

from arrowstream.config import NO_TIME
from arrowstream.plan.expressions import root_columns
from arrowstream.protocols import Snapshot
from arrowstream.runtime.operators.bounds import bounds
from arrowstream.runtime.operators.rows_in import (
    START,
    broken_promise,
    clock_of,
    judge,
    partition_of,
    physical,
    ranks,
)
from arrowstream.runtime.operators.runs import RunLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from arrowstream.plan.nodes import Holistic, Partial, Window
    from arrowstream.runtime.operators.states import Array
    from arrowstream.types import Json

_TIME = "__arrowstream_time"
_RANK = "__arrowstream_rank"
_ROW_WATERMARK = "__arrowstream_row_watermark"
_NO_KEY = "__arrowstream_no_key"
_FIRST_RUN_ID, _RUN_ID_STEP = 1, 2  # odd: partial states have even ones


class HolisticWindows:
    """Rows of open windows, in canonical order (event time, partition, position) when they are evaluated.

    Each window is evaluated by itself, so that no bit of a result depends on what closes at the same time.
    """

    def __init__(self, node: Window, aggregations: Sequence[Holistic | Partial], *, tracked: bool) -> None:
        self._node = node
        self._tracked = tracked  # rows are noted for the next snapshot
        self._windows = bounds(node)
        self.names = [aggregation.name for aggregation in aggregations]
        by_name = {expr.meta.output_name(): expr for expr in node.aggs}
        self._expressions = [by_name[name] for name in self.names]
        schema = node.inputs[0].schema
        roots = set[str]().union(*(root_columns(e, schema) for e in [*node.group_by, *self._expressions]))
        self._columns = [name for name in schema if name in roots]
        self._sorted = self._empty()
        self._fresh: list[pl.DataFrame] = []
        self._unsaved: list[pl.DataFrame] = []
        self._rows_seen = 0
        self._closed = NO_TIME
        self._open_from = NO_TIME
        self._late = np.zeros(3, dtype=np.int64)
        self._runs = RunLog(_FIRST_RUN_ID, _RUN_ID_STEP)

    def _empty(self) -> pl.DataFrame:
        schema: dict[str, pl.DataType | type[pl.DataType]] = {
            name: self._node.inputs[0].schema[name] for name in self._columns
        }
        schema |= {_TIME: pl.Int64, _RANK: pl.Int64, _ROW_WATERMARK: pl.Int64}
        return pl.DataFrame(schema=schema)

    @property
    def late_rows(self) -> int:
        """Rows that were late for all their windows."""
        return int(self._late[0])

    @property
    def missed_windows(self) -> int:
        """Windows missed by rows that entered others."""
        return int(self._late[1])

    @property
    def lateness_needed(self) -> int:
        """The lateness that would have kept all; 0 if nothing was late."""
        return int(self._late[2])

    @property
    def state_rows(self) -> int:
        """Rows held."""
        return self._sorted.height + sum(frame.height for frame in self._fresh)

    def process(self, frame: pl.DataFrame) -> None:
        """Keep the rows that enter a window."""
        times = physical(frame.get_column(self._node.index_column))
        clock = clock_of(frame, self._node)
        judged = judge(times, clock, self._node.inputs[0].lateness or 0, self._windows)
        if not clock.size and (judged.entered & (judged.first_end <= self._closed)).any():
            raise broken_promise()
        self._late[0] += judged.late_rows
        self._late[1] += judged.missed_windows
        self._late[2] = max(self._late[2], judged.lateness_needed)
        kept = frame.select(  # maybe no column at all, where rows are only counted
            *self._columns,
            pl.Series(_TIME, times),
            pl.Series(_RANK, ranks(partition_of(frame), self._rows_seen, np.arange(frame.height))),
            pl.Series(_ROW_WATERMARK, judged.watermark),
        )
        if not judged.entered.all():
            kept = kept.filter(pl.Series(judged.entered))
        self._rows_seen += frame.height
        if kept.height:
            self._fresh.append(kept)
            if self._tracked:
                self._unsaved.append(kept)

    def close(self, watermark: int, open_from: int) -> pl.DataFrame | None:
        """The windows that begin before `open_from`, by start and first row; None if there is no new one."""
        if open_from <= self._open_from:
            return None
        if self._fresh:
            self._sorted = _unflagged(pl.concat([self._sorted, *self._fresh]).sort(_TIME, _RANK))
            self._fresh = []
        times = self._sorted.get_column(_TIME).rechunk().to_numpy()
        starts = self._starts_of(times, open_from)
        begin = np.searchsorted(times, starts)
        end = np.searchsorted(times, self._windows.ends(starts))
        closed = [
            self._evaluated(self._sorted.slice(b, e - b), start)
            for start, b, e in zip(starts.tolist(), begin.tolist(), end.tolist(), strict=True)
        ]
        self._closed, self._open_from = watermark, open_from
        # A slice would go on holding the memory of the closed windows.
        self._sorted = self._sorted.filter(pl.col(_TIME) >= open_from)
        schema = self._evaluated(self._empty(), 0)
        return pl.concat([schema, *closed])

    def _starts_of(self, times: Array, open_from: int) -> Array:
        """Starts of the windows before `open_from` that may have rows, ascending."""
        start = np.unique(self._windows.starts(times))
        geometry = self._windows.geometry
        found = []
        for _ in range(-(-geometry.period // geometry.every)):
            found.append(start)
            start = self._windows.earlier(start)
        starts = np.unique(np.concatenate(found))
        return starts[(starts >= self._open_from) & (starts < open_from)]

    def _evaluated(self, rows: pl.DataFrame, start: int) -> pl.DataFrame:
        """Keys, window start and aggregates of one window."""
        end = int(self._windows.ends(np.array([start], dtype=np.int64))[0])
        keys = self._node.group_by or (pl.col(_NO_KEY),)
        return (
            rows.filter(pl.col(_ROW_WATERMARK) < end)
            .with_columns(pl.lit(0).alias(_NO_KEY))
            .group_by(*keys, maintain_order=True)
            .agg(*self._expressions, pl.col(_RANK).min())
            .sort(_RANK)
            .select(*self._node.keys, pl.lit(start, dtype=pl.Int64).alias(START), *self.names)
        )

    def snapshot(self) -> Snapshot:
        """Only rows that have come since the last snapshot are written."""
        values: dict[str, Json] = {
            "rows_seen": self._rows_seen,
            "closed": self._closed,
            "open_from": self._open_from,
            "late": [int(x) for x in self._late],
        }
        whole = self._runs.should_rewrite(self.state_rows)
        frames = [self._sorted, *self._fresh] if whole else self._unsaved
        rows = pl.concat([self._empty(), *frames]).filter(pl.col(_TIME) >= self._open_from)
        self._unsaved = []
        return Snapshot(values, self._runs.add(rows, whole=whole))

    def restore(self, values: dict[str, Json], runs: Sequence[tuple[int, pa.Table]]) -> None:
        """Take over the state of a snapshot."""
        self._rows_seen = int(values["rows_seen"])  # type: ignore[arg-type]
        self._closed = int(values["closed"])  # type: ignore[arg-type]
        self._open_from = int(values["open_from"])  # type: ignore[arg-type]
        self._late[:] = cast("list[int]", values["late"])
        frames = [frame.cast(self._empty().schema) for frame in self._runs.restore(runs)]
        self._fresh = [frame.filter(pl.col(_TIME) >= self._open_from) for frame in frames]


def _unflagged(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame without Polars' notes that a column is sorted, which depend on where batches were cut.

    With them Polars goes other ways, to other bits: it sums up the groups of a sorted key otherwise, and
    among equal values `arg_max` finds another.
    """
    every = np.arange(frame.height, dtype=np.uint32)
    columns = frame.get_columns()
    return pl.DataFrame(
        [column.gather(every) if any(column.flags.values()) else column for column in columns]
    )
