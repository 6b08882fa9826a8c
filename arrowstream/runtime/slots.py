"""Where dead letters come from: the number of each slot of the input in its partition."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import polars as pl

from arrowstream.config import PARTITION, SLOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from arrowstream.types import Json


class Origin(NamedTuple):
    """Columns in which a source says where a row is from: the file, and the row's number in it."""

    file: str | None = None
    row: str | None = None


class Slots:
    """Counts the slots of every partition, and says where those pushed last lie.

    Parameters
    ----------
    partitions
        Names of the source's partitions.
    """

    __slots__ = ("_before", "_counts", "_partition_of", "_partitions")

    def __init__(self, partitions: Sequence[str]) -> None:
        self._partitions = list(partitions)
        self._counts = np.zeros(len(self._partitions), np.int64)
        self._before = self._counts
        self._partition_of: NDArray[np.uint32] | None = None

    def join(self, place: int, name: str) -> None:
        """A new partition in this place."""
        more = max(0, place + 1 - len(self._partitions))
        self._partitions += [""] * more
        self._counts = np.append(self._counts, np.zeros(more, np.int64))
        self._partitions[place], self._counts[place] = name, 0

    def enter(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with its slots numbered from 0: the column SLOT."""
        self._before = self._counts
        if len(self._partitions) == 1:
            self._counts = self._before + frame.height
        else:
            self._partition_of = cast("NDArray[np.uint32]", frame.get_column(PARTITION).to_numpy())
            self._counts = self._before + np.bincount(self._partition_of, minlength=len(self._partitions))
        numbers = pl.int_range(frame.height, dtype=pl.UInt32, eager=True)
        return frame.with_columns(numbers.alias(SLOT))

    def places(self, slots: pl.Series) -> tuple[pl.Series, pl.Series]:
        """Partition and "row 12", counted from 0 in the partition, of slots of the frame that entered last.

        Null where a slot is null: of rows that are no longer those of the input.
        """
        known = slots.is_not_null()
        names, rows = self.rows(slots.fill_null(0))
        texts = pl.select(pl.format("row {}", rows)).to_series()
        nothing = pl.lit(None, pl.String)
        both = pl.select(
            partition=pl.when(known).then(names).otherwise(nothing),
            position=pl.when(known).then(texts).otherwise(nothing),
        )
        return both.get_column("partition"), both.get_column("position")

    def rows(self, slots: pl.Series) -> tuple[pl.Series, pl.Series]:
        """Partition, and number from 0 in the partition, of slots of the frame that entered last."""
        numbers = cast("NDArray[np.uint32]", slots.to_numpy())
        if self._partition_of is None:
            names = pl.Series([self._partitions[0]], dtype=pl.String).new_from_index(0, len(slots))
            return names, pl.Series(numbers + self._before[0])
        order = np.argsort(self._partition_of, kind="stable")
        starts = np.searchsorted(self._partition_of[order], np.arange(len(self._partitions)))
        rank = np.empty(order.size, np.int64)
        rank[order] = np.arange(order.size) - starts[self._partition_of[order]]
        of = self._partition_of[numbers]
        names = pl.Series(self._partitions, dtype=pl.String).gather(of)
        return names, pl.Series(rank[numbers] + self._before[of])

    def values(self) -> dict[str, Json]:
        """The counts, for a checkpoint."""
        return dict(zip(self._partitions, self._counts.tolist(), strict=True))

    def restore(self, values: Mapping[str, Json]) -> None:
        """Go on counting."""
        self._counts = np.array([values.get(name, 0) for name in self._partitions], np.int64)
