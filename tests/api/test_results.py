"""A stream as Arrow: batches, PyCapsules, and beside an event loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from contextlib import aclosing

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

import arrowstream as ars

FRAME = pl.DataFrame({"a": range(10), "b": [f"row {number}" for number in range(10)]})
DEADLINE_S = 10.0


class Batches:
    """Counts how often it is asked for batches, and says when the last of them is closed."""

    def __init__(self, count: int = 3, wait_s: float = 0.0) -> None:
        self.count = count
        self.wait_s = wait_s
        self.asked = 0
        self.given = 0
        self.began = threading.Event()
        self.closed = threading.Event()

    def __call__(self):
        self.asked += 1
        self.closed.clear()
        try:
            for number in range(self.count):
                self.given += 1
                self.began.set()
                yield pl.DataFrame({"a": [number]})
                time.sleep(self.wait_s)
        finally:
            self.closed.set()

    def stream(self, **options) -> ars.Stream:
        return ars.from_batches(self, schema={"a": pl.Int64}, **options)


def is_of_a_run(thread: threading.Thread) -> bool:
    """Those that ask remote places stay: they serve all runs of the process."""
    return "arrowstream" in thread.name and not thread.name.startswith("arrowstream-remote")


def threads_stop() -> bool:
    """Whether all threads of runs are gone, soon."""
    deadline = time.monotonic() + DEADLINE_S
    while any(map(is_of_a_run, threading.enumerate())):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    gc.collect()
    assert threads_stop(), threading.enumerate()


def test_batches_have_the_schema_of_the_result() -> None:
    batches = list(ars.from_polars(FRAME).iter_batches(batch_rows=4))
    assert sum(batch.num_rows for batch in batches) == 10
    assert_frame_equal(pl.DataFrame(pa.Table.from_batches(batches)), FRAME)


def test_work_starts_with_the_first_batch_and_ends_with_the_iterator() -> None:
    source = Batches(count=100, wait_s=0.01)
    batches = source.stream(bounded=False).iter_batches()
    assert source.asked == 0
    assert next(batches).num_rows >= 1
    assert source.asked == 1
    batches.close()
    assert source.closed.wait(DEADLINE_S)
    assert source.given < 100


def test_consumers_ask_several_times_and_read_once() -> None:
    source = Batches()
    stream = source.stream()
    unread = [stream.__arrow_c_stream__() for _ in range(3)]
    assert source.asked == 0
    assert pl.DataFrame(stream)["a"].to_list() == [0, 1, 2]
    assert source.asked == 1
    del unread


def test_a_released_stream_stops_its_threads() -> None:
    source = Batches(count=100, wait_s=0.01)
    reader = pa.RecordBatchReader.from_stream(source.stream())
    assert reader.read_next_batch().num_rows >= 1
    del reader
    gc.collect()
    assert source.closed.wait(DEADLINE_S)
    assert source.given < 100


def test_duckdb_reads_a_stream() -> None:
    duckdb = pytest.importorskip("duckdb")
    hot = ars.from_polars(FRAME).filter(pl.col("a") > 7)  # noqa: F841 - DuckDB finds it by its name
    assert duckdb.sql("select sum(a), max(b) from hot").fetchall() == [(17, "row 9")]


def test_pyarrow_and_polars_read_a_stream() -> None:
    stream = ars.from_polars(FRAME)
    assert_frame_equal(pl.DataFrame(stream), FRAME)
    assert_frame_equal(pl.DataFrame(pa.table(stream)), FRAME)
    wanted = pa.schema({"a": pa.int32(), "b": pa.string()})
    assert pa.RecordBatchReader.from_stream(stream, schema=wanted).read_all().schema == wanted


def test_an_empty_result_has_columns() -> None:
    empty = ars.from_polars(FRAME).filter(pl.lit(value=False))
    assert list(empty.iter_batches()) == []
    assert pa.table(empty).num_rows == 0
    assert_frame_equal(empty.collect(), FRAME.clear())
    assert_frame_equal(pl.DataFrame(empty), FRAME.clear())


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([1, None], dtype=pl.UInt8),
        pl.Series(["x", None], dtype=pl.Categorical),
        pl.Series(["x", None], dtype=pl.Enum(["x", "y"])),
        pl.Series([[1], None], dtype=pl.List(pl.Int32)),
        pl.Series([[1, 2], None], dtype=pl.Array(pl.Int32, 2)),
        pl.Series([{"x": "p"}, None], dtype=pl.Struct({"x": pl.String})),
        pl.Series([b"x", None], dtype=pl.Binary),
        pl.Series(["1.25", None]).cast(pl.Decimal(10, 2)),
        pl.Series([0, None]).cast(pl.Datetime("ns", "Europe/Berlin")),
        pl.Series([0, None]).cast(pl.Duration("ms")),
        pl.Series([0, None]).cast(pl.Time),
        pl.Series([0, None]).cast(pl.Date),
        pl.Series([None, None], dtype=pl.Null),
        pl.Series([1.5, float("nan")], dtype=pl.Float32),
        pl.Series([True, None]),
    ],
    ids=lambda values: str(values.dtype),
)
def test_every_type_goes_through_arrow(values) -> None:
    frame = pl.DataFrame({"v": values})
    assert_frame_equal(pl.DataFrame(ars.from_polars(frame)), frame)
    assert_frame_equal(ars.from_polars(frame).collect(batch_rows=1), frame)
    tables = pa.Table.from_batches(list(ars.from_polars(frame).iter_batches(batch_rows=1)))
    assert_frame_equal(pl.DataFrame(tables), frame)


def test_all_rows_of_unbounded_input_are_refused() -> None:
    stream = Batches().stream(bounded=False)
    with pytest.raises(
        ars.PlanError, match="collect needs all rows, and the input is unbounded\n  hint: use iter_b"
    ):
        stream.collect()
    with pytest.raises(ars.PlanError, match="reading it as an Arrow stream needs all rows"):
        stream.__arrow_c_stream__()
    with pytest.raises(ars.PlanError, match="collect_async needs all rows"):
        asyncio.run(stream.collect_async())


def test_the_first_rows_of_unbounded_input_are_all_there_is() -> None:
    source = Batches(count=1000, wait_s=0.01)
    assert source.stream(bounded=False).limit(3).collect()["a"].to_list() == [0, 1, 2]
    assert source.closed.wait(DEADLINE_S)
    assert source.given < 1000


def test_the_first_rows_of_unbounded_input_can_be_shown(capsys) -> None:
    source = Batches(count=1000, wait_s=0.01)
    source.stream(bounded=False).show(2)
    assert "shape: (2, 1)" in capsys.readouterr().out
    assert source.closed.wait(DEADLINE_S)
    assert source.given < 1000


def test_an_error_of_the_run_names_the_operator() -> None:
    def fail(frame):
        raise RuntimeError("of the user's own")

    with pytest.raises(ars.DataError, match="of the user's own") as caught:
        ars.from_polars(FRAME).map_batches(fail).collect()
    assert caught.value.operator_id is not None
    assert "map" in caught.value.operator_id
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_collect_async_gives_what_collect_gives() -> None:
    stream = ars.from_polars(FRAME).filter(pl.col("a") > 3)
    assert_frame_equal(asyncio.run(stream.collect_async()), stream.collect())


def test_batches_come_asynchronously_while_the_loop_is_free() -> None:
    async def read():
        beats = 0

        async def beat():
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0.005)

        heart = asyncio.create_task(beat())
        async with aclosing(Batches(count=5, wait_s=0.05).stream().iter_batches_async()) as batches:
            rows = [value async for batch in batches for value in batch["a"].to_pylist()]
        heart.cancel()
        return rows, beats

    rows, beats = asyncio.run(read())
    assert rows == [0, 1, 2, 3, 4]
    assert beats > 5


def test_cancelling_stops_the_run_between_two_results() -> None:
    source = Batches(count=1_000_000, wait_s=0.01)

    async def wait_in_vain():
        await source.stream().filter(pl.lit(value=False)).collect_async()

    async def main():
        task = asyncio.create_task(wait_in_vain())
        await asyncio.to_thread(source.began.wait, DEADLINE_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))
    assert source.closed.wait(DEADLINE_S)


def test_leaving_an_asynchronous_loop_stops_the_run() -> None:
    source = Batches(count=1_000_000, wait_s=0.01)

    async def main():
        async with aclosing(source.stream().iter_batches_async()) as batches:
            async for _ in batches:
                break

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))
    assert source.closed.wait(DEADLINE_S)


def test_a_failure_comes_through_asynchronously() -> None:
    def fail(frame):
        raise RuntimeError("of the user's own")

    with pytest.raises(ars.DataError, match="of the user's own"):
        asyncio.run(ars.from_polars(FRAME).map_batches(fail).collect_async())


def test_a_type_that_arrow_has_not_is_named() -> None:
    rows = pl.DataFrame({"a": [1], "b": [1]}, schema={"a": pl.Int64, "b": pl.UInt64})
    wide = ars.from_polars(rows).select(c=pl.coalesce("a", "b"))
    assert wide.collect().schema == {"c": pl.Int128}
    for read in (pa.table, lambda stream: list(stream.iter_batches())):
        with pytest.raises(ars.PlanError) as caught:
            read(wide)
        assert str(caught.value) == (
            'column "c" is Int128, a type that Arrow does not have\n'
            "  hint: cast it first: to pl.Int64 if the values fit, else to pl.Decimal(38, 0) or pl.String"
        )
