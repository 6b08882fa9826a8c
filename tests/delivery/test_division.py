"""Rows divided into files by key, number, size and time: a function of the rows alone, and no row is lost."""

from __future__ import annotations

import io
from datetime import date, datetime, timedelta
from itertools import pairwise

import duckdb
import polars as pl
import polars.testing
import pyarrow.dataset
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import arrowstream as ars
from arrowstream.config import ARROW_LEVEL
from arrowstream.connectors.files import division
from arrowstream.connectors.files.division import Division
from arrowstream.connectors.files.ipc_encode import IpcEncoding
from arrowstream.connectors.files.parquet_encode import ParquetEncoding
from arrowstream.connectors.files.sink import FileSink
from arrowstream.errors import DataError, PlanError

SCHEMA = pl.Schema(
    {"k": pl.String(), "n": pl.Int8(), "t": pl.Datetime("us"), "v": pl.Int64(), "c": pl.Categorical()}
)
BEGIN = datetime(2026, 1, 1)


def batches(frame, cuts=()):
    bounds = [0, *sorted(cut for cut in cuts if cut < frame.height), frame.height]
    for start, end in pairwise(bounds):
        yield from frame[start:end].to_arrow(compat_level=ARROW_LEVEL).to_batches()


def files_of(frame, division, encoding=None, cuts=()):
    """Name and bytes of every file, in the order in which they were begun."""
    files = {}
    sink = FileSink("/out", encoding or IpcEncoding(record_batch_size=4), division)
    sink.check_schema(frame.schema)
    for name, piece in sink.encode(batches(frame, cuts)):
        files[name] = files.get(name, b"") + piece
    return files


def read(data):
    return pl.read_ipc(io.BytesIO(data)) if data[:6] == b"ARROW1" else pl.read_parquet(io.BytesIO(data))


def frame_of(values):
    return pl.DataFrame({"v": values}, schema={"v": pl.Int64})


rows = st.fixed_dictionaries(
    {
        "k": st.none() | st.sampled_from(["a", "b", "x/y", "..", "é"]),
        "n": st.none() | st.integers(0, 2),
        "t": st.none() | st.integers(0, 300).map(lambda minutes: BEGIN + timedelta(minutes=minutes)),
        "v": st.none() | st.integers(-5, 5),
        "c": st.none() | st.sampled_from(["p", "q"]),
    }
)
divisions = st.builds(
    lambda keys, rows_max, size, every: Division(
        partition_by=tuple(keys),
        max_rows_per_file=rows_max,
        approximate_bytes_per_file=size,
        rotate_every=every,
        rotate_by="t",
        include_key=len(keys) == 1,
    ),
    st.sampled_from([(), ("k",), ("n", "k"), ("c",)]),
    st.none() | st.integers(1, 9),
    st.none() | st.integers(1, 3_000),
    st.none() | st.sampled_from(["1h", "30m"]),
).filter(lambda division: division.divides)


@pytest.fixture
def small(monkeypatch):
    """Bounds that a few rows reach."""
    for name, value in (
        ("BLOCK_ROWS", 7),
        ("WAITING_ROWS_MAX", 11),
        ("OPEN_FILES_MAX", 3),
        ("_CHUNK_ROWS_MIN", 2),
    ):
        monkeypatch.setattr(division, name, value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rows, min_size=1, max_size=60), divisions, st.data())
def test_files_depend_on_rows_alone_and_hold_each_of_them_once(small, values, divided, data):
    frame = pl.DataFrame(values, schema=SCHEMA)
    files = files_of(frame, divided)
    cuts = data.draw(st.lists(st.integers(0, frame.height)))
    assert files_of(frame, divided, cuts=cuts) == files
    columns = divided.written(SCHEMA).names()
    written = pl.concat([read(data) for data in files.values()])
    assert written.columns == columns
    assert sorted(written.rows(), key=str) == sorted(frame.select(columns).rows(), key=str)
    for data_of in files.values():
        assert 1 <= read(data_of).height <= (divided.max_rows_per_file or frame.height)
    if not divided.partition_by:
        assert written.select("v", "t").rows() == frame.select("v", "t").rows()


