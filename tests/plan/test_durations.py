from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrowstream.errors import PlanError
from arrowstream.plan.durations import parse, parts, written


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("10s", "us", 10_000_000),
        ("1h30m", "ms", 5_400_000),
        ("1d", "ns", 86_400_000_000_000),
        ("1w2d", "ms", 9 * 86_400_000),
        ("-250ms", "us", -250_000),
        ("1us500ns", "ns", 1_500),
        ("0s", "ms", 0),
        (timedelta(hours=25), "ms", 90_000_000),
        (timedelta(days=2), "ms", 172_800_000),
        (timedelta(seconds=-1), "ms", -1_000),
    ],
)
def test_whole_units(text, unit, expected):
    assert parse(text, unit=unit) == expected


@given(st.timedeltas(min_value=timedelta(days=-9_999), max_value=timedelta(days=9_999)))
def test_timedelta_to_the_microsecond(value):
    assert parse(value, unit="us") == value // timedelta(microseconds=1)


def test_timedelta_is_written_in_one_kind_of_unit():
    # Polars writes "1d3600s", which its own group_by_dynamic refuses.
    assert parts(timedelta(hours=25)).text == "90000000000us"


def test_parts_keep_what_has_no_fixed_length_apart():
    found = parts("1y1q1mo2w3d4s")
    assert (found.months, found.weeks, found.days, found.nanoseconds) == (16, 2, 3, 4_000_000_000)


@pytest.mark.parametrize("text", ["ten", "", "-", "1.5h", "1 h", "h", "1h-30m", "5"])
def test_not_a_duration(text):
    with pytest.raises(PlanError) as caught:
        parse(text, unit="us", name="lateness")
    assert str(caught.value) == (
        f'lateness: "{text}" is not a duration\n'
        '  hint: write a Polars duration such as "10s" or "1h30m", or a timedelta'
    )


def test_neither_string_nor_timedelta():
    with pytest.raises(PlanError, match="every: 10 is not a duration"):
        parse(10, unit="us", name="every")


def test_unknown_unit():
    with pytest.raises(PlanError) as caught:
        parse("5min", unit="us", name="every")
    assert str(caught.value) == (
        'every: "5min" has the unknown unit "min"\n'
        "  choices: ns, us, ms, s, m, h, d, w, mo, q, y\n"
        '  hint: write a Polars duration such as "10s" or "1h30m", or a timedelta'
    )


def test_months_have_no_fixed_length():
    with pytest.raises(PlanError) as caught:
        parse("1mo", unit="us", name="lateness")
    assert str(caught.value) == (
        'lateness: "1mo" has months in it, which have no fixed length\n  hint: write days, such as "30d"'
    )


def test_not_a_whole_number_of_units():
    with pytest.raises(PlanError) as caught:
        parse("1500us", unit="ms", name="every")
    assert str(caught.value) == (
        'every: "1500us" is not a whole number of ms, the unit of the event-time column\n'
        '  hint: round it, or cast the column to pl.Datetime("ns")'
    )


@pytest.mark.parametrize("text", ["0us", "5s", "90m", "36h", "7d", "-250ms"])
def test_written_back(text):
    assert written(parse(text, unit="us"), unit="us") == text


@given(st.sampled_from(["7s", "90m", "36h", "1d", "7d", "2w", "1500ms"]), st.datetimes())
def test_fixed_durations_have_the_length_that_polars_gives_them(text, time):
    moved = pl.select(pl.lit(time, pl.Datetime("us")).dt.offset_by(text) - pl.lit(time, pl.Datetime("us")))
    assert moved.item() == timedelta(microseconds=parse(text, unit="us"))
