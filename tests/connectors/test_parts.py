from __future__ import annotations

import datetime as dt
import io
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import duckdb
import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrowstream.config import DEAD
from arrowstream.connectors.files.parts import PartsFormat
from arrowstream.connectors.files.places import place_of
from arrowstream.connectors.files.record_batches import RecordBatches
from arrowstream.connectors.files.row_groups import RowGroups
from arrowstream.errors import ConnectorError, DataError

PARQUET, IPC = PartsFormat(RowGroups), PartsFormat(RecordBatches)

WRITERS = {
    "parquet": partial(pl.DataFrame.write_parquet, row_group_size=5),
    "arrow": partial(pl.DataFrame.write_ipc, record_batch_size=5),
    "zstd.arrow": partial(pl.DataFrame.write_ipc, record_batch_size=5, compression="zstd"),
}


def format_of(suffix):
    return PARQUET if suffix == "parquet" else IPC


def of(values, dtype):
    return pl.Series([*values, None] * 6, dtype=dtype)


ALL_TYPES = pl.DataFrame(
    {
        "id": pl.int_range(12, eager=True),
        "i8": of([-1], pl.Int8),
        "u64": of([2**64 - 1], pl.UInt64),
        "f32": of([float("nan")], pl.Float32),
        "bool": of([True], pl.Boolean),
        "str": of(["ä" * 20], pl.String),
        "bin": of([b"\x00\xff"], pl.Binary),
        "null": of([None], pl.Null),
        "date": of([dt.date(1969, 1, 1)], pl.Date),
        "time": of([dt.time(1, 2, 3, 4)], pl.Time),
        **{f"at_{unit}": of([-1], pl.Int64).cast(pl.Datetime(unit)) for unit in ("ms", "us", "ns")},
        "tz": of([1], pl.Int64).cast(pl.Datetime("ms", "Europe/Berlin")),
        **{f"dur_{unit}": of([7], pl.Int64).cast(pl.Duration(unit)) for unit in ("ms", "us", "ns")},
        "dec": of(["1.25"], pl.String).cast(pl.Decimal(10, 2)),
        "wide": of(["1" * 38], pl.String).cast(pl.Decimal(38, 0)),
        "cat": of(["a"], pl.Categorical()),
        "enum": of(["b"], pl.Enum(["a", "b"])),
        "list": of([["x", None]], pl.List(pl.String)),
        "array": of([[1, 2]], pl.Array(pl.Int8, 2)),
        "struct": of([{"x": {"y": [1]}, "z": "w"}], None),
        "cats": of([["a"]], pl.List(pl.Categorical())),
    }
)


@pytest.fixture(params=["local", "s3", "http", "http without ranges", "memory"])
def put(request, tmp_path):
    """A function that puts a file somewhere, and gives its place and itself as it was found."""
    bucket = request.getfixturevalue("s3") if request.param == "s3" else None
    options = None if bucket is None else bucket.storage_options

    def put(name, content):
        if request.param.startswith("http"):
            web = request.getfixturevalue("web")
            web.server.ranges = request.param == "http"
            (web.folder / name).write_bytes(content)
            url = f"{web.url}/{name}"
        elif bucket is not None:
            url = f"{bucket.url}/{name}"
            fsspec.filesystem("s3", **options).pipe(url, content)
        elif request.param == "memory":
            url = f"memory://{tmp_path.name}/{name}"
            fsspec.filesystem("memory").pipe(url, content)
        else:
            url = str(tmp_path / name)
            (tmp_path / name).write_bytes(content)
        place = place_of(url, options)
        return place, place.find(url, ())[0]

    return put


def written(rows, suffix):
    buffer = io.BytesIO()
    WRITERS[suffix](rows, buffer)
    return buffer.getvalue()


def read(place, file, format, columns=None, resume=None, on_error="raise"):  # noqa: A002 - the word for it
    with place.open(file) as stream:
        schema = format.schema(stream, file.path)
        stream.seek(0)
        columns = columns or schema.names()
        return list(
            format.blocks(stream, file.path, schema=schema, columns=columns, resume=resume, on_error=on_error)
        )


def rows_of(blocks):
    return pl.concat([block.frame for block in blocks], how="diagonal")


@pytest.mark.parametrize("suffix", list(WRITERS))
@pytest.mark.parametrize("on_error", ["raise", "dead_letter"])
def test_types_are_those_that_polars_reads_from_the_same_file(put, tmp_path, suffix, on_error):
    content = written(ALL_TYPES, suffix)
    place, file = put(f"a.{suffix}", content)
    read_by_polars = pl.read_parquet(content) if suffix == "parquet" else pl.read_ipc(content)
    assert read_by_polars.equals(ALL_TYPES)
    found = rows_of(read(place, file, format_of(suffix), on_error=on_error))
    assert found.schema == read_by_polars.schema == ALL_TYPES.schema
    assert found.equals(read_by_polars)
    with place.open(file) as stream:
        assert format_of(suffix).schema(stream, file.path) == ALL_TYPES.schema


