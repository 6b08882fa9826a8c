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


class OwnReader:
    def __init__(self, gives):
        self.gives = gives

    def read(self, max_rows):
        return self.gives

    def close(self):
        pass


class OwnSource:
    """A source as a user might get it wrong."""

    bounded = replayable = True

    def __init__(self, *, schema=FRAME.schema, names=("all",), reader=None):
        self.schema, self.names, self.reader = schema, names, reader

    def partitions(self):
        if isinstance(self.names, Exception):
            raise self.names
        return self.names

    def open(self, partition, position):
        if isinstance(self.reader, Exception):
            raise self.reader
        return self.reader


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            OwnSource(reader=OSError("no route")),
            "opening partition 'all' failed: OSError: no route\n  at: operator scan, partition all",
        ),
        (
            OwnSource(reader=None),
            (
                "OwnSource.open() returned NoneType, which is not a reader\n"
                "  at: operator scan, partition all\n"
                "  hint: return an object with read(max_rows) and close(): see arrowstream.Reader"
            ),
        ),
        (
            OwnSource(reader=OwnReader((FRAME, 6, 7))),
            (
                "read() returned (DataFrame, int, int), not (batch, position)\n"
                "  at: operator scan, partition all\n"
                "  hint: return a pa.RecordBatch or pl.DataFrame and the position after its last row; "
                "None at the end"
            ),
        ),
        (
            OwnSource(reader=OwnReader(FRAME)),
            (
                "read() returned DataFrame, not (batch, position)\n"
                "  at: operator scan, partition all\n"
                "  hint: return a pa.RecordBatch or pl.DataFrame and the position after its last row; "
                "None at the end"
            ),
        ),
        (
            OwnSource(names=RuntimeError("no list")),
            "OwnSource.partitions() failed: RuntimeError: no list",
        ),
        (
            OwnSource(names=("a", "b", "a"), reader=OwnReader(None)),
            (
                "OwnSource.partitions() has 'a' twice\n"
                "  hint: give each partition its own name: positions are remembered by it"
            ),
        ),
    ],
)
def test_a_source_that_breaks_its_protocol_is_told_and_nothing_hangs(source, text) -> None:
    with pytest.raises(ars.ConnectorError) as caught:
        ars.scan(source).collect()
    assert str(caught.value) == text


def test_a_source_may_have_a_schema_of_polars() -> None:
    assert ars.scan(OwnSource(reader=OwnReader(None))).collect().schema == FRAME.schema


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
        (
            lambda: ars.from_polars(FRAME.lazy().select("m")),
            'from_polars: the LazyFrame is wrong: unable to find column "m"',
        ),
        (
            lambda: ars.from_polars(FRAME.with_columns(pl.lit(1, pl.Int128).alias("wide"))),
            (
                'column "wide" is Int128, a type that Arrow does not have\n'
                '  hint: cast it first: frame.with_columns(pl.col("wide").cast(…))'
            ),
        ),
        (
            lambda: ars.from_batches([], schema=3),
            (
                "schema=3 is not a schema: 'int' object is not iterable\n"
                '  hint: name columns and Polars types: schema={"price": pl.Int64, "time": pl.Datetime("us")}'
            ),
        ),
        (lambda: ars.from_arrow(pa.table([[1], [2]], names=["a", "a"])), "two columns have one name"),
        (
            lambda: ars.from_arrow(pa.chunked_array([[1]])),
            "from_arrow takes a table, not ChunkedArray",
        ),
        (
            lambda: ars.scan(OwnSource(schema=3)),
            (
                "scan: the schema of OwnSource is int, not a pa.Schema\n"
                '  hint: write pa.schema([("name", pa.int64()), …])'
            ),
        ),
        (
            lambda: ars.scan(OwnSource(schema=pa.schema([("a", pa.int64()), ("a", pa.int64())]))),
            'scan: two columns are called "a"\n  hint: rename one of them in the source',
        ),
    ],
)
def test_mistakes_are_told_at_the_line_that_begins_the_stream(begin, message) -> None:
    with pytest.raises(ars.PlanError) as caught:
        begin()
    assert message in str(caught.value)


def test_a_batch_of_other_columns_is_told() -> None:
    with pytest.raises(ars.DataError) as caught:
        ars.scan(OwnSource(reader=OwnReader((pl.DataFrame({"z": [1]}), 1)))).collect()
    assert str(caught.value) == (
        "a batch of partition 'all' has the columns {'z': Int64}, the source's schema says "
        "{'t': Datetime(time_unit='us', time_zone=None), 'n': Int64}\n"
        "  at: operator scan, partition all\n"
        "  hint: read() must return what schema promises"
    )


def test_a_function_given_to_map_batches_that_fails_or_returns_no_frame_is_told() -> None:
    rows = ars.from_polars(FRAME)
    hint = "\n  hint: return the frame: one without rows, if there is nothing to give"
    for function, text, more in (
        (lambda frame: frame.height, "returned int, not a pl.DataFrame", hint),
        (lambda frame: frame.height / 0, "failed: ZeroDivisionError: division by zero", ""),
    ):
        with pytest.raises(ars.DataError) as caught:
            rows.map_batches(function).collect()
        assert str(caught.value) == (
            f"the function given to map_batches {text}\n  at: operator map-batches-2{more}"
        )
