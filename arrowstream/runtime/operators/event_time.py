"""Event time: rows without one, the clock of each row, and the watermark."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import polars as pl

from arrowstream.config import CLOCK, END_OF_TIME, NO_TIME, PARTITION
from arrowstream.errors import DataError
from arrowstream.protocols import Snapshot
from arrowstream.runtime.operators.rejects import Rejects
from arrowstream.runtime.operators.rows_in import without
from arrowstream.runtime.watermark import PartitionClocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

    from arrowstream.runtime.turns import Turn
    from arrowstream.runtime.watermark import Int64s, UInt32s
    from arrowstream.types import Json, OnError


class EventTimeOperator:
    """Declares a column as event time.

    With `lateness`, each row gets the hidden column CLOCK, and the watermark is the smallest clock of the
    partitions that have not ended, minus `lateness`. Without, the watermark is the input's horizon: the
    smallest event time that the source can still deliver.

    May block: no. Called by: the pipeline. Survives a crash: the clocks, and the counts of rows.

    Parameters
    ----------
    operator_id
        Name in errors, metrics and checkpoints.
    column, dtype
        The event-time column and its type.
    lateness
        In physical units of the column; None: nothing is late.
    on_error
        What to do with a row whose event time is null.
    partitions
        Names of the partitions of the input, one or more.
    keeps_clock
        Whether an operator downstream wants CLOCK.
    letters_read
        Whether somebody reads such rows as dead letters.
    unbounded
        Whether further partitions may come when all have ended.
    """

    __slots__ = (
        "_clocks",
        "_ended",
        "_highest",
        "_on_error",
        "_partitions",
        "_rows",
        "column",
        "dtype",
        "keeps_clock",
        "lateness",
        "operator_id",
        "rejects",
        "unbounded",
    )

    def __init__(
        self,
        operator_id: str,
        *,
        column: str,
        dtype: pl.DataType,
        lateness: int | None,
        on_error: OnError,
        partitions: Sequence[str],
        keeps_clock: bool = True,
        letters_read: bool = False,
        unbounded: bool = False,
    ) -> None:
        self.operator_id = operator_id
        self.column = column
        self.dtype = dtype
        self.lateness = lateness
        self.rejects = Rejects(on_error, are_read=letters_read)
        self._on_error = on_error
        self._partitions = list(partitions)
        self.unbounded = unbounded
        self.keeps_clock = keeps_clock
        self._clocks = PartitionClocks(len(self._partitions))
        self._rows = np.zeros(len(self._partitions), dtype=np.int64)
        self._highest = NO_TIME
        self._ended: frozenset[int] = frozenset()

    @property
    def partition_count(self) -> int:
        """How many partitions the input has."""
        return len(self._partitions)

    @property
    def highest(self) -> int:
        """The largest event time seen; NO_TIME before the first row."""
        return self._highest

    def process(self, frame: pl.DataFrame) -> list[pl.DataFrame]:
        """The rows that have an event time, with their clocks."""
        frame = self._without_null_times(frame)
        if not frame.height:
            return []
        if self.lateness is None:
            self._highest = max(self._highest, cast("int", frame[self.column].cast(pl.Int64).max()))
            return [without(frame, (CLOCK,))]
        times = self._times(frame)
        clock = self._clocks.advance(times, self._partition_of(frame))
        self._highest = int(self._clocks.maxima.max())
        if not self.keeps_clock:
            return [without(frame, (CLOCK,))]
        return [frame.with_columns(pl.Series(CLOCK, clock))]

    def _times(self, frame: pl.DataFrame) -> Int64s:
        return cast("Int64s", frame[self.column].cast(pl.Int64).to_numpy())

    def _partition_of(self, frame: pl.DataFrame) -> UInt32s | None:
        if len(self._partitions) == 1:
            return None
        return cast("UInt32s", frame[PARTITION].to_numpy())

    def _without_null_times(self, frame: pl.DataFrame) -> pl.DataFrame:
        times = frame[self.column]
        if times.null_count():
            if self._on_error == "raise":
                raise self._null_time(frame)
            self.rejects.add(frame.filter(times.is_null()), f'the event time "{self.column}" is null')
            self._count_rows(frame)
            return frame.filter(times.is_not_null())
        self._count_rows(frame)
        return frame

    def _count_rows(self, frame: pl.DataFrame) -> None:
        partitions = self._partition_of(frame)
        if partitions is None:
            self._rows[0] += frame.height
        else:
            self._rows += np.bincount(partitions, minlength=self._rows.size)

    def _null_time(self, frame: pl.DataFrame) -> DataError:
        place = cast("int", frame[self.column].is_null().arg_max())
        partitions = self._partition_of(frame)
        partition, before = 0, place
        if partitions is not None:
            partition = int(partitions[place])
            before = int((partitions[:place] == partition).sum())
        return DataError(
            f"the event time {self.column!r} is null",
            hint='on_error="skip" drops such rows and counts them; or fill or filter them before',
            operator_id=self.operator_id,
            partition=self._partitions[partition],
            offset=int(self._rows[partition]) + before,
        )

    def end_partitions(self, ended: Iterable[int]) -> None:
        """Note which partitions have no further rows."""
        places = self._clocks.maxima.size  # a partition that has not joined yet may have a later one
        self._ended = frozenset(place for place in ended if place < places)

    def turn(self, turns: Iterable[Turn]) -> None:
        """Partitions have come, gone, or wait: before the rows that follow."""
        for kind, partition, name in turns:
            if kind == "join":
                self._clocks.join(partition)
                more = partition + 1 - len(self._partitions)
                self._partitions += [""] * more
                self._rows = np.append(self._rows, np.zeros(max(0, more), dtype=np.int64))
                self._partitions[partition], self._rows[partition] = name, 0
                self._ended -= {partition}
            elif kind == "back":
                self._clocks.come_back(partition)
            elif kind == "idle":
                self._clocks.idle.add(partition)
            else:
                self._clocks.idle.discard(partition)

    def on_watermark(self, watermark: int) -> tuple[list[pl.DataFrame], int]:
        """`watermark` is the input's horizon; nothing is held back."""
        if self.lateness is None or watermark == END_OF_TIME:
            return [], watermark
        return [], self._clocks.watermark(self.lateness, self._ended, ends=not self.unbounded)

    @property
    def idle(self) -> list[str]:
        """Partitions that nobody waits for at the moment."""
        return [self._partitions[partition] for partition in sorted(self._clocks.idle)]

    def slowest(self) -> str | None:
        """The partition that holds the watermark back, if the watermark depends on the rows."""
        if self.lateness is None:
            return None
        partition = self._clocks.slowest(self._ended)
        return None if partition is None else self._partitions[partition]

    def snapshot(self) -> Snapshot:
        """Clocks and counts of all partitions."""
        return Snapshot(
            {
                "maxima": self._clocks.maxima.tolist(),
                "rows": self._rows.tolist(),
                "highest": self._highest,
                "reached": self._clocks.reached,
                "idle": sorted(self._clocks.idle),
                **self.rejects.values(),
            }
        )

    def restore(self, values: dict[str, Json], runs: Sequence[tuple[int, pa.Table]]) -> None:  # noqa: ARG002
        """Go on with these clocks and counts."""
        self._clocks.maxima = np.array(values["maxima"], dtype=np.int64)
        self._rows = np.array(values["rows"], dtype=np.int64)
        self._partitions += [""] * (self._rows.size - len(self._partitions))
        self._clocks.reached = cast("int", values["reached"])
        self._clocks.idle = set(cast("list[int]", values["idle"]))
        self._highest = cast("int", values["highest"])
        self.rejects.restore(values)
