"""Where windows begin and end: arithmetic against counting, the calendar against `dt.truncate`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import gcd
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.config import END_OF_TIME, NO_TIME
from arrowstream.runtime.operators.bounds import FixedWindows, bounds

modest = settings(max_examples=60, deadline=None)


@modest
@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 11), st.integers(-50, 50))
def test_fixed_windows(every, period, origin, time):
    grid = FixedWindows(every, period, origin)
    starts = range(origin - 100 * every, origin + 100 * every, every)
    begun = max(s for s in starts if s <= time)
    assert grid.starts(np.array([time])).tolist() == [begun]
    assert grid.ends(np.array([begun])).tolist() == [begun + period]
    assert grid.earlier(np.array([begun])).tolist() == [begun - every]
    assert grid.open_from(time) == min(s for s in starts if s + period > time)
    assert grid.geometry.width == gcd(every, period)
    assert grid.panes_per_window * grid.geometry.width == period


@pytest.fixture
def grid(windows):
    def make(every, *, zone=None, unit="us", **options):
        node = windows.node({"t": pl.Datetime(unit, zone)}, pl.len(), every=every, **options)
        return bounds(node)

    return make


def test_a_node_without_a_calendar_has_fixed_windows(grid):
    found = grid("10s", period="15s", offset="2s", unit="ms")
    assert isinstance(found, FixedWindows)
    assert found.geometry.array(0, NO_TIME).tolist() == [5_000, 2_000, 10_000, 15_000, 0, NO_TIME]


@pytest.mark.parametrize("every", ["10s", "1mo"])
def test_before_and_after_all_time(grid, every):
    assert grid(every).open_from(NO_TIME) == NO_TIME
    assert grid(every).open_from(END_OF_TIME) == END_OF_TIME


def instants(*times, zone="Europe/Berlin"):
    """Microseconds since the epoch of local times, the earlier one where there are two."""
    return np.array([int(datetime(*time, tzinfo=ZoneInfo(zone)).timestamp()) * 10**6 for time in times])


def utc(array):
    return [datetime.fromtimestamp(x / 1e6, UTC).strftime("%m-%d %H:%M") for x in array.tolist()]


def test_months(grid):
    found = grid("1mo", unit="ms")
    times = np.array([datetime(2024, 2, 29, 12, tzinfo=UTC).timestamp() * 1000], dtype=np.int64)
    starts = found.starts(times)
    assert pl.Series(starts).cast(pl.Datetime("ms")).to_list() == [datetime(2024, 2, 1)]
    assert pl.Series(found.ends(starts)).cast(pl.Datetime("ms")).to_list() == [datetime(2024, 3, 1)]
    assert pl.Series(found.earlier(starts)).cast(pl.Datetime("ms")).to_list() == [datetime(2024, 1, 1)]
    assert found.open_from(int(times[0])) == starts[0]
    assert found.open_from(int(starts[0])) == starts[0]
    assert found.open_from(int(starts[0]) - 1) == found.earlier(starts)[0]


def test_days_on_which_clocks_change(grid):
    found = grid("1d", zone="Europe/Berlin")
    noons = instants((2026, 3, 28, 12), (2026, 3, 29, 12), (2026, 10, 25, 12))
    starts = found.starts(noons)
    assert utc(starts) == ["03-27 23:00", "03-28 23:00", "10-24 22:00"]
    assert utc(found.ends(starts)) == ["03-28 23:00", "03-29 22:00", "10-25 23:00"]  # 24, 23, 25 hours


def test_three_hours_on_days_on_which_clocks_change(grid):
    # In March 3:00 follows 1:59; in October 2:00 comes twice.
    found = grid("3h", zone="Europe/Berlin")
    starts = found.starts(instants((2026, 3, 29, 1), (2026, 3, 29, 4), (2026, 10, 25, 1), (2026, 10, 25, 4)))
    assert utc(starts) == ["03-28 23:00", "03-29 01:00", "10-24 22:00", "10-25 02:00"]
    assert utc(found.ends(starts)) == ["03-29 01:00", "03-29 04:00", "10-25 02:00", "10-25 05:00"]


def test_the_hour_that_comes_twice_is_two_windows(grid):
    found = grid("1h", zone="Europe/Berlin")
    twice = instants((2026, 10, 25, 2, 30)) + np.array([0, 3_600 * 10**6])
    assert utc(found.starts(twice)) == ["10-25 00:00", "10-25 01:00"]
    assert utc(found.ends(found.starts(twice))) == ["10-25 01:00", "10-25 02:00"]


@pytest.mark.parametrize(
    ("every", "offset", "time", "start", "end"),
    [
        ("1mo", "14d", (2026, 4, 12, 2, 30), "03-14 23:00", "04-14 22:00"),
        ("1mo", "-1d", (2026, 3, 31, 12), "03-30 22:00", "04-29 22:00"),
        ("1w", "6d", (2026, 3, 29, 12), "03-28 23:00", "04-04 22:00"),
        ("1d", "6h", (2026, 4, 12, 5), "04-11 04:00", "04-12 04:00"),
        ("1d", "-2h", (2026, 4, 12, 23), "04-12 20:00", "04-13 20:00"),
        ("1d", "1d6h", (2026, 4, 12, 5), "04-11 04:00", "04-12 04:00"),
        ("3h", "-1h", (2026, 4, 12, 2), "04-12 00:00", "04-12 03:00"),
        ("3h", "1d1h", (2026, 4, 12, 2), "04-11 23:00", "04-12 02:00"),
    ],
)
def test_offsets(grid, *, every, offset, time, start, end):
    found = grid(every, offset=offset, zone="Europe/Berlin")
    starts = found.starts(instants(time))
    assert utc(starts) == [start]
    assert utc(found.ends(starts)) == [end]


CHANGES = {
    "Europe/Berlin": ["2026-03-28", "2026-10-24"],
    "America/New_York": ["2026-03-07", "2026-10-31"],
    "Australia/Lord_Howe": ["2026-10-03", "2026-04-04"],  # by half an hour
    "America/Sao_Paulo": ["2018-11-03", "2018-02-17"],  # midnight does not exist
    "America/Havana": ["2026-10-31", "2026-03-07"],  # midnight comes twice
    "Asia/Kathmandu": ["2026-03-28"],
}
SHORT, LONG = ["15m", "1h", "2h", "5h", "12h"], ["1d", "2d", "1w", "1mo", "1q", "1y"]


def ten_minutes(zone, day):
    begin = datetime.fromisoformat(day)
    times = pl.datetime_range(begin, begin + timedelta(days=2), "10m", eager=True, time_unit="us")
    return times.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)


@pytest.mark.parametrize("every", SHORT + LONG)
@pytest.mark.parametrize("zone", CHANGES)
def test_windows_are_those_of_truncate_and_leave_no_gap(grid, every, zone):
    offsets = [None, "20m", "-5h"] if every in SHORT else [None, "6h"]
    if zone not in ("America/Sao_Paulo", "America/Havana"):  # where days may lack their beginning
        offsets.append("-6d")
    for offset in offsets:
        found = grid(every, zone=zone, offset=offset)
        for day in CHANGES[zone]:
            times = ten_minutes(zone, day)
            physical = times.to_physical().to_numpy()
            starts = found.starts(physical)
            if offset is None:
                assert starts.tolist() == times.dt.truncate(every).to_physical().to_list()
            begins, first = np.unique(starts, return_index=True)
            assert (np.diff(starts) >= 0).all()
            assert (found.starts(begins) == begins).all()
            ends = found.ends(begins)
            assert (ends[:-1] == begins[1:]).all()
            assert (begins <= physical[first]).all()
            assert physical[-1] < ends[-1]
            assert (found.earlier(ends) == begins).all()