@pytest.mark.parametrize("suffix", list(WRITERS))
def test_columns_and_resume(put, suffix):
    place, file = put(f"a.{suffix}", written(ALL_TYPES, suffix))
    columns = ["str", "id", "struct"]
    blocks = read(place, file, format_of(suffix), columns)
    assert rows_of(blocks).equals(ALL_TYPES.select(columns))
    seen = 0
    for block in blocks:
        seen += block.frame.height
        rest = read(place, file, format_of(suffix), columns, resume=block.resume)
        assert sum(block.frame.height for block in rest) == 12 - seen
        if rest:
            assert rows_of(rest).equals(ALL_TYPES.select(columns).slice(seen))


def test_only_what_is_wanted_is_fetched(web):
    rows = pl.DataFrame({name: pl.int_range(200_000, eager=True).shuffle(1) for name in "abcdefgh"})
    rows.write_parquet(web.folder / "a.parquet", compression="uncompressed", row_group_size=100_000)
    url = f"{web.url}/a.parquet"
    place = place_of(url)
    (file,) = place.find(url, ())
    assert rows_of(read(place, file, PARQUET, ["c"])).equals(rows.select("c"))
    fetched = 0
    for _, _, range_ in web.requests:
        if range_ is not None:
            first, last = range_.removeprefix("bytes=").split("-")
            fetched += int(last) + 1 - int(first)
    assert rows["c"].estimated_size() <= fetched < file.size_bytes // 3


def corrupted(content, index):
    """A Parquet file with noise in a column of a row group."""
    chunk = pq.read_metadata(io.BytesIO(content)).row_group(index).column(0)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    end = start + chunk.total_compressed_size
    return content[:start] + b"\xff" * (end - start) + content[end:]


def test_a_damaged_row_group_costs_only_itself(put):
    content = written(ALL_TYPES.select("id", "str"), "parquet")
    place, file = put("a.parquet", corrupted(content, 1))
    with pytest.raises(DataError, match=r"row group 1 of .*a\.parquet cannot be read: "):
        read(place, file, PARQUET)
    blocks = read(place, file, PARQUET, on_error="dead_letter")
    found = rows_of(blocks)
    assert found["id"].to_list() == [0, 1, 2, 3, 4, None, 10, 11]
    dead = found[DEAD][5]
    assert dead["original"] is None
    assert dead["source"] == file.path
    assert dead["position"] == "row group 1"
    assert dead["error"].startswith(f"row group 1 of {file.path} cannot be read: ")
    for index, block in enumerate(blocks):
        rest = read(place, file, PARQUET, resume=block.resume, on_error="dead_letter")
        assert sum(other.frame.height for other in rest) == sum(b.frame.height for b in blocks[index + 1 :])


def test_a_damaged_record_batch_costs_only_itself(put):
    rows = pl.DataFrame(
        {"id": pl.int_range(15, eager=True), "str": ["a long enough string to be outside"] * 15}
    )
    sink = io.BytesIO()
    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=5)
    content = bytearray(sink.getvalue())
    ends = (34 * 5).to_bytes(8, "little")  # the last offset of the strings, once in each batch
    second = content.index(ends, content.index(ends) + 1)
    content[second : second + 8] = (2**40).to_bytes(8, "little")
    place, file = put("a.arrow", bytes(content))
    with pytest.raises(DataError, match=r"record batch 1 of .*a\.arrow cannot be read: "):
        read(place, file, IPC)
    found = rows_of(read(place, file, IPC, on_error="dead_letter"))
    assert found["id"].to_list() == [0, 1, 2, 3, 4, None, 10, 11, 12, 13, 14]
    assert found[DEAD][5]["position"] == "record batch 1"


