from __future__ import annotations

import json

import polars as pl
import pytest

from arrowstream.config import CLOCK, END_OF_TIME, NO_TIME, PARTITION
from arrowstream.errors import DataError
from arrowstream.runtime.operators.event_time import EventTimeOperator

TIME = pl.Datetime("us")


def operator(*, lateness=None, on_error="raise", partitions=("all",), keeps_clock=True):
    return EventTimeOperator(
        "event-time-1",
        column="t",
        dtype=TIME,
        lateness=lateness,
        on_error=on_error,
        partitions=partitions,
        keeps_clock=keeps_clock,
    )


def rows(times, partitions=None):
    frame = pl.DataFrame({"t": pl.Series(times, dtype=pl.Int64).cast(TIME)})
    return frame if partitions is None else frame.with_columns(pl.Series(PARTITION, partitions, pl.UInt32))


def test_without_lateness_there_is_no_clock_and_the_horizon_is_the_watermark():
    op = operator()
    (frame,) = op.process(rows([3, 1]))
    assert frame.columns == ["t"]
    assert op.on_watermark(2) == ([], 2)
    assert op.on_watermark(NO_TIME) == ([], NO_TIME)
    assert op.highest == 3


def test_with_lateness_each_row_has_the_largest_time_before_it():
    op = operator(lateness=2)
    assert op.on_watermark(100) == ([], NO_TIME)
    (first,) = op.process(rows([3, 1, 5]))
    (second,) = op.process(rows([4, 9]))
    assert first[CLOCK].to_list() == [NO_TIME, 3, 3]
    assert second[CLOCK].to_list() == [5, 5]
    assert op.on_watermark(100) == ([], 7)
    assert op.on_watermark(END_OF_TIME) == ([], END_OF_TIME)


def test_a_clock_from_upstream_is_replaced_and_an_unwanted_one_left_out():
    given = rows([3, 1]).with_columns(pl.Series(CLOCK, [7, 7]))
    assert operator(lateness=0).process(given)[0][CLOCK].to_list() == [NO_TIME, 3]
    assert operator(lateness=0, keeps_clock=False).process(given)[0].columns == ["t"]
    assert operator().process(given)[0].columns == ["t"]


def test_partitions_have_clocks_of_their_own():
    op = operator(lateness=1, partitions=("a", "b"))
    (frame,) = op.process(rows([3, 8, 1, 4], [0, 1, 0, 1]))
    assert frame[CLOCK].to_list() == [NO_TIME, NO_TIME, 3, 8]
    assert op.on_watermark(NO_TIME) == ([], 2)
    assert op.slowest() == "a"
    op.end_partitions({0})
    assert op.on_watermark(NO_TIME) == ([], 7)
    assert op.slowest() == "b"


def test_a_null_time_is_an_error_that_names_partition_and_row():
    op = operator(partitions=("a", "b"))
    op.process(rows([1, 2, 3], [0, 1, 1]))
    with pytest.raises(DataError) as caught:
        op.process(rows([4, 5, None], [1, 0, 1]))
    assert str(caught.value) == (
        "the event time 't' is null\n"
        "  at: operator event-time-1, partition b, row 3\n"
        '  hint: on_error="skip" drops such rows and counts them; or fill or filter them before'
    )


def test_skipped_null_times_are_counted_and_do_not_move_the_clock():
    op = operator(lateness=0, on_error="skip")
    (frame,) = op.process(rows([None, 3, None, 1]))
    assert frame[CLOCK].to_list() == [NO_TIME, 3]
    assert op.process(rows([None])) == []
    assert op.rejects.skipped_rows == 3


def test_a_snapshot_goes_on_where_it_was_taken():
    op = operator(lateness=1, partitions=("a", "b"), on_error="skip")
    op.process(rows([3, 8, None], [0, 1, 1]))
    values = json.loads(json.dumps(op.snapshot().values))
    other = operator(lateness=1, partitions=("a", "b"), on_error="skip")
    other.restore(values, [])
    assert other.rejects.skipped_rows == 1
    assert other.highest == 8
    assert other.process(rows([1, 1], [0, 1]))[0][CLOCK].to_list() == [3, 8]
    assert other.on_watermark(NO_TIME) == ([], 2)
