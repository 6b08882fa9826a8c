from __future__ import annotations

import json
import threading

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.config import END_OF_TIME
from arrowstream.connectors.memory import source as source_module
from arrowstream.connectors.memory.source import BatchesSource, FrameSource, LazySource, frame_from_arrow
from arrowstream.errors import ConnectorError, DataError, PlanError
from arrowstream.protocols import Reader, Source

FRAME = pl.DataFrame({"t": pl.Series([5, None, 3, 9, 4]).cast(pl.Datetime("us")), "id": [0, 1, 2, 3, 4]})


def pieces_of(frame, rows=2):
    return [frame.slice(start, rows) for start in range(0, frame.height, rows)]


SOURCES = {
    "frame": lambda: FrameSource(FRAME),
    "lazy": lambda: LazySource(FRAME.lazy()),
    "list": lambda: BatchesSource(pieces_of(FRAME), FRAME.schema),
    "factory": lambda: BatchesSource(lambda: iter(pieces_of(FRAME)), FRAME.schema),
    "iterable": lambda: BatchesSource(iter(pieces_of(FRAME)), FRAME.schema),
}


def read_all(reader, rows=1000):
    pieces, positions = [], []
    while (read := reader.read(rows)) is not None:
        assert read[0].height <= rows
        if read[0].height:  # a batch without rows says that nothing has come yet
            pieces.append(read[0])
            positions.append(read[1])
    reader.close()
    return pieces, positions


@pytest.mark.parametrize("name", SOURCES)
def test_it_is_a_source(name):
    source = SOURCES[name]()
    assert isinstance(source, Source)
    assert pl.Schema(source.schema) == source.polars_schema == FRAME.schema
    assert source.bounded
    assert source.replayable == (name != "iterable")
    assert source.partitions() == ["scan"]
    reader = source.open("scan", None)
    assert isinstance(reader, Reader)
    pieces, positions = read_all(reader)
    assert pl.concat(pieces).equals(FRAME)
    assert positions[-1] == 5


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "iterable"])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_resume_at_every_position(name, rows):
    source = SOURCES[name]()
    pieces, positions = read_all(source.open("scan", None), rows)
    assert pl.concat(pieces).equals(FRAME)
    for position in positions:
        left = read_all(source.open("scan", position))[0]
        assert [number for piece in left for number in piece["id"]] == list(range(position, 5))


@pytest.mark.parametrize("name", ["frame", "lazy"])
def test_project(name):
    source = SOURCES[name]()
    assert read_all(source.project(["id"]).open("scan", None))[0][0].columns == ["id"]
    assert source.project([]).polars_schema.names() == ["t"]
    with pytest.raises(PlanError, match="the frame has no column 'tt'") as raised:
        source.project(["tt"])
    assert raised.value.choices == ("t", "id")
    assert raised.value.hint == "did you mean 't'?"


