"""The first n rows of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from arrowstream.protocols import Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    import pyarrow as pa

    from arrowstream.types import Json


class LimitOperator:
    """Lets the first `n` rows pass.

    May block: no. Called by: the pipeline. Survives a crash: how many rows may still pass.
    """

    __slots__ = ("operator_id", "remaining")

    def __init__(self, operator_id: str, n: int) -> None:
        self.operator_id = operator_id
        self.remaining = n

    @property
    def satisfied(self) -> bool:
        """Whether no further row will pass."""
        return self.remaining == 0

    def process(self, frame: pl.DataFrame) -> list[pl.DataFrame]:
        """As many of these rows as may still pass."""
        if not self.remaining:
            return []
        passed = frame.head(self.remaining)
        self.remaining -= passed.height
        return [passed]

    def on_watermark(self, watermark: int) -> tuple[list[pl.DataFrame], int]:
        """Nothing is held back."""
        return [], watermark

    def snapshot(self) -> Snapshot:
        """The rows that may still pass."""
        return Snapshot({"remaining": self.remaining})

    def restore(self, values: dict[str, Json], runs: Sequence[tuple[int, pa.Table]]) -> None:  # noqa: ARG002
        """Go on counting."""
        self.remaining = cast("int", values["remaining"])
