"""Where windows begin and end: plain arithmetic, or the calendar of the column's own time zone."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from arrowstream.config import END_OF_TIME, NO_TIME
from arrowstream.runtime.operators.group_table import SINGLE_POINTS, Geometry

if TYPE_CHECKING:
    from arrowstream.plan.nodes import Windowed
    from arrowstream.runtime.operators.states import Array


class Bounds(Protocol):
    """The grid of windows of one node; times are physical integers of the event-time column."""

    geometry: Geometry
    panes_per_window: int
    arithmetic: bool

    def open_from(self, watermark: int) -> int:
        """Start of the first window that ends after `watermark`."""
        ...

    def ends(self, starts: Array) -> Array:
        """Where the windows that begin at `starts` end."""
        ...

    def starts(self, times: Array) -> Array:
        """Start of the last window that each time could lie in."""
        ...

    def earlier(self, starts: Array) -> Array:
        """Start of the window before each of these."""
        ...


class FixedWindows:
    """Windows `[origin + k * every, … + period)`, as panes of the greatest common divisor of the two."""

    arithmetic = True

    def __init__(self, every: int, period: int, origin: int) -> None:
        width = gcd(every, period)
        self.geometry = Geometry(width, origin, every, period)
        self.panes_per_window = period // width
        self._every, self._period, self._origin = every, period, origin

    def open_from(self, watermark: int) -> int:
        """Start of the first window that ends after `watermark`."""
        if watermark in (NO_TIME, END_OF_TIME):
            return watermark
        return (watermark - self._period - self._origin) // self._every * self._every + (
            self._origin + self._every
        )

    def ends(self, starts: Array) -> Array:
        """Where the windows that begin at `starts` end."""
        return starts + self._period

    def starts(self, times: Array) -> Array:
        """Start of the last window that each time could lie in."""
        return (times - self._origin) // self._every * self._every + self._origin

    def earlier(self, starts: Array) -> Array:
        """Start of the window before each of these."""
        return starts - self._every


class CalendarWindows:
    """Tumbling windows that Polars' `dt.truncate` makes, such as months, or hours of local time."""

    arithmetic = False
    geometry = SINGLE_POINTS
    panes_per_window = 1

    def __init__(self, node: Windowed) -> None:
        self._dtype = pl.Datetime(node.unit, node.time_zone)
        self._every, self._offset = node.every, node.offset
        self._has_offset = pl.select(
            pl.lit(0).cast(pl.Datetime(node.unit)).dt.offset_by(node.offset).cast(pl.Int64)
        ).item() != 0  # fmt: skip

    def open_from(self, watermark: int) -> int:
        """Start of the first window that ends after `watermark`."""
        if watermark in (NO_TIME, END_OF_TIME):
            return watermark
        return int(self.starts(np.array([watermark], dtype=np.int64))[0])

    def ends(self, starts: Array) -> Array:
        """Where the windows that begin at `starts` end."""
        times = pl.Series(starts).cast(self._dtype)
        if self._has_offset:
            times = times.dt.offset_by(f"-{self._offset}")
        times = times.dt.offset_by(self._every)
        if self._has_offset:
            times = times.dt.offset_by(self._offset)
        return times.to_physical().to_numpy()

    def starts(self, times: Array) -> Array:
        """Start of the last window that each time could lie in."""
        column = pl.Series(times).cast(self._dtype)
        if self._has_offset:
            column = column.dt.offset_by(f"-{self._offset}")
        column = column.dt.truncate(self._every)
        if self._has_offset:
            column = column.dt.offset_by(self._offset)
        return column.to_physical().to_numpy()

    def earlier(self, starts: Array) -> Array:
        """Start of the window before each of these."""
        return self.starts(starts - 1)


def bounds(node: Windowed) -> FixedWindows | CalendarWindows:
    """The grid of a node's windows."""
    if node.every_units is None or node.period_units is None or node.origin_units is None:
        return CalendarWindows(node)
    return FixedWindows(node.every_units, node.period_units, node.origin_units)
