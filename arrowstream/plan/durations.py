"""Polars duration strings ("1h30m", "-7d", "1mo") and timedeltas as whole numbers of a time unit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from arrowstream.errors import PlanError

if TYPE_CHECKING:
    from arrowstream.plan.nodes import TimeUnit
    from arrowstream.types import Duration

_NS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
DAY_NS = 24 * _NS["h"]
_MONTHS = {"mo": 1, "q": 3, "y": 12}
_UNITS = (*_NS, "d", "w", *_MONTHS)
_PART = re.compile(r"(\d+)([a-z]+)")
_HINT = 'write a Polars duration such as "10s" or "1h30m", or a timedelta'


@dataclass(frozen=True, slots=True)
class Parts:
    """A duration taken apart as Polars does; all parts have the same sign.

    A day and a week have no fixed length where clocks change, and a month nowhere.
    """

    text: str
    months: int
    weeks: int
    days: int
    nanoseconds: int

    @property
    def fixed_ns(self) -> int:
        """Length in nanoseconds, taking a day as 24 hours and leaving out months."""
        return self.nanoseconds + (7 * self.weeks + self.days) * DAY_NS

    @property
    def kinds(self) -> int:
        """How many of the four kinds of parts it has; `dt.truncate` wants one."""
        return sum(1 for part in (self.months, self.weeks, self.days, self.nanoseconds) if part)


def parts(value: Duration, *, name: str = "duration") -> Parts:
    """Take a duration apart.

    Parameters
    ----------
    value
        A Polars duration string, or a timedelta.
    name
        What to call it in errors.

    Raises
    ------
    PlanError
        It cannot be understood.

    Examples
    --------
    >>> parts("1h30m").nanoseconds
    5400000000000
    """
    text = _text(value, name)
    negative, body = text.startswith("-"), text.removeprefix("-")
    found = _PART.findall(body)
    if not found or "".join(number + unit for number, unit in found) != body:
        raise PlanError(f'{name}: "{text}" is not a duration', hint=_HINT)
    months = weeks = days = nanoseconds = 0
    for digits, unit in found:
        number = -int(digits) if negative else int(digits)
        if unit in _NS:
            nanoseconds += number * _NS[unit]
        elif unit in _MONTHS:
            months += number * _MONTHS[unit]
        elif unit == "d":
            days += number
        elif unit == "w":
            weeks += number
        else:
            raise PlanError(f'{name}: "{text}" has the unknown unit "{unit}"', choices=_UNITS, hint=_HINT)
    return Parts(text, months, weeks, days, nanoseconds)


def parse(value: Duration, *, unit: TimeUnit, name: str = "duration") -> int:
    """A duration of fixed length as a whole number of `unit`; days have 24 hours.

    Raises
    ------
    PlanError
        It cannot be understood, has months in it, or is not a whole number of `unit`.

    Examples
    --------
    >>> parse("1h30m", unit="us")
    5400000000
    """
    found = parts(value, name=name)
    if found.months:
        raise PlanError(
            f'{name}: "{found.text}" has months in it, which have no fixed length',
            hint='write days, such as "30d"',
        )
    return whole_units(found, unit=unit, name=name)


def written(count: int, *, unit: TimeUnit) -> str:
    """A number of units as the shortest single-unit duration string.

    Examples
    --------
    >>> written(5_400_000, unit="ms")
    '90m'
    """
    nanoseconds = count * _NS[unit]
    fitting = [name for name, length in (*_NS.items(), ("d", DAY_NS)) if nanoseconds % length == 0]
    best = fitting[-1] if count else unit
    return f"{nanoseconds // (DAY_NS if best == 'd' else _NS[best])}{best}"


def whole_units(duration: Parts, *, unit: TimeUnit, name: str) -> int:
    """The fixed part of a duration as a whole number of `unit`."""
    count, rest = divmod(duration.fixed_ns, _NS[unit])
    if rest:
        raise PlanError(
            f'{name}: "{duration.text}" is not a whole number of {unit}, the unit of the event-time column',
            hint='round it, or cast the column to pl.Datetime("ns")',
        )
    return count


def _text(value: Duration, name: str) -> str:
    if isinstance(value, timedelta):
        # Polars would write 25 hours as "1d3600s", and then refuse it as `every`.
        days, rest = divmod(value, timedelta(days=1))
        if not rest:
            return f"{days}d"
        return f"{value // timedelta(microseconds=1)}us"
    if isinstance(value, str):
        return value
    raise PlanError(f"{name}: {value!r} is not a duration", hint=_HINT)
