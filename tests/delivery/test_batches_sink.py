from __future__ import annotations

import polars as pl
import polars.testing
import pytest

from arrowstream.connectors.memory.sink import BatchesSink
from arrowstream.errors import ConnectorError, PlanError
from arrowstream.runtime.epochs import EpochDriver, EpochEnd, EpochEvery, JobSpec, SinkSpec

FRAME = pl.DataFrame(
    {"a": [1, 2, 3, 4, 5], "c": ["x", None, "y", "x", "z"]}, schema={"a": pl.Int64(), "c": pl.Categorical()}
)


def deliver(function, frames, checkpoint=None, epochs=1, **options):
    driver = EpochDriver(
        sinks=[SinkSpec("function", BatchesSink(function, **options), FRAME.schema)],
        job=JobSpec("plan", "", {}),
        checkpoint=checkpoint,
        every=EpochEvery(rows=5),
    )
    try:
        recovered = driver.recover()
        for epoch in range(recovered.epoch + 1, epochs + 1):
            for frame in frames:
                assert driver.emit(0, frame, timeout_s=1)
            driver.close_epoch(EpochEnd(5, {}, epoch, {}, {}, final=epoch == epochs))
        driver.finish()
    except BaseException as error:
        driver.abort(error)
        raise
    return recovered


@pytest.mark.parametrize(
    ("chunk_size", "heights"), [(None, [2, 1, 2]), (1, [1] * 5), (2, [2, 2, 1]), (3, [3, 2]), (9, [5])]
)
def test_the_function_gets_the_rows_in_order(chunk_size, heights):
    seen = []
    deliver(seen.append, [FRAME[:2], FRAME[2:3], FRAME[:0], FRAME[3:]], chunk_size=chunk_size)
    assert [frame.height for frame in seen] == heights
    polars.testing.assert_frame_equal(pl.concat(seen), FRAME)


def test_an_epoch_without_rows_calls_nobody():
    seen = []
    deliver(seen.append, [])
    assert seen == []


def test_after_a_failure_the_epoch_comes_again_and_not_those_before(tmp_path):
    seen = []

    def function(frame):
        seen.append(frame.height)
        if len(seen) == 2:
            raise ValueError("not today")

    with pytest.raises(ConnectorError, match="the sink failed: ValueError: not today") as caught:
        deliver(function, [FRAME], tmp_path / "state", epochs=3)
    assert "at: operator function" in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)
    assert deliver(function, [FRAME], tmp_path / "state", epochs=3).epoch == 2
    assert seen == [5, 5, 5, 5]
    assert deliver(function, [FRAME], tmp_path / "state", epochs=3).complete
    assert len(seen) == 4


def test_it_says_what_it_is():
    sink = BatchesSink(print, chunk_size=3)
    assert sink.delivery == "at_least_once"
    assert sink.identity() == {"format": "batches", "function": "print", "chunk_size": 3}


def test_arguments_are_checked():
    with pytest.raises(PlanError, match="3 cannot be called"):
        BatchesSink(3)
    with pytest.raises(PlanError, match="chunk_size=0 is not a number of rows"):
        BatchesSink(print, chunk_size=0)
    with pytest.raises(PlanError, match="column 'bad' is Int128, which Arrow cannot hold"):
        BatchesSink(print).check_schema(pl.Schema({"bad": pl.Int128()}))
