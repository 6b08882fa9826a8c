from __future__ import annotations

import itertools
from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.config import END_OF_TIME, NO_TIME
from arrowstream.runtime.watermark import PartitionClocks, as_datetime, lateness_text


def plain_clocks(rows):
    maxima, before = {}, []
    for time, partition in rows:
        before.append(maxima.get(partition, NO_TIME))
        maxima[partition] = max(maxima.get(partition, NO_TIME), time)
    return before


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 3))),
    st.lists(st.integers(0, 20)),
)
def test_clocks_are_those_of_plain_python_however_rows_are_cut(rows, cuts):
    clocks = PartitionClocks(4)
    found = []
    places = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    for start, stop in itertools.pairwise(places):
        times = np.array([time for time, _ in rows[start:stop]], dtype=np.int64)
        partitions = np.array([partition for _, partition in rows[start:stop]], dtype=np.uint32)
        found += clocks.advance(times, partitions).tolist()
    assert found == plain_clocks(rows)


def test_one_partition():
    clocks = PartitionClocks(1)
    assert clocks.advance(np.array([3, 1, 5, 4]), None).tolist() == [NO_TIME, 3, 3, 5]
    assert clocks.advance(np.array([4, 9]), None).tolist() == [5, 5]
    assert clocks.advance(np.array([], dtype=np.int64), None).tolist() == []
    assert clocks.watermark(2) == 7


def test_the_slowest_partition_holds_the_watermark_back_until_it_ends():
    clocks = PartitionClocks(3)
    clocks.advance(np.array([10, 4]), np.array([0, 1], dtype=np.uint32))
    assert clocks.watermark(1) == NO_TIME
    assert clocks.slowest() == 2
    assert clocks.watermark(1, {2}) == 3
    assert clocks.slowest({2}) == 1
    assert clocks.watermark(1, {1, 2}) == 9
    assert clocks.watermark(1, {0, 1, 2}) == END_OF_TIME
    assert clocks.slowest({0, 1, 2}) is None


@pytest.mark.parametrize(
    ("units", "dtype", "text"),
    [
        (3_000_000, pl.Datetime("us"), "3s"),
        (2_000_001, pl.Datetime("us"), "3s"),
        (1_500, pl.Datetime("us"), "2ms"),
        (7, pl.Datetime("ns"), "7ns"),
        (5_400_000, pl.Datetime("ms"), "90m"),
        (1, pl.Datetime("us"), "1us"),
    ],
)
def test_lateness_is_rounded_up_to_what_reads_well(units, dtype, text):
    assert lateness_text(units, dtype) == text


def test_times_for_people():
    assert as_datetime(0, pl.Datetime("us")) == datetime(1970, 1, 1)
    assert as_datetime(NO_TIME, pl.Datetime("us")) is None
    assert as_datetime(END_OF_TIME, pl.Datetime("us")) is None
    assert as_datetime(2**61, pl.Datetime("ms")) is None
