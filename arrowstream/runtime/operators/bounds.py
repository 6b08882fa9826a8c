"""Where windows begin and end: plain arithmetic, or the calendar of the column's own time zone."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from arrowstream.config import END_OF_TIME, NO_TIME
from arrowstream.plan.durations import DAY_NS, parts
from arrowstream.runtime.operators.group_table import SINGLE_POINTS, Geometry

if TYPE_CHECKING:
    from arrowstream.plan.nodes import Windowed
    from arrowstream.runtime.operators.states import Array

_NS_PER_UNIT = {"ms": 1_000_000, "us": 1_000, "ns": 1}
_SHORTEST_MONTH_NS = 28 * DAY_NS
_MONTHS_STEP_NS = DAY_NS // 2
_CLOCK_STEP_NS = DAY_NS // 96  # clocks are set by multiples of a quarter of an hour


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
    """Tumbling windows that Polars' `dt.truncate` makes, such as months, or hours of local time.

    An offset moves them: its days are days of the calendar if `every` is at least one, the rest of it is time
    that passes. Where clocks change windows are shorter or longer than `every`: each ends where the next
    begins.
    """

    arithmetic = False
    geometry = SINGLE_POINTS
    panes_per_window = 1

    def __init__(self, node: Windowed) -> None:
        self._dtype = pl.Datetime(node.unit, node.time_zone)
        self._every = node.every
        every, offset = parts(node.every), parts(node.offset)
        self._offset_days = 7 * offset.weeks + offset.days if not every.nanoseconds else 0
        ns_per_unit = _NS_PER_UNIT[node.unit]
        self._offset_units = (offset.fixed_ns - self._offset_days * DAY_NS) // ns_per_unit
        length_ns = every.fixed_ns + every.months * _SHORTEST_MONTH_NS
        self._soonest, self._usually = (min(ns, length_ns) // ns_per_unit for ns in (DAY_NS, length_ns))
        self._step = (_MONTHS_STEP_NS if every.months else _CLOCK_STEP_NS) // ns_per_unit

    def open_from(self, watermark: int) -> int:
        """Start of the first window that ends after `watermark`."""
        if watermark in (NO_TIME, END_OF_TIME):
            return watermark
        return int(self.starts(np.array([watermark], dtype=np.int64))[0])

    def ends(self, starts: Array) -> Array:
        """Where the windows that begin at `starts` end."""
        different, place = np.unique(starts, return_inverse=True)
        later = different + self._soonest
        ends = self.starts(later)
        while (same := ends <= different).any():
            later[same] = np.maximum(later[same] + self._step, different[same] + self._usually)
            ends[same] = self.starts(later[same])
        return ends[place]

    def starts(self, times: Array) -> Array:
        """Start of the last window that each time could lie in."""
        column = self._moved(pl.Series(times - self._offset_units).cast(self._dtype), -self._offset_days)
        column = self._moved(column.dt.truncate(self._every), self._offset_days)
        return column.to_physical().to_numpy() + self._offset_units

    def earlier(self, starts: Array) -> Array:
        """Start of the window before each of these."""
        return self.starts(starts - 1)

    def _moved(self, column: pl.Series, days: int) -> pl.Series:
        return column.dt.offset_by(f"{days}d") if days else column


def bounds(node: Windowed) -> FixedWindows | CalendarWindows:
    """The grid of a node's windows."""
    if node.every_units is None or node.period_units is None or node.origin_units is None:
        return CalendarWindows(node)
    return FixedWindows(node.every_units, node.period_units, node.origin_units)