def test_a_file_ends_after_the_rows_that_were_asked_for():
    files = files_of(frame_of(range(10)), Division(max_rows_per_file=4), IpcEncoding())
    assert list(files) == ["00001.arrow", "00002.arrow", "00003.arrow"]
    assert [read(data)["v"].to_list() for data in files.values()] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_row_groups_are_whole_in_files_of_many_rows(monkeypatch):
    monkeypatch.setattr(division, "BLOCK_ROWS", 3)
    files = files_of(frame_of(range(20)), Division(max_rows_per_file=10), ParquetEncoding(row_group_size=4))
    groups = [pyarrow.parquet.read_metadata(io.BytesIO(data)) for data in files.values()]
    assert [[one.row_group(at).num_rows for at in range(one.num_row_groups)] for one in groups] == [
        [4, 4, 2]
    ] * 2


@pytest.mark.parametrize(
    "encoding", [ParquetEncoding(compression="uncompressed"), IpcEncoding("uncompressed")]
)
def test_a_file_ends_when_it_has_the_size_that_was_asked_for(encoding):
    frame = frame_of(range(200_000))
    files = files_of(frame, Division(approximate_bytes_per_file=100_000), encoding)
    *full, rest = [len(data) for data in files.values()]
    assert len(full) >= 10
    assert all(100_000 <= size < 220_000 for size in full)
    assert rest < 220_000


def test_a_file_ends_when_time_enters_another_span_for_the_first_time():
    minutes = [10, 50, 70, 40, 65, None, 130, 20, 200]
    frame = pl.DataFrame(
        {"t": [None if m is None else BEGIN + timedelta(minutes=m) for m in minutes], "m": minutes}
    )
    files = files_of(frame, Division(rotate_every="1h", rotate_by="t"))
    assert [read(data)["m"].to_list() for data in files.values()] == [
        [10, 50], [70, 40, 65, None], [130, 20], [200]
    ]  # fmt: skip


def test_time_rotates_the_files_of_each_partition_alone():
    frame = pl.DataFrame(
        {"k": ["a", "b", "a", "b"], "t": [BEGIN + timedelta(minutes=m) for m in (0, 90, 61, 91)]}
    )
    files = files_of(frame, Division(partition_by=("k",), rotate_every="1h", rotate_by="t"))
    assert sorted(files) == ["k=a/00001.arrow", "k=a/00002.arrow", "k=b/00001.arrow"]


def test_a_file_without_rows_of_late_ends_for_another_one(monkeypatch):
    for name, value in (("OPEN_FILES_MAX", 2), ("BLOCK_ROWS", 2), ("WAITING_ROWS_MAX", 2)):
        monkeypatch.setattr(division, name, value)
    frame = pl.DataFrame({"k": list("aabbccaabb"), "v": range(10)})
    files = files_of(frame, Division(partition_by=("k",)))
    assert sorted(files) == [
        "k=a/00001.arrow", "k=a/00002.arrow", "k=b/00001.arrow", "k=b/00002.arrow", "k=c/00001.arrow"
    ]  # fmt: skip


def test_a_file_that_finds_no_encoder_ends_with_its_rows(monkeypatch):
    for name, value in (("OPEN_FILES_MAX", 2), ("BLOCK_ROWS", 6), ("WAITING_ROWS_MAX", 6)):
        monkeypatch.setattr(division, name, value)
    frame = pl.DataFrame({"k": list("abcabc") * 3, "v": range(18)})
    files = files_of(frame, Division(partition_by=("k",)))
    assert {name: read(data).height for name, data in files.items()} == {
        "k=a/00001.arrow": 6, "k=b/00001.arrow": 6,
        "k=c/00001.arrow": 2, "k=c/00002.arrow": 2, "k=c/00003.arrow": 2,
    }  # fmt: skip


def test_memory_is_bounded_whatever_the_number_of_keys(monkeypatch):
    """2,000 keys: few encoders, and no more rows wait than are allowed."""
    monkeypatch.setattr(division, "WAITING_ROWS_MAX", 900)
    monkeypatch.setattr(division, "OPEN_FILES_MAX", 100)
    frame = pl.DataFrame({"k": range(2_000), "v": range(2_000)}).select(pl.all().repeat_by(3).explode())
    encoders, waiting = [], []
    written = division._Files(IpcEncoding(), Division(partition_by=("k",)))

    def blocks():
        for block in division.cut([frame], 500):
            yield block
            waiting.append(written._waiting_rows)

    encoders += [written._encoders for _ in written.steps(blocks())]
    assert max(encoders) <= 100 + 1  # one for a file that ends at once
    assert max(waiting) < 900
    assert written._encoders == 0


