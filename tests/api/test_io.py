"""Where streams begin."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

import arrowstream as ars

FRAME = pl.DataFrame({"t": [datetime(2026, 1, 1, 0, 0, second) for second in range(6)], "n": range(6)})


@pytest.fixture
def folder(tmp_path):
    for number, name in ((0, "2"), (1, "10")):
        FRAME[number * 3 : number * 3 + 3].write_parquet(tmp_path / f"{name}.parquet")
        FRAME[number * 3 : number * 3 + 3].write_ipc(tmp_path / f"{name}.arrow")
    return tmp_path


@pytest.mark.parametrize(("scan", "suffix"), [(ars.scan_parquet, "parquet"), (ars.scan_ipc, "arrow")])
def test_files_are_read_in_natural_order(folder, scan, suffix) -> None:
    assert_frame_equal(scan(folder / f"*.{suffix}").collect(), FRAME)
    assert_frame_equal(scan(str(folder / f"2.{suffix}")).collect(), FRAME[:3])
    assert scan(folder / f"*.{suffix}", event_time="t", lateness="5s", clock_by="file").collect().height == 6


def test_a_relative_path_is_that_of_the_call(folder, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    stream = ars.scan_parquet("*.parquet")
    monkeypatch.chdir("/")
    assert_frame_equal(stream.collect(), FRAME)


@pytest.mark.parametrize(
    "data",
    [
        FRAME.to_arrow(),
        FRAME.to_arrow().to_batches()[0],
        FRAME,
        ars.from_polars(FRAME),
    ],
    ids=["Table", "RecordBatch", "DataFrame", "Stream"],
)
def test_arrow_data_can_be_read_again(data) -> None:
    stream = ars.from_arrow(data)
    assert_frame_equal(stream.collect(), FRAME)
    assert_frame_equal(stream.collect(), FRAME)


def test_a_reader_can_be_read_once() -> None:
    table = FRAME.to_arrow()
    stream = ars.from_arrow(pa.RecordBatchReader.from_batches(table.schema, table.to_batches()))
    assert_frame_equal(stream.collect(), FRAME)
    with pytest.raises(ars.ConnectorError, match="cannot be read again"):
        stream.collect()


def test_frames_lazy_or_not() -> None:
    assert_frame_equal(ars.from_polars(FRAME).collect(), FRAME)
    assert_frame_equal(ars.from_polars(FRAME.lazy().filter(pl.col("n") > 2)).collect(), FRAME[3:])


def test_batches_of_any_kind() -> None:
    batches = [FRAME[:2], FRAME[2:4].to_arrow(), FRAME[4:].to_arrow().to_batches()[0]]
    for schema in (FRAME.schema, FRAME.to_arrow().schema, dict(FRAME.schema)):
        assert_frame_equal(ars.from_batches(batches, schema=schema).collect(), FRAME)
    assert_frame_equal(ars.from_batches(lambda: iter(batches), schema=FRAME.schema).collect(), FRAME)


def test_a_source_of_ones_own() -> None:
    class Reader:
        def __init__(self, row):
            self.row = row

        def read(self, max_rows):
            piece = FRAME[self.row : self.row + max_rows]
            self.row += piece.height
            return (piece.to_arrow().combine_chunks().to_batches()[0], self.row) if piece.height else None

        def close(self):
            pass

    class Source:
        schema = FRAME.to_arrow().schema
        bounded = True
        replayable = True

        def partitions(self):
            return ["all"]

        def open(self, partition, position):
            return Reader(position or 0)

    assert isinstance(Source(), ars.Source)
    stream = ars.scan(Source(), event_time="t")
    assert_frame_equal(stream.collect(batch_rows=2), FRAME)
    assert stream.group_by_dynamic("t", every="3s").agg(pl.col("n").sum()).collect()["n"].to_list() == [3, 12]


@pytest.mark.parametrize(
    ("begin", "message"),
    [
        (
            lambda: ars.scan(FRAME),
            "DataFrame is not a source: it has no bounded, replayable, partitions, open\n  hint",
        ),
        (
            lambda: ars.from_polars([1]),
            "from_polars takes a pl.DataFrame or pl.LazyFrame, not list\n  hint: use from_a",
        ),
        (lambda: ars.from_arrow(1), "int is no Arrow data\n  hint"),
        (lambda: ars.from_polars(FRAME, event_time="tt"), "tt"),
        (lambda: ars.from_polars(FRAME, event_time="n"), "n"),
        (lambda: ars.from_polars(FRAME, lateness="5s"), "lateness needs event time"),
        (
            lambda: ars.from_batches([], schema=FRAME.schema, bounded=False, event_time="t"),
            "lateness has to be given",
        ),
        (lambda: ars.scan_parquet("/nowhere/*.parquet"), "/nowhere"),
    ],
)
def test_mistakes_are_told_at_the_line_that_begins_the_stream(begin, message) -> None:
    with pytest.raises(ars.PlanError) as caught:
        begin()
    assert message in str(caught.value)
