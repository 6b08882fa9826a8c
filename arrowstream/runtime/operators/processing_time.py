"""The time at which an epoch was begun, and its number, as columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import polars as pl

from arrowstream.plan.metadata import PROCESSING_TIME
from arrowstream.protocols import Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from arrowstream.plan.nodes import ProcessingTime
    from arrowstream.runtime.outside import WallClock
    from arrowstream.types import Json


class ProcessingTimeOperator:
    """Adds the time and the number of the epoch to its rows.

    May block: no. Called by: the pipeline. Survives a crash: nothing; both come from the PLAN of the epoch.
    """

    __slots__ = ("_columns", "_node", "operator_id", "outside")

    def __init__(self, operator_id: str, node: ProcessingTime, outside: WallClock) -> None:
        self.operator_id = operator_id
        self.outside = outside
        self._node = node
        self._columns: list[pl.Series] = []

    def begin_epoch(self, condition: Json) -> None:
        """Take the time, in microseconds since 1970, and the number of the epoch."""
        time, number = cast("list[int]", condition)
        values = [
            (self._node.time_column, pl.Series([time], dtype=pl.Int64).cast(PROCESSING_TIME)),
            (self._node.batch_column, pl.Series([number], dtype=pl.Int64)),
        ]
        self._columns = [value.alias(name) for name, value in values if name is not None]

    def process(self, frame: pl.DataFrame) -> list[pl.DataFrame]:
        """The rows with their new columns."""
        return [frame.with_columns(column.new_from_index(0, frame.height) for column in self._columns)]

    def on_watermark(self, watermark: int) -> tuple[list[pl.DataFrame], int]:
        """Nothing is held back."""
        return [], watermark

    def snapshot(self) -> Snapshot:
        """Empty."""
        return Snapshot()

    def restore(self, values: dict[str, Json], runs: Sequence[tuple[int, pa.Table]]) -> None:
        """Nothing to take over."""