def test_no_rows_show_the_columns_where_there_is_a_place_for_them():
    empty = pl.DataFrame(schema={"k": pl.String, "v": pl.Int64})
    batch = empty.to_arrow(compat_level=ARROW_LEVEL).to_batches() or [
        pyarrow.RecordBatch.from_pylist([], schema=empty.to_arrow(compat_level=ARROW_LEVEL).schema)
    ]
    rotated = FileSink("/out", ParquetEncoding(), Division(max_rows_per_file=1))
    ((name, first), *rest) = list(rotated.encode(batch))
    data = b"".join([first, *(piece for _, piece in rest)])
    assert (name, read(data).schema) == ("00001.parquet", empty.schema)
    partitioned = FileSink("/out", ParquetEncoding(), Division(partition_by=("k",)))
    assert list(partitioned.encode(batch)) == []
    assert list(rotated.encode([])) == []


KEYS = {
    "text": (pl.String(), ["a b", "x/y", "..", "", "é=ü", "%2e", None]),
    "category": (pl.Categorical(), ["a", "b/c", None]),
    "enum": (pl.Enum(["u", "v"]), ["u", "v", None]),
    "int": (pl.Int64(), [-1, 0, 2**62, None]),
    "flag": (pl.Boolean(), [True, False, None]),
    "day": (pl.Date(), [date(2026, 1, 2), date(1969, 12, 31), None]),
    "time": (
        pl.Datetime("us"),
        [datetime(2026, 1, 2, 3, 4, 5), datetime(2026, 1, 2, 3, 4, 5, 678_000), None],
    ),
}


@pytest.mark.parametrize("include_key", [True, False])
@pytest.mark.parametrize("kind", KEYS)
def test_partitions_are_read_back_equal_by_polars_duckdb_and_pyarrow(tmp_path, kind, include_key):
    dtype, values = KEYS[kind]
    frame = pl.DataFrame({"key": values, "row": range(len(values))}, schema={"key": dtype, "row": pl.Int64})
    out = tmp_path / "out"
    job = ars.from_polars(frame).sink_parquet(pl.PartitionBy(out, key="key", include_key=include_key))
    assert job.run(progress=False).rows_out == frame.height
    text = dtype in (pl.Categorical, pl.Enum)
    expected = frame.with_columns(pl.col("key").cast(pl.String)) if text else frame

    found = pl.scan_parquet(out, hive_partitioning=True).select("key", "row").sort("row").collect()
    polars.testing.assert_frame_equal(
        found.with_columns(pl.col("key").cast(pl.String)) if text else found, expected
    )
    for read in ({}, {"committed_only": True}):
        again = ars.scan_parquet(out, **read).select("key", "row").collect(progress=False).sort("row")
        polars.testing.assert_frame_equal(
            again.with_columns(pl.col("key").cast(pl.String)) if text else again, expected
        )
    queried = duckdb.sql(
        f"select key, row from read_parquet('{out}/**/*.parquet', hive_partitioning=true) order by row"
    ).fetchall()
    if kind in ("flag", "time"):  # DuckDB takes them for text
        assert [str(key).lower()[:19] for key, _ in queried] == [
            str(value).lower()[:19] for value in expected["key"].to_list()
        ]
    else:
        assert queried == expected.rows()
    if not include_key:
        arrow = pyarrow.dataset.dataset(out, partitioning="hive").to_table().sort_by("row")
        as_text = [None if value is None else str(value) for value in arrow["key"].to_pylist()]
        assert as_text == expected["key"].cast(pl.String).to_list() or kind == "flag"


def test_several_keys_expressions_and_limits(tmp_path):
    frame = pl.DataFrame(
        {"t": [BEGIN + timedelta(hours=h) for h in range(0, 96, 2)], "city": ["Rome", "Oslo"] * 24}
    )
    where = pl.PartitionBy(
        tmp_path / "out",
        key=[pl.col("t").dt.date().alias("day"), "city"],
        include_key=False,
        max_rows_per_file=4,
    )
    ars.from_polars(frame).sink_ipc(where).run(progress=False)
    names = sorted(
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.arrow")
    )
    assert names == [
        f"day=2026-01-0{day}/city={city}/part-00000001-0000{number}.arrow"
        for day in (1, 2, 3, 4) for city in ("Oslo", "Rome") for number in (1, 2)
    ]  # fmt: skip
    assert pl.read_ipc(tmp_path / "out" / names[0]).columns == ["t"]


