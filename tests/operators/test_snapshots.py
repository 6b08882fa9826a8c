"""What window operators hold, and what of it a snapshot writes."""

from __future__ import annotations

import polars as pl
import pytest
from polars import col

from arrowstream.config import END_OF_TIME

TIMES = {"t": pl.Datetime("us"), "x": pl.Int64}


def test_state_is_freed_when_windows_close(windows):
    rows = windows.frame([(i, i % 50) for i in range(30_000)], TIMES)
    for aggregates in ([pl.len()], [pl.len(), col("x").median().alias("middle")]):
        node = windows.node(TIMES, *aggregates, every="100us", group_by="x")
        operator = windows.begin(node)
        held = []
        for start in range(0, rows.height, 500):
            operator.process(rows.slice(start, 500))
            operator.on_watermark(start + 500)
            held.append(operator.state_rows)
        assert max(held) < 3_000
        operator.on_watermark(END_OF_TIME)
        assert operator.state_rows == 0


def written(snapshot):
    """Rows of the runs that a snapshot writes."""
    return [run.table.num_rows for run in snapshot.runs if run.table is not None]


@pytest.mark.parametrize("aggregate", [col("x").sum(), col("x").median()], ids=["folded", "kept"])
def test_snapshots_hold_what_has_changed(windows, aggregate):
    node = windows.node(TIMES, aggregate.alias("a"), every="1000us", group_by="x")
    operator = windows.begin(node, checkpointing=True)
    operator.process(windows.frame([(i, i) for i in range(100)], TIMES))
    first = operator.snapshot()
    assert written(first) == [100]
    again = operator.snapshot()
    assert written(again) == []
    assert [run.id for run in again.runs] == [run.id for run in first.runs]
    operator.process(windows.frame([(1, 5), (2, 7), (3, 1_000)], TIMES))
    third = operator.snapshot()
    assert written(third) == [3]
    assert len(third.runs) == 2
    assert len({run.id for run in third.runs}) == 2


@pytest.mark.parametrize("aggregate", [col("x").sum(), col("x").median()], ids=["folded", "kept"])
def test_closed_windows_are_not_written(windows, aggregate):
    node = windows.node(TIMES, aggregate.alias("a"), every="10us", group_by="x")
    operator = windows.begin(node, checkpointing=True)
    operator.process(windows.frame([(i, i) for i in range(100)], TIMES))
    operator.on_watermark(95)
    assert written(operator.snapshot()) == [10]


def test_runs_are_rewritten_when_they_hold_twice_what_lives(windows):
    node = windows.node(TIMES, pl.len(), every="1000us", group_by="x")
    operator = windows.begin(node, checkpointing=True)
    sizes = []
    for _ in range(12):
        operator.process(windows.frame([(i % 1_000, i) for i in range(2_000)], TIMES))
        snapshot = operator.snapshot()
        sizes.append(len(snapshot.runs))
        assert written(snapshot) == [2_000]
    # 2 * 2,000 and a slack of 4,096 rows: the run after four (8,000 rows) is fine, the one after five is not.
    assert sizes == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2]


def test_many_small_runs_are_rewritten(windows):
    node = windows.node(TIMES, pl.len(), every="1000us", group_by="x")
    operator = windows.begin(node, checkpointing=True)
    most = 0
    for i in range(150):
        operator.process(windows.frame([(i, i % 10)], TIMES))
        most = max(most, len(operator.snapshot().runs))
    assert most == 64
