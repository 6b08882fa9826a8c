"""Times as text: byte by byte what Polars writes, whatever the times."""

from __future__ import annotations

import io
from datetime import datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.connectors.files import time_text
from arrowstream.connectors.files.csv import CsvEncoding
from arrowstream.connectors.files.encode import encode_file
from arrowstream.connectors.files.ndjson import NdjsonEncoding
from arrowstream.connectors.files.time_text import with_texts

DAY_US = 86_400_000_000
LEAST, GREATEST = -719_162 * DAY_US, 2_932_897 * DAY_US - 1  # of the years 1 to 9999

near = st.integers(LEAST, GREATEST).flatmap(
    lambda begin: st.lists(
        st.none()
        | st.sampled_from([1, 999, 1_000, 60_000_000, DAY_US]).flatmap(
            lambda step: st.integers(-40, 40).map(
                lambda count: min(max(begin // step * step + step * count, LEAST), GREATEST)
            )
        ),
        min_size=1,
        max_size=90,
    )
)


@pytest.fixture(autouse=True)
def however_few(monkeypatch):
    monkeypatch.setattr(time_text, "_ROWS_MIN", 1)


def frame_of(ticks, unit, zone=None):
    times = pl.Series("t", ticks, pl.Int64)
    if unit == "ms":
        times = times // 1000
    return pl.DataFrame({"t": times.cast(pl.Datetime(unit, zone)), "i": range(len(ticks))})


def written_by_polars(frame, verb, **options):
    file = io.BytesIO()
    getattr(frame, verb)(file, **options)
    return file.getvalue()


@settings(max_examples=150, deadline=None)
@given(ticks=near, unit=st.sampled_from(["ms", "us"]))
def test_they_are_what_polars_writes(ticks, unit):
    frame = frame_of(ticks, unit)
    assert b"".join(encode_file([frame], CsvEncoding())) == written_by_polars(frame, "write_csv")
    assert b"".join(encode_file([frame], NdjsonEncoding())) == written_by_polars(frame, "write_ndjson")


def test_times_of_some_days_are_looked_up():
    frame = frame_of([0, DAY_US - 1, None, -1, 3 * DAY_US], "us")
    texts = with_texts(frame, sign="T", shortest=False)["t"]
    assert texts.to_list() == [
        "1970-01-01T00:00:00.000000",
        "1970-01-01T23:59:59.999999",
        None,
        "1969-12-31T23:59:59.999999",
        "1970-01-04T00:00:00.000000",
    ]


@pytest.mark.parametrize(
    "frame",
    [
        frame_of([None, None], "us"),
        frame_of([LEAST - 1, LEAST], "us"),
        frame_of([GREATEST, GREATEST + 1], "us"),
        frame_of([0, 100 * DAY_US], "us"),
        frame_of([0, 1], "us", "Europe/Berlin"),
        frame_of([0, 1], "ns"),
        frame_of([], "us"),
    ],
    ids=["nulls", "year 0", "year 10000", "few rows of many days", "zone", "nanoseconds", "no rows"],
)
def test_others_are_left_to_polars(frame):
    assert with_texts(frame, sign="T", shortest=False) is frame
    assert b"".join(encode_file([frame], CsvEncoding())) == written_by_polars(frame, "write_csv")


@pytest.mark.parametrize(
    "options",
    [
        {"separator": ":"},
        {"separator": "-"},
        {"separator": "T"},
        {"separator": "5"},
        {"quote_char": "."},
        {"quote_style": "always"},
        {"quote_style": "non_numeric"},
        {"quote_style": "never"},
        {"datetime_format": "%d.%m.%Y"},
        {"null_value": "-"},
        {"separator": ";", "decimal_comma": True},
    ],
    ids=str,
)
def test_options_of_csv_change_them_as_in_polars(options):
    moment = int(datetime(2026, 1, 2, 3, 4, 5, 6).timestamp()) * 1_000_000
    frame = frame_of([moment, None, moment + 5], "us")
    assert b"".join(encode_file([frame], CsvEncoding(**options))) == written_by_polars(
        frame, "write_csv", **options
    )