def test_identity_is_the_content():
    identity = FrameSource(FRAME).identity()
    assert json.loads(json.dumps(identity)) == identity
    assert FrameSource(pl.concat(pieces_of(FRAME), rechunk=False)).identity() == identity
    assert FrameSource(FRAME.reverse()).identity() != identity
    assert FrameSource(FRAME.with_columns(pl.col("id").cast(pl.Int32))).identity() != identity
    assert LazySource(FRAME.lazy().select("id")).identity() != LazySource(FRAME.lazy()).identity()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.integers(-100, 100)), max_size=30),
    st.sampled_from([pl.Datetime("ns", "UTC"), pl.Date, pl.Int64]),
)
def test_horizon_is_the_minimum_of_the_pieces_to_come(times, dtype):
    physical = pl.Int32 if dtype == pl.Date else pl.Int64
    frame = pl.DataFrame({"t": pl.Series(times, dtype=physical).cast(dtype)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_module, "_PIECE_ROWS", 4)
        reader = FrameSource(frame, event_time="t").open("scan", None)
        for row in range(len(times) + 1):
            known = (
                [value for value in times[row // 4 * 4 :] if value is not None] if row < len(times) else []
            )
            for skip in (0, min(row, 3)):
                assert reader.horizon(row - skip, skip) == min(known, default=END_OF_TIME)


def test_horizon_needs_an_event_time():
    assert FrameSource(FRAME).open("scan", None).horizon(None, 0) is None
    assert FrameSource(FRAME).open("scan", None).horizon(5, 0) == END_OF_TIME
    assert FrameSource(FRAME).horizon_missing() == "no event-time column is read from the frame"
    assert FrameSource(FRAME).with_event_time("t").horizon_missing() is None
    with pytest.raises(PlanError, match="the frame has no column 'x'"):
        FrameSource(FRAME).with_event_time("x")


@pytest.mark.parametrize(
    "data",
    [
        FRAME,
        FRAME.to_arrow(),
        FRAME.to_arrow().combine_chunks().to_batches()[0],
        pa.RecordBatchReader.from_stream(FRAME),
    ],
)
def test_frame_from_arrow(data):
    assert frame_from_arrow(data).equals(FRAME)


def test_frame_from_an_object_with_an_arrow_array_only():
    class Batch:
        def __arrow_c_array__(self, requested_schema=None):
            batch = pa.record_batch({"a": [1, 2]})
            return batch.__arrow_c_array__(requested_schema)

    assert frame_from_arrow(Batch())["a"].to_list() == [1, 2]


def test_what_is_no_arrow_data():
    with pytest.raises(PlanError, match="dict is no Arrow data") as raised:
        frame_from_arrow({"a": [1]})
    assert raised.value.hint == "give a pyarrow Table or RecordBatch, or an object with __arrow_c_stream__"


@pytest.mark.parametrize("source", [FrameSource(FRAME), LazySource(FRAME.lazy())])
@pytest.mark.parametrize("position", [-1, "x", [0, 1]])
def test_a_position_of_another_source(source, position):
    with pytest.raises(ConnectorError, match="is no number of rows"):
        source.open("scan", position)


def test_a_lazy_frame_that_fails():
    lazy = pl.LazyFrame({"a": ["x"]}).select(pl.col("a").str.to_integer())
    reader = LazySource(lazy).open("scan", None)
    with pytest.raises(DataError, match="the LazyFrame failed: "):
        reader.read(10)
    reader.close()


def test_a_lazy_frame_over_a_file_that_is_gone(tmp_path):
    FRAME.write_parquet(tmp_path / "a.parquet")
    source = LazySource(pl.scan_parquet(tmp_path / "a.parquet"))
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(ConnectorError, match=r"the LazyFrame failed: .*a\.parquet"):
        source.open("scan", None).read(10)


def test_an_iterable_is_read_once():
    source = SOURCES["iterable"]()
    source.open("scan", None)
    with pytest.raises(ConnectorError, match="has been read already") as raised:
        source.open("scan", None)
    assert raised.value.hint.startswith("give a function that makes a new iterable")


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (FRAME.drop("id"), "batch 1 of from_batches has no column 'id'"),
        (
            FRAME.with_columns(pl.col("id").cast(pl.Int8)),
            "column 'id' of batch 1 of from_batches is Int8, but Int64 in schema=",
        ),
        (FRAME.with_columns(x=1), "batch 1 of from_batches has a column 'x' that schema= does not have"),
        ({"id": [1]}, "batch 1 of from_batches: dict is no Arrow data"),
    ],
)
def test_each_batch_is_checked(batch, message):
    reader = BatchesSource([FRAME, batch], FRAME.schema).open("scan", None)
    reader.read(10)
    with pytest.raises(DataError) as raised:
        reader.read(10)
    assert raised.value.fact == message
    assert raised.value.offset == 5
    assert raised.value.hint


def test_schemas_of_arrow_and_columns_in_another_order():
    schema = pa.schema({"a": pa.int32(), "b": pa.string()})
    batches = [
        pa.record_batch({"b": ["x"], "a": pa.array([1], pa.int32())}),
        pa.table({"a": [], "b": []}, schema),
    ]
    source = BatchesSource(batches, schema)
    assert source.polars_schema == {"a": pl.Int32, "b": pl.String}
    assert [piece.rows() for piece in read_all(source.open("scan", None))[0]] == [[(1, "x")]]


def test_an_exception_of_the_users_code():
    def batches():
        yield FRAME
        raise ZeroDivisionError("boom")

    reader = BatchesSource(batches, FRAME.schema).open("scan", None)
    reader.read(10)
    with pytest.raises(
        ConnectorError, match="the batches of from_batches failed after 1 batches: ZeroDivisionError: boom"
    ) as raised:
        reader.read(10)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(("batches", "kind"), [(3, "int"), (FRAME, "DataFrame"), (FRAME.to_arrow(), "Table")])
def test_what_is_no_iterable_of_batches(batches, kind):
    with pytest.raises(PlanError, match=kind) as raised:
        BatchesSource(batches, FRAME.schema)
    assert "from_arrow or from_polars" in raised.value.hint


def test_closing_closes_the_generator():
    closed = threading.Event()

    def batches():
        try:
            yield FRAME
            yield FRAME
        finally:
            closed.set()

    reader = BatchesSource(batches, FRAME.schema).open("scan", None)
    reader.read(2)
    reader.close()
    reader.close()
    assert closed.is_set()
    assert not BatchesSource(batches, FRAME.schema, bounded=False).bounded
