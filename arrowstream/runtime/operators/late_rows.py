"""The rows that enter none of their windows any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from arrowstream.config import CLOCK, NO_TIME
from arrowstream.protocols import Snapshot
from arrowstream.runtime.operators.bounds import bounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from arrowstream.plan.nodes import LateRows
    from arrowstream.types import Json


class LateRowsOperator:
    """Keeps the rows whose last window had ended at the watermark of the row's own partition.

    A row that lies between windows (`period` shorter than `every`) is in none, and is not late.

    May block: no. Called by: the pipeline. Survives a crash: nothing, it has no state.
    """

    __slots__ = ("_bounds", "_node", "operator_id")

    def __init__(self, operator_id: str, node: LateRows) -> None:
        self.operator_id = operator_id
        self._node = node
        self._bounds = bounds(node)

    def process(self, frame: pl.DataFrame) -> list[pl.DataFrame]:
        """The late ones among these rows."""
        lateness = self._node.lateness
        if lateness is None:
            return []
        clock = frame[CLOCK].to_numpy()
        late = clock != NO_TIME
        if not late.any():
            return []
        times = frame[self._node.index_column].cast(pl.Int64).to_numpy()
        ends = self._bounds.ends(self._bounds.starts(times))
        late &= (times < ends) & (ends <= clock - np.where(late, lateness, 0))
        return [frame.filter(pl.Series(late))] if late.any() else []

    def on_watermark(self, watermark: int) -> tuple[list[pl.DataFrame], int]:
        """Nothing is held back."""
        return [], watermark

    def snapshot(self) -> Snapshot:
        """Empty."""
        return Snapshot()

    def restore(self, values: dict[str, Json], runs: Sequence[tuple[int, pa.Table]]) -> None:
        """Nothing to take over."""
