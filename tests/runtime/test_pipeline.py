from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest

from arrowstream.config import DEAD, DEAD_DTYPE, END_OF_TIME, NO_TIME
from arrowstream.connectors.memory.source import FrameSource
from arrowstream.errors import DataError, PlanError
from arrowstream.plan import build
from arrowstream.runtime.epochs import OperatorState
from arrowstream.runtime.pipeline import Pipeline

START = datetime(2026, 1, 1)


def at(seconds):
    return START + timedelta(seconds=seconds)


def physical(seconds):
    return pl.Series([at(seconds)]).to_physical().item()


def rows(*pairs):
    return pl.DataFrame(
        {"t": [at(second) for second, _ in pairs], "x": [x for _, x in pairs]},
        schema={"t": pl.Datetime("us"), "x": pl.Int64},
    )


def scan(frame=None, **options):
    return build.scan(FrameSource(rows() if frame is None else frame), event_time="t", **options)


def sums(node, every="10s"):
    return build.aggregate(build.window(node, "t", every=every), pl.col("x").sum())


def values(outputs, root=0):
    return [row for index, frame in outputs if index == root for row in frame.rows()]


def test_row_steps_in_a_chain_are_one_operator():
    node = build.row_step(build.row_step(scan(), "filter", pl.col("x") > 1), "select", "x")
    assert Pipeline([node]).operator_ids == ["event-time-1", "rows-2"]
    assert values(Pipeline([node]).push(rows((0, 1), (1, 2)))) == [(2,)]


def test_a_step_with_several_readers_is_computed_once():
    shared = build.row_step(scan(), "with_columns", y=pl.col("x") * 2)
    small = build.row_step(shared, "filter", pl.col("y") < 4)
    large = build.row_step(shared, "filter", pl.col("y") >= 4)
    pipeline = Pipeline([small, large, shared])
    assert pipeline.operator_ids == ["event-time-1", "rows-2", "rows-3", "rows-4"]
    outputs = pipeline.push(rows((0, 1), (1, 2)))
    assert values(outputs, 0) == [(at(0), 1, 2)]
    assert values(outputs, 1) == [(at(1), 2, 4)]
    assert values(outputs, 2) == [(at(0), 1, 2), (at(1), 2, 4)]
    assert pipeline.rows_in == 2
    assert pipeline.rows_out == [1, 1, 2]


def test_several_sources_are_refused():
    with pytest.raises(PlanError, match="these jobs read 2 sources, and a run reads one\n  hint: build all"):
        Pipeline([scan(), scan()])


def test_a_source_without_event_time_needs_no_operator():
    node = build.scan(FrameSource(rows()))
    pipeline = Pipeline([node])
    assert pipeline.operator_ids == []
    assert values(pipeline.push(rows((0, 1)))) == [(at(0), 1)]
    assert pipeline.watermark() is None


def test_what_could_not_be_read_is_counted_and_goes_no_further():
    letter = {"original": b"{", "error": "no JSON", "source": "a.json", "position": "line 2"}
    frame = rows((1, 1), (2, 2), (3, 3)).with_columns(
        pl.Series(DEAD, [None, letter, None], dtype=DEAD_DTYPE), x=pl.Series([1, None, 3])
    )
    pipeline = Pipeline([sums(scan())])
    assert pipeline.push(frame) == []
    assert values(pipeline.finish()) == [(at(0), 4)]
    assert (pipeline.rows_in, pipeline.dead_letters()) == (2, {"scan": 1})
    again = Pipeline([sums(scan())])
    again.restore_counters(pipeline.counters())
    assert again.dead_letters() == {"scan": 1}


def test_hidden_columns_are_not_seen_by_wildcards_and_not_given_out():
    late = build.late_rows(build.window(scan(lateness="1s"), "t", every="10s"))
    names = build.row_step(scan(lateness="1s"), "select", pl.all())
    pipeline = Pipeline([late])
    assert late.schema.names() == ["t", "x"]
    assert values(pipeline.push(rows((30, 1), (2, 2), (31, 3)))) == [(at(2), 2)]
    assert values(Pipeline([names]).push(rows((0, 1)))) == [(at(0), 1)]


def test_windows_close_with_the_horizon_of_the_source():
    pipeline = Pipeline([sums(scan())])
    assert pipeline.push(rows((1, 1), (12, 2), (3, 3))) == []
    assert values(pipeline.advance(physical(9))) == []
    assert values(pipeline.advance(physical(10))) == [(at(0), 4)]
    assert pipeline.watermark() == at(10)
    assert values(pipeline.finish()) == [(at(10), 2)]
    assert pipeline.watermark() == at(12)


def test_windows_close_with_the_clock_where_there_is_lateness():
    pipeline = Pipeline([sums(scan(lateness="2s"))])
    pipeline.push(rows((1, 1), (12, 2), (3, 3)))  # the last one is late: its window ended at 12 - 2
    assert values(pipeline.advance(NO_TIME)) == [(at(0), 1)]
    assert pipeline.watermark() == at(10)
    pipeline.push(rows((2, 9), (13, 1)))
    assert values(pipeline.finish()) == [(at(10), 3)]
    assert (pipeline.late_rows, pipeline.lateness_needed()) == (2, "3s")
    assert pipeline.watermark() == at(11)


