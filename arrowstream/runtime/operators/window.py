"""Event-time windows: rows are folded into panes, and panes become windows when the watermark passes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import polars as pl

from arrowstream.config import NO_TIME
from arrowstream.plan.nodes import Holistic, Partial
from arrowstream.protocols import Run, Snapshot
from arrowstream.runtime.operators.bounds import bounds
from arrowstream.runtime.operators.folded import FoldedWindows
from arrowstream.runtime.operators.holistic import HolisticWindows
from arrowstream.runtime.operators.key_codec import unsupported
from arrowstream.runtime.operators.rows_in import START

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    import pyarrow as pa

    from arrowstream.plan.nodes import Window
    from arrowstream.protocols import Operator
    from arrowstream.types import Json


def foldable(node: Window) -> bool:
    """Whether groups of this node can be found by the kernel (else its rows are kept)."""
    dtypes = node.inputs[0].schema
    keys = pl.LazyFrame(schema=dtypes).select(*node.group_by).collect_schema() if node.group_by else {}
    return not any(unsupported(dtype) for dtype in keys.values())


def window_operator(
    node: Window, operator_id: str, *, partitions: int, checkpointing: bool, helper: Executor | None
) -> Operator:
    """The operator of a window node.

    Parameters
    ----------
    partitions
        Partitions of the source; with several, frames carry `PARTITION`.
    checkpointing
        Whether snapshots will be taken.
    helper
        One thread, on which rows are folded, in their order, while the groups of the next ones are looked up.
    """
    return WindowOperator(
        node, operator_id, partitions=partitions, checkpointing=checkpointing, helper=helper
    )


class WindowOperator:
    """Folds what can be folded, keeps rows for the rest, and puts both together when windows close.

    What survives a crash: all of it, as of the last snapshot.
    """

    def __init__(
        self, node: Window, operator_id: str, *, partitions: int, checkpointing: bool, helper: Executor | None
    ) -> None:
        self.operator_id = operator_id
        self._node = node
        self._bounds = bounds(node)
        folds = foldable(node)
        partials = [a for a in node.aggregations if isinstance(a, Partial)] if folds else []
        kept = [a for a in node.aggregations if isinstance(a, Holistic) or not folds]
        self._folded = None
        if partials or (folds and not kept):
            self._folded = FoldedWindows(
                node, partials, several=partitions > 1, tracked=checkpointing, helper=helper
            )
        self._kept = HolisticWindows(node, kept, tracked=checkpointing) if kept or not folds else None
        self._watermark = NO_TIME

    @property
    def _parts(self) -> list[FoldedWindows | HolisticWindows]:
        return [part for part in (self._folded, self._kept) if part is not None]

    @property
    def late_rows(self) -> int:
        """Rows that were late for all their windows."""
        return self._parts[0].late_rows

    @property
    def missed_windows(self) -> int:
        """Windows missed by rows that entered others."""
        return self._parts[0].missed_windows

    @property
    def lateness_needed(self) -> int | None:
        """The lateness, in units of the column, that would have kept every row in all its windows."""
        return self._parts[0].lateness_needed or None

    @property
    def state_rows(self) -> int:
        """Groups and rows held."""
        return sum(part.state_rows for part in self._parts)

    def process(self, frame: pl.DataFrame) -> list[pl.DataFrame]:
        """Take rows in; nothing comes out before the watermark says so."""
        if frame.height:
            for part in self._parts:
                part.process(frame)
        return []

    def on_watermark(self, watermark: int) -> tuple[list[pl.DataFrame], int]:
        """Close the windows that end at or before `watermark`."""
        self._watermark = max(self._watermark, watermark)
        open_from = self._bounds.open_from(self._watermark)
        closed = [part.close(self._watermark, open_from) for part in self._parts]
        frames = []
        if closed[0] is not None and closed[0].height:
            frame = closed[0] if len(closed) == 1 or closed[1] is None else closed[0].hstack(
                closed[1].select(self._kept.names)  # type: ignore[union-attr]
            )  # fmt: skip
            frames.append(self._finished(frame))
        return frames, open_from

    def _finished(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The columns of the node's schema, from keys, window start and aggregates."""
        node = self._node
        index = start = frame.get_column(START)
        dtype = pl.Datetime(node.unit, node.time_zone)
        columns = {name: frame.get_column(name) for name in frame.columns}
        if node.include_boundaries or node.label == "right":
            end = pl.Series(self._bounds.ends(start.to_numpy()))
            if node.include_boundaries:
                columns["_lower_boundary"] = start.cast(dtype)
                columns["_upper_boundary"] = end.cast(dtype)
            if node.label == "right":
                index = end
        columns[node.index_column] = index.cast(dtype)
        return pl.DataFrame([columns[name].alias(name) for name in node.schema])

    def snapshot(self) -> Snapshot:
        """State as of the rows processed so far."""
        values: dict[str, Json] = {"watermark": self._watermark}
        runs: list[Run] = []
        for name, part in self._named_parts():
            snapshot = part.snapshot()
            values[name] = {"values": snapshot.values, "runs": [run.id for run in snapshot.runs]}
            runs.extend(snapshot.runs)
        return Snapshot(values, tuple(runs))

    def restore(self, values: dict[str, Json], runs: Sequence[tuple[int, pa.Table]]) -> None:
        """Take over the state of a snapshot."""
        self._watermark = cast("int", values["watermark"])
        for name, part in self._named_parts():
            own = cast("dict[str, Any]", values[name])
            part.restore(own["values"], [run for run in runs if run[0] in own["runs"]])

    def _named_parts(self) -> list[tuple[str, FoldedWindows | HolisticWindows]]:
        # Ids of runs are distinct over the parts: even for folded states, odd for kept rows.
        named: list[tuple[str, FoldedWindows | HolisticWindows]] = []
        if self._folded is not None:
            named.append(("folded", self._folded))
        if self._kept is not None:
            named.append(("kept", self._kept))
        return named