@pytest.mark.parametrize("suffix", list(WRITERS))
@pytest.mark.parametrize("damage", ["empty", "short", "text", "other", "headless"])
def test_a_file_that_is_none(put, suffix, damage):
    content = written(ALL_TYPES, suffix)
    other = written(ALL_TYPES, "arrow" if suffix == "parquet" else "parquet")
    content = {
        "empty": b"",
        "short": content[: len(content) // 2],
        "text": b"a,b\n1,2\n" * 1000,
        "other": other,
        "headless": content[-20:],
    }[damage]
    place, file = put(f"a.{suffix}", content)
    with pytest.raises((pa.ArrowException, pl.exceptions.PolarsError, DataError)):
        read(place, file, format_of(suffix))


def test_a_cap_on_what_a_part_becomes(put):
    rows = pl.DataFrame({"id": [1, 2], "s": ["a" * 3_000_000, "b"]})
    for suffix, place_name in (("parquet", "row group"), ("zstd.arrow", "record batch")):
        content = written(rows, suffix)
        assert len(content) < 100_000
        place, file = put(f"a.{suffix}", content)
        capped = replace(format_of(suffix), decompressed_max=1 << 20)
        message = (
            rf"{place_name} 0 of .*: it holds 3,000,\d+ bytes when decompressed, more than 1,048,576: the"
        )
        with pytest.raises(DataError, match=message) as raised:
            read(place, file, capped)
        assert "decompressed_max=" in raised.value.hint
        assert (
            read(place, file, capped, on_error="dead_letter")[0].frame[DEAD][0]["position"]
            == f"{place_name} 0"
        )
        assert rows_of(read(place, file, format_of(suffix))).equals(rows)


def test_a_local_file_that_changes_is_no_dead_letter(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(corrupted(written(ALL_TYPES, "parquet"), 1))
    place = place_of(path)
    (file,) = place.find(path, ())
    with place.open(file) as stream:
        schema = PARQUET.schema(stream, file.path)
        blocks = PARQUET.blocks(
            stream, file.path, schema=schema, columns=["id"], resume=None, on_error="dead_letter"
        )
        assert next(blocks).frame.height == 5
        path.write_bytes(path.read_bytes() + b" ")
        with pytest.raises(ConnectorError, match="has changed since"):
            next(blocks)


def others():
    """Parquet files as others write them, with the types that only they have."""
    table = pa.table(
        {
            "id": [1, 2, None],
            "ints": pa.array([1, None, 3], pa.int32()),
            "dict": pa.array(["a", None, "b"]).dictionary_encode(),
            "seconds": pa.array([1, 2, None], pa.timestamp("s")),
            "zoned": pa.array([1, 2, None], pa.timestamp("us", "America/New_York")),
            "ms32": pa.array([1, 2, None], pa.time32("ms")),
            "date64": pa.array([86_400_000, None, 0], pa.date64()),
            "half": pa.array([1.5, None, 2.5], pa.float16()),
            "fixed": pa.array([b"ab", None, b"cd"], pa.binary(2)),
            "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
            "list": pa.array([[1.5, None], None, []], pa.list_(pa.float64())),
            "deep": pa.array([[{"a": [1]}], None, [{"a": None}]]),
            "dec": pa.array([1, None, 2]).cast(pa.decimal128(30, 3)),
            "u16": pa.array([1, None, 2], pa.uint16()),
            "a.b": [1, 2, 3],
            "a": [{"b": 4}, {"b": None}, None],
        }
    )
    frame = table.select(["ints", "zoned", "list"]).to_pandas()

    def written_by(write):
        sink = io.BytesIO()
        write(sink)
        return sink.getvalue()

    def by_duckdb(sink):
        path = f"{tempfile.mkdtemp()}/a.parquet"
        duckdb.from_arrow(table.select(["id", "zoned", "map", "list", "deep", "dec"])).write_parquet(path)
        sink.write(Path(path).read_bytes())

    return {
        "pyarrow": written_by(lambda sink: pq.write_table(table, sink, row_group_size=2)),
        "pyarrow 1.0": written_by(
            lambda sink: pq.write_table(table, sink, version="1.0", store_schema=False)
        ),
        "int96": written_by(
            lambda sink: pq.write_table(
                table.select(["seconds", "zoned"]), sink, use_deprecated_int96_timestamps=True
            )
        ),
        "pages": written_by(
            lambda sink: pq.write_table(
                table, sink, data_page_version="2.0", compression="brotli", write_page_checksum=True
            )
        ),
        "pandas": written_by(frame.to_parquet),
        "duckdb": written_by(by_duckdb),
    }


@pytest.mark.parametrize("writer", ["pyarrow", "pyarrow 1.0", "int96", "pages", "pandas", "duckdb"])
def test_files_of_others_are_what_polars_reads(tmp_path, writer):
    content = others()[writer]
    (tmp_path / "a.parquet").write_bytes(content)
    place = place_of(tmp_path)
    (file,) = place.find(tmp_path, (".parquet",))
    expected = pl.read_parquet(content)
    found = rows_of(read(place, file, PARQUET))
    assert found.schema == expected.schema
    assert found.equals(expected)
    for column in expected.columns:
        assert rows_of(read(place, file, PARQUET, [column])).equals(expected.select(column))
