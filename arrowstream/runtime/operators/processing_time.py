"""The time at which an epoch was begun, as a column."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import polars as pl

from arrowstream.plan.metadata import PROCESSING_TIME
from arrowstream.protocols import Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from arrowstream.runtime.outside import WallClock
    from arrowstream.types import Json


class ProcessingTimeOperator:
    """Adds the time of the epoch to its rows.

    May block: no. Called by: the pipeline. Survives a crash: nothing; the time comes from the PLAN of the
    epoch.
    """

    __slots__ = ("_column", "_time", "operator_id", "outside")

    def __init__(self, operator_id: str, column: str, outside: WallClock) -> None:
        self.operator_id = operator_id
        self.outside = outside
        self._column = column
        self._time = pl.Series(column, [None], PROCESSING_TIME)

    def begin_epoch(self, condition: Json) -> None:
        """Take this time, in microseconds since 1970."""
        self._time = pl.Series(self._column, [cast("int", condition)], pl.Int64).cast(PROCESSING_TIME)

    def process(self, frame: pl.DataFrame) -> list[pl.DataFrame]:
        """The rows with their new column, which a column of that name gives way to."""
        return [frame.with_columns(self._time.new_from_index(0, frame.height))]

    def on_watermark(self, watermark: int) -> tuple[list[pl.DataFrame], int]:
        """Nothing is held back."""
        return [], watermark

    def snapshot(self) -> Snapshot:
        """Empty."""
        return Snapshot()

    def restore(self, values: dict[str, Json], runs: Sequence[tuple[int, pa.Table]]) -> None:
        """Nothing to take over."""