def test_event_time_rotates_a_stream(tmp_path):
    frame = pl.DataFrame({"t": [BEGIN + timedelta(minutes=m) for m in range(180)], "v": range(180)})
    stream = ars.from_polars(frame, event_time="t")
    stream.sink_parquet(tmp_path / "out", rotate_every="1h").run(progress=False)
    assert [pl.read_parquet(path).height for path in sorted((tmp_path / "out").iterdir())] == [60, 60, 60]
    with pytest.raises(PlanError, match="needs a column of times") as caught:
        ars.from_polars(frame).sink_parquet(tmp_path / "other", rotate_every="1h")
    assert "give the source an event_time=" in str(caught.value)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (lambda out: pl.PartitionBy(out, key="nope"), "nope"),
        (
            lambda out: pl.PartitionBy(out, key="f"),
            r"column 'f' is Float64, which cannot be the name of a folder",
        ),
        (lambda out: pl.PartitionBy(out, key="l"), r"column 'l' is List\(Int64\), which cannot be"),
        (lambda out: pl.PartitionBy(out, key="z"), "column 'z' is Datetime"),
        (lambda out: pl.PartitionBy(out, key="_x"), "column '_x' cannot be a key"),
        (lambda out: pl.PartitionBy(out, key=pl.col("f").cast(pl.Int64)), "is called 'f', as a column"),
        (lambda out: pl.PartitionBy(out, key=["a", "a"]), "a key is there twice"),
        (
            lambda out: pl.PartitionBy(out, key="a", file_path_provider=lambda _: "x"),
            "names its files itself",
        ),
        (lambda out: pl.PartitionBy(out, key="a", max_rows_per_file=0), "max_rows_per_file=0 is not"),
    ],
)
def test_what_cannot_divide_rows_is_said_when_it_is_written(tmp_path, where, message):
    frame = pl.DataFrame(
        {"a": [1], "f": [1.0], "l": [[1]], "z": [BEGIN], "_x": [1]},
        schema_overrides={"z": pl.Datetime("us", "UTC")},
    )
    with pytest.raises(PlanError, match=message):
        ars.from_polars(frame).sink_parquet(where(tmp_path / "out"))


def test_options_that_contradict_each_other_or_mean_nothing(tmp_path):
    stream = ars.from_polars(pl.DataFrame({"a": [1]}))
    with pytest.raises(PlanError, match=r"beside a pl\.PartitionBy"):
        stream.sink_parquet(pl.PartitionBy(tmp_path, key="a"), max_rows_per_file=3)
    with pytest.raises(PlanError, match="all columns are keys"):
        stream.sink_parquet(pl.PartitionBy(tmp_path / "out", key="a", include_key=False))
    for every in ("soon", "0s", "", "-1h", "1x"):
        with pytest.raises(PlanError, match=f"rotate_every='{every}' is not a duration"):
            stream.sink_parquet(tmp_path / "out", rotate_every=every)
    with pytest.raises(PlanError, match="approximate_bytes_per_file=-1 is not a size"):
        stream.sink_parquet(tmp_path / "out", approximate_bytes_per_file=-1)


@pytest.mark.parametrize("value", ["x" * 300, "/" * 90, "__HIVE_DEFAULT_PARTITION__"])
def test_a_value_that_cannot_be_a_name_names_the_column(tmp_path, value):
    job = ars.from_polars(pl.DataFrame({"key": [value], "v": [1]})).sink_parquet(
        pl.PartitionBy(tmp_path / "out", key="key")
    )
    with pytest.raises(DataError, match="column 'key' has "):
        job.run(progress=False)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("options", [{"rotate_every": "1h"}, {"max_rows_per_file": 1}, {}])
def test_no_rows_leave_one_file_with_the_columns(tmp_path, options):
    frame = pl.DataFrame(schema={"t": pl.Datetime("us"), "n": pl.Int64})
    ars.from_polars(frame, event_time="t").sink_parquet(tmp_path / "out", **options).run(progress=False)
    assert pl.read_parquet(tmp_path / "out").schema == frame.schema
