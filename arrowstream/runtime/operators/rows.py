"""Stateless Polars verbs, several of them in one lazy plan per micro-batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arrowstream.protocols import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl
    import pyarrow as pa

    from arrowstream.types import Json


class RowsOperator:
    """Applies a compiled chain of stateless verbs.

    May block: no. Called by: the pipeline. Survives a crash: nothing, it has no state.
    """

    __slots__ = ("_apply", "operator_id")

    def __init__(self, operator_id: str, apply: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        self.operator_id = operator_id
        self._apply = apply

    def process(self, frame: pl.DataFrame) -> list[pl.DataFrame]:
        """The rows that the verbs make of these."""
        return [self._apply(frame)]

    def on_watermark(self, watermark: int) -> tuple[list[pl.DataFrame], int]:
        """Nothing is held back."""
        return [], watermark

    def snapshot(self) -> Snapshot:
        """Empty."""
        return Snapshot()

    def restore(self, values: dict[str, Json], runs: Sequence[tuple[int, pa.Table]]) -> None:
        """Nothing to take over."""
