"""Watermarks: the clock of each partition, exact to the row, and how times are shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from arrowstream.config import END_OF_TIME, NO_TIME
from arrowstream.plan.durations import written

if TYPE_CHECKING:
    from collections.abc import Iterable

Int64s: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.int64]]"
UInt32s: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.uint32]]"

_NO_PARTITIONS = np.zeros(0, dtype=np.uint32)
_UNITS_NS = {"ns": 1, "us": 10**3, "ms": 10**6}
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive, as the column is
_DAY_NS = 86400 * 10**9


class PartitionClocks:
    """The largest event time seen so far in each partition, and the smallest of them that time has reached.

    A partition that joins or comes back begins where the stream is: its rows are late by the stream's clock
    until its own is ahead of that.

    Parameters
    ----------
    partitions
        How many partitions there are.
    """

    __slots__ = ("idle", "maxima", "reached")

    def __init__(self, partitions: int) -> None:
        self.maxima = np.full(partitions, NO_TIME, dtype=np.int64)
        self.idle: set[int] = set()
        self.reached = NO_TIME

    def grow(self, partitions: int) -> None:
        """There are so many partitions now, if that is more."""
        more = partitions - self.maxima.size
        if more > 0:
            self.maxima = np.append(self.maxima, np.full(more, NO_TIME, dtype=np.int64))

    def join(self, partition: int) -> None:
        """A new partition in this place."""
        self.grow(partition + 1)
        self.maxima[partition] = self.reached
        self.idle.discard(partition)

    def come_back(self, partition: int) -> None:
        """It has rows again."""
        self.maxima[partition] = max(int(self.maxima[partition]), self.reached)
        self.idle.discard(partition)

    def advance(self, times: Int64s, partitions: UInt32s | None) -> Int64s:
        """Take rows in; for each, the largest time of the rows before it in its partition.

        Shape   times: int64[n], non-null; partitions: uint32[n] or None (all 0); returns int64[n]
        Unit    any; NO_TIME where no row came before
        Order   input order kept
        Cost    O(n) time, one int64[n] allocation
        """
        # Imported here because it loads Numba, which costs half a second.
        from arrowstream.kernels import clocks
        from arrowstream.kernels.compile import frozen

        before = np.empty(times.size, dtype=np.int64)
        one = _NO_PARTITIONS if partitions is None else partitions
        clocks.advance(frozen(times), frozen(one), self.maxima, before)
        return before

    def watermark(self, lateness: int, ended: Iterable[int] = (), *, ends: bool = True) -> int:
        """The smallest clock among the partitions that have not ended and are not idle, minus `lateness`.

        Where all are idle it is the largest one: as if they had become it one after the other. With
        `ends`, time ends when all have ended.
        """
        live = np.ones(self.maxima.size, dtype=bool)
        live[list(ended)] = False
        waiting = live.copy()
        waiting[list(self.idle)] = False
        if waiting.any():
            clock = int(self.maxima[waiting].min())
        elif live.any():
            clock = int(self.maxima[live].max())
        elif ends:
            return END_OF_TIME
        else:
            clock = self.reached
        self.reached = max(self.reached, clock)
        return minus(self.reached, lateness)

    def slowest(self, ended: Iterable[int] = ()) -> int | None:
        """The partition that holds the watermark back; None if there is none."""
        held = self.maxima.copy()
        held[[*ended, *self.idle]] = END_OF_TIME
        partition = int(held.argmin())
        return None if held[partition] == END_OF_TIME else partition


def minus(time: int, lateness: int) -> int:
    """`time - lateness`, where minus and plus infinity stay what they are."""
    if time in (NO_TIME, END_OF_TIME):
        return time
    return max(time - lateness, NO_TIME + 1)


def is_finite(time: int) -> bool:
    """Whether it is a time, and neither of the infinities."""
    return NO_TIME < time < END_OF_TIME


def unit_ns(dtype: pl.DataType) -> int | None:
    """Nanoseconds of one physical unit of a temporal column; None for other types."""
    if isinstance(dtype, pl.Datetime | pl.Duration):
        return _UNITS_NS[dtype.time_unit]
    return _DAY_NS if isinstance(dtype, pl.Date) else None


def as_datetime(time: int, dtype: pl.DataType) -> datetime | None:
    """A physical event time as Python shows it (cut to microseconds); None if it has no such value."""
    unit = unit_ns(dtype)
    if not is_finite(time) or unit is None:
        return None
    # Not by Polars, which panics on years that Python's datetime does not have.
    try:
        value = _EPOCH + timedelta(microseconds=time * unit // 1000)
    except OverflowError:
        return None
    zone = getattr(dtype, "time_zone", None)
    return value if zone is None else value.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))


def lateness_text(lateness: int, dtype: pl.DataType) -> str:
    """A lateness in physical units as a duration that is at least as long, and reads well.

    Examples
    --------
    >>> lateness_text(2_345_678, pl.Datetime("us"))
    '3s'
    >>> lateness_text(90_000, pl.Datetime("ms"))
    '90s'
    """
    nanoseconds = lateness * (unit_ns(dtype) or 1)
    for step in (10**9, 10**6, 10**3):
        if nanoseconds >= step:
            return written(-(-nanoseconds // step) * step, unit="ns")
    return written(nanoseconds, unit="ns")
