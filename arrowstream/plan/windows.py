"""The grid that windows lie on, and its checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from arrowstream.errors import PlanError
from arrowstream.plan.durations import DAY_NS, parts, whole_units

if TYPE_CHECKING:
    from arrowstream.plan.durations import Parts
    from arrowstream.plan.nodes import TimeUnit
    from arrowstream.types import Duration

_UTC = (None, "UTC", "Etc/UTC")
_NS_PER_UNIT: dict[TimeUnit, int] = {"ms": 1_000_000, "us": 1_000, "ns": 1}

WINDOWS_OF_ROW_MAX = 1_000_000
"""More of them are a mistake in a unit, and would only fill the memory."""

_HOUR_NS = DAY_NS // 24
_MONDAY_NS = 4 * DAY_NS
"""The epoch is a Thursday; Polars' weeks begin on Mondays, 1970-01-05 among them."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Windows as the plan nodes write them down (see `nodes.Windowed`)."""

    every: str
    period: str
    offset: str
    every_units: int | None
    period_units: int | None
    origin_units: int | None


def grid(
    every: Duration,
    period: Duration | None,
    offset: Duration | None,
    *,
    unit: TimeUnit,
    time_zone: str | None,
) -> Grid:
    """The windows of a `group_by_dynamic`.

    Raises
    ------
    PlanError
        A duration that cannot be understood, is not positive, mixes months, weeks, days and shorter units,
        or is not a whole number of `unit`; calendar windows that overlap or have gaps.

    Examples
    --------
    >>> grid("1w", None, None, unit="ms", time_zone=None).origin_units
    345600000
    """
    step = _positive("every", every)
    if step.kinds > 1:
        raise PlanError(
            f'every: "{step.text}" mixes months, weeks, days and shorter units',
            hint='write it in one of them, such as "36h"',
        )
    length = step if period is None else _positive("period", period)
    shift = parts("0ns" if offset is None else offset, name="offset")
    if shift.months:
        raise PlanError(
            f'offset: "{shift.text}" has months in it, which have no fixed length',
            hint="write the offset in days or shorter units",
        )
    whole_units(shift, unit=unit, name="offset")
    if step.months or length.months or time_zone not in _UTC:
        return _calendar_grid(step, length, shift, unit, time_zone)
    if length.fixed_ns > WINDOWS_OF_ROW_MAX * step.fixed_ns:
        raise PlanError(
            f'period: "{length.text}" is more than {WINDOWS_OF_ROW_MAX:,} times every="{step.text}", '
            "and each row would be in as many windows",
            hint="make every longer, or period shorter",
        )
    step_units = whole_units(step, unit=unit, name="every")
    origin_ns = shift.fixed_ns + (_MONDAY_NS if step.weeks else 0)
    return Grid(
        every=step.text,
        period=length.text,
        offset=shift.text,
        every_units=step_units,
        period_units=whole_units(length, unit=unit, name="period"),
        origin_units=origin_ns // _NS_PER_UNIT[unit] % step_units,
    )


def _calendar_grid(step: Parts, length: Parts, shift: Parts, unit: TimeUnit, time_zone: str | None) -> Grid:
    whole_units(step, unit=unit, name="every")
    whole_units(length, unit=unit, name="period")
    if time_zone not in _UTC and step.nanoseconds % _HOUR_NS and _HOUR_NS % max(step.nanoseconds, 1):
        raise PlanError(
            f'every: "{step.text}" does not fit into hours, by which the clocks of {time_zone} change',
            hint='convert the column first: .dt.convert_time_zone("UTC")',
        )
    same = (step.months, step.weeks, step.days, step.nanoseconds) == (
        length.months,
        length.weeks,
        length.days,
        length.nanoseconds,
    )
    if not same:
        why = (
            "calendar windows have no fixed length"
            if step.months or length.months
            else f"windows of a column in {time_zone} follow its clock changes"
        )
        raise PlanError(
            f'period: "{length.text}" differs from every="{step.text}", and {why}',
            hint="leave period out"
            if step.months or length.months
            else 'convert the column first: .dt.convert_time_zone("UTC")',
        )
    return Grid(step.text, length.text, shift.text, None, None, None)


def _positive(name: str, value: Duration) -> Parts:
    found = parts(value, name=name)
    if found.months <= 0 and found.fixed_ns <= 0:
        raise PlanError(
            f'{name}: "{found.text}" is not positive', hint='write a positive duration, such as "10s"'
        )
    return found