def test_windows_of_windows():
    pipeline = Pipeline([sums(sums(scan()), every="20s")])
    pipeline.push(rows((1, 1), (12, 2), (25, 4), (41, 8)))
    assert values(pipeline.advance(physical(19))) == []
    assert values(pipeline.advance(physical(35))) == [(at(0), 3)]
    assert values(pipeline.finish()) == [(at(20), 4), (at(40), 8)]


def test_event_time_can_begin_again_after_windows():
    again = build.event_time(sums(scan()), "t", lateness="10s")
    pipeline = Pipeline([sums(again, every="20s")])
    pipeline.push(rows((1, 1), (12, 2), (25, 4), (41, 8), (55, 16)))
    assert values(pipeline.advance(physical(50))) == [(at(0), 3)]
    assert values(pipeline.finish()) == [(at(20), 4), (at(40), 24)]


def test_the_same_column_declared_again_keeps_the_horizon_and_another_one_does_not():
    same = Pipeline([sums(build.event_time(scan(), "t"))])
    other = Pipeline([sums(build.event_time(build.scan(FrameSource(rows())), "t"))])
    for pipeline, expected in ((same, [(at(0), 1)]), (other, [])):
        pipeline.push(rows((1, 1), (12, 2)))
        assert values(pipeline.advance(physical(10))) == expected
    assert values(other.advance(END_OF_TIME)) == [(at(0), 1), (at(10), 2)]


def test_a_limit_ends_time_below_it_and_the_run():
    pipeline = Pipeline([sums(build.limit(scan(), 2))])
    pipeline.push(rows((1, 1), (12, 2), (13, 4)))
    assert pipeline.satisfied
    assert values(pipeline.advance(NO_TIME)) == [(at(0), 1), (at(10), 2)]


def test_a_run_goes_on_until_every_result_has_its_rows():
    first = scan()
    pipeline = Pipeline([build.limit(first, 1), build.limit(first, 2)])
    assert not pipeline.satisfied
    pipeline.push(rows((1, 1)))
    assert not pipeline.satisfied
    pipeline.push(rows((2, 2), (3, 3)))
    assert pipeline.satisfied
    assert pipeline.rows_out == [1, 2]


def failing(frame):
    raise ValueError("no luck")


@pytest.mark.parametrize(
    ("node", "text", "cause"),
    [
        (build.map_batches(scan(), failing), "map_batches failed: ValueError: no luck", ValueError),
        (
            build.row_step(scan(), "select", pl.col("x").cast(pl.Int8)),
            "Polars could not evaluate the expressions: InvalidOperationError",
            pl.exceptions.InvalidOperationError,
        ),
    ],
)
def test_an_error_says_which_operator_it_comes_from(node, text, cause):
    with pytest.raises(DataError) as caught:
        Pipeline([node]).push(rows((0, 1000)))
    assert text in str(caught.value)
    assert caught.value.operator_id in {"map-batches-2", "rows-2"}
    assert isinstance(caught.value.__cause__, cause)


def test_panics_are_errors_and_interrupts_are_not_touched(monkeypatch):
    pipeline = Pipeline([build.map_batches(scan(), lambda frame: frame)])
    operator = pipeline.stages[1].operator
    for raised, expected in (
        (pl.exceptions.PanicException("oh"), DataError),
        (KeyboardInterrupt, KeyboardInterrupt),
    ):
        monkeypatch.setattr(type(operator), "process", lambda _self, _frame, raised=raised: _raise(raised))
        with pytest.raises(expected):
            pipeline.push(rows((0, 1)))


def _raise(error):
    raise error


def test_a_snapshot_goes_on_where_it_was_taken():
    def pipeline():
        late = scan(lateness="1s")
        return Pipeline([sums(late), build.limit(late, 3)], checkpointing=True)

    whole, first, second = pipeline(), pipeline(), pipeline()
    before, after = rows((1, 1), (12, 2)), rows((2, 8), (13, 4), (25, 16))
    expected = [*whole.push(before), *whole.push(after), *whole.finish()]
    outputs = first.push(before)
    states = {
        name: OperatorState(snapshot.values, [(run.id, run.table) for run in snapshot.runs])
        for name, snapshot in first.snapshot().items()
    }
    second.restore(states)
    outputs += [*second.push(after), *second.finish()]
    for root in (0, 1):
        assert values(outputs, root) == values(expected, root)
    assert (second.late_rows, second.lateness_needed()) == (whole.late_rows, whole.lateness_needed())
    assert second.watermark() == whole.watermark()


def test_counters_of_each_operator():
    pipeline = Pipeline([sums(build.row_step(scan(), "filter", pl.col("x") > 1))])
    pipeline.push(rows((0, 1), (1, 2), (2, 3)))
    pipeline.finish()
    assert [(m.operator_id, m.rows_in, m.rows_out) for m in pipeline.operator_metrics()] == [
        ("event-time-1", 3, 3),
        ("rows-2", 3, 2),
        ("window-3", 2, 1),
    ]
    assert all(metrics.busy_s > 0 for metrics in pipeline.operator_metrics())
