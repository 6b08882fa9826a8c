from __future__ import annotations

import bz2
import datetime as dt
import gzip
import io
import json
import lzma
import os
from contextlib import closing
from itertools import cycle

import cramjam
import duckdb
import fastavro
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pytest
from polars import ScanCastOptions

import arrowstream as ars
from arrowstream.config import DEAD
from arrowstream.connectors.files import lines
from arrowstream.connectors.files.avro import AvroFormat
from arrowstream.connectors.files.columnar_source import IpcSource, ParquetSource
from arrowstream.connectors.files.csv import CsvFormat
from arrowstream.connectors.files.ipc import IpcFormat
from arrowstream.connectors.files.ndjson import NdjsonFormat
from arrowstream.connectors.files.options import FileOptions
from arrowstream.connectors.files.stream_source import StreamSource
from arrowstream.errors import ConnectorError, DataError, PlanError

START = dt.datetime(2020, 1, 1)
SCHEMA = pl.Schema(
    {"id": pl.Int64, "price": pl.Float64, "name": pl.String, "sold": pl.Boolean, "t": pl.Datetime("us")}
)
COMPRESS = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": lambda content: pa.compress(content, "zstd", asbytes=True),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".sz": lambda content: bytes(cramjam.snappy.compress(content)),
    ".lz4": lambda content: pa.compress(content, "lz4", asbytes=True),
}


def frame(first: int, rows: int) -> pl.DataFrame:
    numbers = range(first, first + rows)
    return pl.DataFrame(
        {
            "id": numbers,
            "price": [None if number % 7 == 0 else number / 3 for number in numbers],
            "name": [f'"ü\n,{number}"' if number % 5 == 0 else f"n{number}" for number in numbers],
            "sold": [number % 2 == 0 for number in numbers],
            "t": [START + dt.timedelta(seconds=number) for number in numbers],
        },
        schema=SCHEMA,
    )


def csv_bytes(rows: pl.DataFrame) -> bytes:
    return rows.write_csv().encode()


def ndjson_bytes(rows: pl.DataFrame) -> bytes:
    return rows.write_ndjson().encode()


def bytes_by(method: str):
    def write(rows: pl.DataFrame) -> bytes:
        file = io.BytesIO()
        getattr(rows, method)(file)
        return file.getvalue()

    return write


FORMATS = {
    "csv": (ars.scan_csv, csv_bytes, ".csv", {"schema": SCHEMA}),
    "ndjson": (ars.scan_ndjson, ndjson_bytes, ".ndjson", {"schema": SCHEMA}),
    "avro": (ars.scan_avro, bytes_by("write_avro"), ".avro", {}),
    "ipc_stream": (ars.scan_ipc, bytes_by("write_ipc_stream"), ".arrows", {}),
    "ipc": (ars.scan_ipc, bytes_by("write_ipc"), ".arrow", {}),
    "parquet": (ars.scan_parquet, bytes_by("write_parquet"), ".parquet", {}),
}
STREAMED = ("csv", "ndjson", "avro", "ipc_stream")


class Written:
    """Files of a format: ids 0 to 59 in files of 20, 0, 30 and 10 rows, two of them in folders of days."""

    def __init__(self, folder, name):
        self.folder = folder
        self.scan, self.write, self.suffix, self.options = FORMATS[name]
        first = 0
        for path, rows in (("f1", 20), ("f2", 0), ("f9", 30), ("f10", 10)):
            (folder / f"{path}{self.suffix}").write_bytes(self.write(frame(first, rows)))
            first += rows

    def stream(self, **options):
        return self.scan(self.folder, **{**self.options, **options})


@pytest.fixture(params=FORMATS)
def written(request, tmp_path):
    return Written(tmp_path, request.param)


def test_the_rows_of_all_files_in_order(written):
    stream = written.stream()
    assert stream.schema == SCHEMA
    assert stream.collect().equals(frame(0, 60))
    assert stream.select("name", "id").collect().equals(frame(0, 60).select("name", "id"))
    assert stream.limit(25).collect().equals(frame(0, 25))


def test_windows_over_files_with_clocks_of_their_own(written):
    options = {"event_time": "t", "lateness": "1h", "clock_by": "file"}
    counted = written.stream(**options).group_by_dynamic("t", every="10s").agg(pl.len(), pl.col("id").sum())
    expected = frame(0, 60).group_by_dynamic("t", every="10s").agg(pl.len(), pl.col("id").sum())
    assert counted.collect().equals(expected)
    at_the_end = (
        written.stream(event_time="t").group_by_dynamic("t", every="10s").agg(pl.len(), pl.col("id").sum())
    )
    assert at_the_end.collect().equals(expected)


def test_paths_and_hive_keys_as_columns(written):
    for day, name in (("2020-01-01", "f1"), ("2020-01-02", "f10")):
        (written.folder / f"day={day}").mkdir()
        (written.folder / f"{name}{written.suffix}").rename(
            written.folder / f"day={day}" / f"1{written.suffix}"
        )
    for name in ("f2", "f9"):
        (written.folder / f"{name}{written.suffix}").unlink()
    rows = written.stream(include_file_paths="path").collect()
    assert rows.schema == {**SCHEMA, "day": pl.Date, "path": pl.String}
    assert rows.group_by("day", maintain_order=True).len().rows() == [
        (dt.date(2020, 1, 1), 20),
        (dt.date(2020, 1, 2), 10),
    ]
    assert set(rows["path"]) == {str(path) for path in written.folder.glob("*/*")}
    as_text = written.stream(hive_schema={"day": pl.String}).select("day").collect()
    assert as_text["day"].unique(maintain_order=True).to_list() == ["2020-01-01", "2020-01-02"]
    assert written.stream(try_parse_hive_dates=False).schema["day"] == pl.String
    assert "day" not in written.stream(hive_partitioning=False).schema


def test_metadata_columns(written):
    rows = written.stream().with_metadata(file="file", row="row").select("id", "file", "row").collect()
    assert rows["row"].to_list() == [*range(20), *range(30), *range(10)]
    assert rows["file"].n_unique() == 3
    assert rows["id"].to_list() == [*range(60)]


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("name", STREAMED)
def test_compressed_files(tmp_path, name, ending):
    scan, write, suffix, options = FORMATS[name]
    stored = COMPRESS[ending](write(frame(0, 50)))
    (tmp_path / f"a{suffix}{ending}").write_bytes(stored)
    (tmp_path / "notes.md").write_text("no rows")
    assert scan(tmp_path, **options).collect().equals(frame(0, 50))
    (tmp_path / "misnamed").write_bytes(stored)
    assert scan(tmp_path / "misnamed", **options).collect().equals(frame(0, 50))


def test_one_folder_of_mixed_compression_and_layout(tmp_path):
    for number, ending in enumerate(COMPRESS):
        (tmp_path / f"{number}.ndjson{ending}").write_bytes(
            COMPRESS[ending](ndjson_bytes(frame(number * 9, 9)))
        )
        write = bytes_by("write_ipc" if number % 2 else "write_ipc_stream")
        (tmp_path / f"{number}.arrow").write_bytes(write(frame(number * 9, 9)))
    assert ars.scan_ndjson(tmp_path, schema=SCHEMA).collect().equals(frame(0, 63))
    assert ars.scan_ipc(tmp_path).collect().equals(frame(0, 63))


# going on at every position


def read_all(reader, sizes=(1000,)):
    pieces, positions = [], []
    with closing(reader):
        for size in cycle(sizes):
            if (read := reader.read(size)) is None:
                break
            pieces.append(read[0])
            positions.append(read[1])
    return pieces, positions


def sources(folder, **options):
    return {
        "csv": lambda: StreamSource(folder, CsvFormat(), FileOptions(schema=SCHEMA, **options)),
        "ndjson": lambda: StreamSource(folder, NdjsonFormat(), FileOptions(schema=SCHEMA, **options)),
        "avro": lambda: StreamSource(folder, AvroFormat(), FileOptions(**options)),
        "ipc_stream": lambda: StreamSource(folder, IpcFormat(), FileOptions(**options)),
        "ipc": lambda: IpcSource(folder, FileOptions(**options)),
        "parquet": lambda: ParquetSource(folder, FileOptions(**options)),
    }


def damaged(content: bytes, name: str) -> bytes:
    """A file of rows with bad places between them, or cut short."""
    if name in {"csv", "ndjson"}:
        ends = [end + 1 for end in range(len(content)) if content[end : end + 1] == b"\n"]
        return content[: ends[3]] + b'{"id": x, no "row\n' + content[ends[3] :] + b"neither, this\n"
    return content[: len(content) * 2 // 3]


@pytest.mark.parametrize("on_error", ["raise", "skip", "dead_letter"])
@pytest.mark.parametrize("name", FORMATS)
def test_go_on_at_every_position(tmp_path, monkeypatch, name, on_error):
    monkeypatch.setitem(lines.cut.__kwdefaults__, "block_bytes", 256)
    written = Written(tmp_path, name)
    if name in STREAMED:
        path = tmp_path / f"f9{written.suffix}"
        (tmp_path / f"f9{written.suffix}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    if on_error != "raise":
        damage = [(5, "a"), (95, "b")]
        for number, letter in damage:
            (tmp_path / f"f{number}{written.suffix}").write_bytes(
                damaged(written.write(frame(ord(letter), 12)), name)
            )
        (tmp_path / f"f7{written.suffix}").write_bytes(b"\x00\xff nothing\n of this kind")
    source = sources(tmp_path, on_error=on_error)[name]()
    pieces, positions = read_all(source.open("scan", None), (1, 3, 2))
    whole = pl.concat(pieces, how="diagonal")
    if on_error == "raise":
        assert whole.equals(frame(0, 60))
    else:
        assert set(range(60)) <= set(whole["id"])
        assert whole[DEAD].count() >= 3
    seen = 0
    for piece, position in zip(pieces, positions, strict=True):
        seen += piece.height
        position = json.loads(json.dumps(position))  # noqa: PLW2901 - as a checkpoint has it
        rest = read_all(source.open("scan", position))[0] or [whole.clear()]
        assert pl.concat(rest, how="diagonal").select("id").equals(whole[seen:].select("id"))


# files of others


def test_csv_of_others(tmp_path):
    rows = frame(0, 40)
    rows.to_pandas().to_csv(tmp_path / "pandas.csv", index=False)
    pyarrow.csv.write_csv(rows.to_arrow(), tmp_path / "pyarrow.csv")
    duckdb.sql("copy rows to '{}' (header)".format(tmp_path / "duckdb.csv"))
    (tmp_path / "excel.csv").write_bytes(
        b"\xef\xbb\xbf" + csv_bytes(rows).replace(b"\n", b"\r\n").replace(b"\xbc\r\n", b"\xbc\n")
    )
    (tmp_path / "members.csv.gz").write_bytes(
        b"".join(gzip.compress(p) for p in (csv_bytes(rows)[:700], csv_bytes(rows)[700:]))
    )
    for name in ("pandas.csv", "pyarrow.csv", "duckdb.csv", "excel.csv", "members.csv.gz"):
        found = ars.scan_csv(tmp_path / name, schema=SCHEMA).collect()
        assert found.equals(rows), name


def test_ndjson_of_others(tmp_path):
    rows = frame(0, 40)
    rows.to_pandas().to_json(
        tmp_path / "pandas.ndjson", orient="records", lines=True, date_format="iso", date_unit="us"
    )
    duckdb.sql("copy rows to '{}' (format json)".format(tmp_path / "duckdb.ndjson"))
    for path in tmp_path.iterdir():
        found = ars.scan_ndjson(path, schema=SCHEMA | {"price": pl.Float64}).collect()
        assert found.drop("price").equals(rows.drop("price")), path
        assert ((found["price"] - rows["price"]).abs().max() or 0) < 1e-9


def test_avro_of_others(tmp_path):
    schema = {
        "type": "record",
        "name": "bid",
        "fields": [{"name": "id", "type": "long"}, {"name": "name", "type": ["null", "string"]}],
    }
    with (tmp_path / "a.avro").open("wb") as file:
        fastavro.writer(file, schema, [{"id": number, "name": None} for number in range(100)], "deflate", 64)
    assert ars.scan_avro(tmp_path).collect()["id"].to_list() == [*range(100)]


def test_parquet_of_others(tmp_path):
    rows = frame(0, 40)
    rows.to_pandas().to_parquet(tmp_path / "1.parquet")
    duckdb.sql("copy rows to '{}'".format(tmp_path / "2.parquet"))
    rows.clear().write_parquet(tmp_path / "3.parquet")
    casts = ScanCastOptions(datetime_cast=["upcast", "downcast"])
    found = ars.scan_parquet(tmp_path, schema=SCHEMA, cast_options=casts).collect()
    assert found.equals(pl.concat([rows, rows]))


def test_the_same_as_polars_without_a_schema(tmp_path):
    frame(0, 40).write_csv(tmp_path / "a.csv")
    frame(0, 40).drop("t").write_ndjson(tmp_path / "a.ndjson")
    for dates in (False, True):
        theirs = pl.scan_csv(tmp_path / "a.csv", try_parse_dates=dates).collect()
        assert ars.scan_csv(tmp_path / "a.csv", try_parse_dates=dates).collect().equals(theirs)
    assert (
        ars.scan_ndjson(tmp_path / "a.ndjson")
        .collect()
        .equals(pl.scan_ndjson(tmp_path / "a.ndjson").collect())
    )


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a;b\n1,5;x\n", {"separator": ";", "decimal_comma": True}),
        ("# no\na,b\n# no\n1,x\n", {"comment_prefix": "#"}),
        ("1,x\n2,y\n", {"has_header": False}),
        ("1,x\n2,y\n", {"has_header": False, "new_columns": ["n", "s"]}),
        ("1,x\n2,y\n", {"has_header": False, "schema": {"n": pl.Int8, "s": pl.String}}),
        ("junk\na,b\n1,x\n", {"skip_rows": 1}),
        ('junk "\na,b\n1,x\n', {"skip_lines": 1}),
        ("a,b\n-,-\n1,x\n", {"skip_rows_after_header": 1}),
        ("a,b\nNA,x\n2,NA\n", {"null_values": "NA"}),
        ("a,b\n1,x\n2,y\n", {"schema_overrides": {"a": pl.Float32}}),
        ("a,b\n1,x\n2,y\n", {"infer_schema": False}),
        ("a,b\n1,x,9\n2,y\n", {"truncate_ragged_lines": True}),
        ("a,b\n1,'x\ny'\n", {"quote_char": "'"}),
        ("a,b\n1,\n", {"empty_string_is_null": False}),
        ("a|b~1|x~", {"separator": "|", "eol_char": "~"}),
        (b"a,b\n1,\xff\n", {"encoding": "utf8-lossy"}),
    ],
)
def test_options_of_csv_mean_what_they_mean_to_polars(tmp_path, text, options):
    path = tmp_path / "a.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    theirs = pl.scan_csv(path, **options).collect()
    mine = ars.scan_csv(path, **options).collect()
    assert mine.schema == theirs.schema
    assert mine.equals(theirs)


# schemas


def test_columns_that_differ(written, caplog):
    (written.folder / f"f11{written.suffix}").write_bytes(
        written.write(frame(60, 5).drop("price").with_columns(more=1))
    )
    if written.suffix == ".ndjson":
        rows = written.stream().collect()
    else:
        for options in ({}, {"missing_columns": "insert"}, {"extra_columns": "ignore"}):
            with pytest.raises(
                (DataError, PlanError), match=r"f11.* has (no column 'price'|a column 'more')"
            ):
                written.stream(**options).collect()
        caplog.clear()
        rows = written.stream(missing_columns="insert", extra_columns="ignore").collect()
    assert rows.equals(frame(0, 65).with_columns(pl.when(pl.col("id") < 60).then("price").alias("price")))
    told = [record.getMessage() for record in caplog.records if "f11" in record.getMessage()]
    assert len(told) == 1
    chosen = "schema" in written.options  # then other columns are no news
    assert told[0].endswith("column 'price' is missing" + ("" if chosen else "; column 'more' is left out"))


@pytest.mark.parametrize("name", ["avro", "ipc_stream", "ipc", "parquet"])
def test_types_that_differ(tmp_path, name):
    written = Written(tmp_path, name)
    narrow = frame(60, 5).cast({"id": pl.Int32, "price": pl.Float32})
    (tmp_path / f"f11{written.suffix}").write_bytes(written.write(narrow))
    with pytest.raises((DataError, PlanError), match=r"'id' of .*f11.* is Int32, but Int64"):
        written.stream().collect()
    rows = written.stream(cast_options=ScanCastOptions(integer_cast="upcast", float_cast="upcast")).collect()
    assert rows["id"].to_list() == [*range(65)]
    assert rows.schema == SCHEMA


def test_a_given_schema_orders_and_chooses_columns(written):
    schema = {"name": pl.String, "extra": pl.Int8, "id": pl.Int64}
    rows = written.stream(schema=schema, missing_columns="insert", extra_columns="ignore").collect()
    assert rows.schema == schema
    assert rows["id"].to_list() == [*range(60)]
    assert rows["extra"].null_count() == 60


# bad input


def test_dead_letters_of_every_format(written):
    path = written.folder / f"f3{written.suffix}"
    path.write_bytes(b"\x00\xff nothing\n of this kind")
    with pytest.raises(DataError, match="f3"):
        written.stream().collect()
    stream = written.stream(on_error="dead_letter")
    letters = stream.dead_letters().collect()
    assert set(letters["source"]) == {str(path)}
    with pytest.warns(ars.DeadLettersWarning):
        assert stream.select("id").collect()["id"].to_list() == [*range(60)]
    assert written.stream(on_error="skip").collect().equals(frame(0, 60))


def test_one_bad_line_among_many_costs_only_itself(tmp_path):
    numbers = pl.DataFrame({"a": range(200_000)})
    text = numbers.write_csv().splitlines()
    text[100_001] = "x" * 10
    (tmp_path / "a.csv").write_text("\n".join(text))
    stream = ars.scan_csv(tmp_path, schema={"a": pl.Int64}, on_error="dead_letter")
    assert stream.dead_letters().collect().select("original", "position").rows() == [
        (b"x" * 10, "line 100002")
    ]
    with pytest.warns(ars.DeadLettersWarning, match="1 dead letter nobody has read"):
        rows = stream.collect()
    assert rows["a"].to_list() == [number for number in range(200_000) if number != 100_000]
    with pytest.raises(DataError, match=r"a\.csv, line 100002"):
        ars.scan_csv(tmp_path, schema={"a": pl.Int64}).collect()


def test_a_bomb_is_stopped_at_the_cap_that_is_named(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a\n" + b"1\n" * 2_000_000))
    stream = ars.scan_csv(tmp_path, schema={"a": pl.Int8}, decompressed_max=1_000_000)
    with pytest.raises(DataError, match="more than 1,000,000 bytes when decompressed") as raised:
        stream.collect()
    assert "decompressed_max" in str(raised.value)


# many, none, and other places


def test_a_thousand_small_files(tmp_path):
    for number in range(1000):
        (tmp_path / f"{number}.csv").write_text(f"a,b\n{number},x\n")
    assert ars.scan_csv(tmp_path).collect()["a"].to_list() == [*range(1000)]


def test_files_without_rows(tmp_path):
    (tmp_path / "1.csv").write_bytes(b"")
    (tmp_path / "2.csv").write_text("a,b\n")
    (tmp_path / "3.csv").write_text("a,b\n1,x")
    (tmp_path / "4.csv").write_bytes(b"\xef\xbb\xbfa,b\r\n2,y\r\n")
    assert ars.scan_csv(tmp_path).collect().rows() == [("1", "x"), ("2", "y")]  # 2.csv has only text
    assert ars.scan_csv(tmp_path, schema={"a": int, "b": str}).collect().rows() == [(1, "x"), (2, "y")]
    (tmp_path / "3.csv").unlink()
    (tmp_path / "4.csv").unlink()
    assert ars.scan_csv(tmp_path, schema={"a": pl.Int8, "b": pl.String}).collect().rows() == []


def test_memory_place_and_committed_files(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    with memory.open("/scans/a.csv.gz", "wb") as file:
        file.write(gzip.compress(csv_bytes(frame(0, 9))))
    for name in ("parquet", "ipc", "ipc_stream", "avro", "ndjson"):
        _, write, suffix, _ = FORMATS[name]
        with memory.open(f"/scans/{name}{suffix}", "wb") as file:
            file.write(write(frame(0, 9)))
    for name, (scan, _, suffix, options) in FORMATS.items():
        path = "memory://scans/a.csv.gz" if name == "csv" else f"memory://scans/{name}{suffix}"
        assert scan(path, **options).collect().equals(frame(0, 9)), name
    memory.rm("/scans", recursive=True)
    ars.scan_csv(_csv(tmp_path), schema=SCHEMA).sink_csv(tmp_path / "out").run(progress=False)
    (tmp_path / "out" / "other.csv").write_text("a\n1\n")
    assert ars.scan_csv(tmp_path / "out", schema=SCHEMA, committed_only=True).collect().equals(frame(0, 9))


def test_committed_files_in_folders_of_keys(tmp_path):
    rows = frame(0, 9).with_columns(day=pl.col("id") % 3)
    parts = pl.PartitionBy(tmp_path / "out", key="day", include_key=False)
    ars.from_polars(rows).sink_parquet(parts).run(progress=False)
    written = next((tmp_path / "out").glob("day=*/*"))
    (written.parent / "other.parquet").write_bytes(written.read_bytes())
    found = ars.scan_parquet(tmp_path / "out", committed_only=True).collect()
    assert found.sort("id").equals(rows)


def _csv(folder):
    path = folder / "a.csv"
    path.write_bytes(csv_bytes(frame(0, 9)))
    return path


def test_options_that_contradict_each_other(tmp_path):
    path = _csv(tmp_path)
    with pytest.raises(PlanError, match="idle_timeout is for files that are followed"):
        ars.scan_csv(path, idle_timeout="1s")
    with pytest.raises(PlanError, match="committed_only and follow"):
        ars.scan_csv(path, committed_only=True, follow=True)
    with pytest.raises(PlanError, match="committed_only reads the output folder of one job"):
        ars.scan_csv([path], committed_only=True)
    with pytest.raises(PlanError, match="has no history beside it"):
        ars.scan_csv(tmp_path, committed_only=True)
    with pytest.raises(PlanError, match="storage_options are for URLs"):
        ars.scan_csv(path, storage_options={"key": "x"})


def test_following_begins_with_what_is_there(tmp_path):
    stream = ars.scan_csv(_csv(tmp_path), schema=SCHEMA, follow=True)
    with pytest.raises(PlanError, match=r"unbounded|does not end|never ends"):
        stream.collect()


def test_files_that_change_while_they_are_read(written):
    stream = written.stream()
    path = written.folder / f"f10{written.suffix}"
    os.utime(path, ns=(1, 1))
    with pytest.raises(ConnectorError, match=r"f10.* has changed since the query was built"):
        stream.collect()
    path.unlink()
    with pytest.raises(ConnectorError, match=r"f10.* does not exist"):
        stream.collect()


def test_every_format_on_s3_with_damage_and_going_on(s3):
    import fsspec

    store = fsspec.filesystem("s3", **s3.storage_options)
    for name, (scan, write, suffix, options) in FORMATS.items():
        folder = f"{s3.bucket}/{name}"
        ending = ".gz" if name in STREAMED else ""
        for day, first in (("2020-01-01", 0), ("2020-01-02", 20)):
            content = COMPRESS[ending](write(frame(first, 20)))
            store.pipe_file(f"{folder}/day={day}/1{suffix}{ending}", content)
        url = f"s3://{folder}"
        shared = {**options, "storage_options": s3.storage_options}
        rows = scan(url, include_file_paths="path", **shared).collect()
        assert rows.select(SCHEMA.names()).equals(frame(0, 40)), name
        assert rows["day"].unique(maintain_order=True).to_list() == [dt.date(2020, 1, 1), dt.date(2020, 1, 2)]
        assert rows["path"][0] == f"{url}/day=2020-01-01/1{suffix}{ending}"
        store.pipe_file(f"{folder}/day=2020-01-01/2{suffix}{ending}", content[: len(content) // 2])
        skipping = scan(url, on_error="skip", **shared)
        assert set(range(40)) <= set(skipping.collect()["id"]), name
        with pytest.raises((DataError, PlanError), match=r"s3://.*/2\."):
            scan(url, **shared).collect()


@pytest.mark.parametrize("name", FORMATS)
def test_a_key_of_folders_as_event_time(tmp_path, name):
    scan, write, suffix, options = FORMATS[name]
    for hour in (0, 1):
        folder = tmp_path / f"hour=2020-01-01 0{hour}%3A00%3A00"
        folder.mkdir()
        (folder / f"1{suffix}").write_bytes(write(frame(hour * 10, 10)))
    counted = scan(tmp_path, event_time="hour", **options).group_by_dynamic("hour", every="1h").agg(pl.len())
    assert counted.collect().rows() == [(START, 10), (START + dt.timedelta(hours=1), 10)]
    assert "hour" in counted.explain()


def test_heads_that_have_no_schema_in_common(tmp_path):
    (tmp_path / "1.ndjson").write_text('{"a": [1]}\n')
    (tmp_path / "2.ndjson").write_text('{"a": {"b": 1}}\n')
    with pytest.raises(PlanError, match="the first rows of the files have no schema in common") as raised:
        ars.scan_ndjson(tmp_path)
    assert raised.value.hint == "give schema="


def test_types_of_the_first_files_together(tmp_path):
    for name, text in (("1", "a,b\n1,x\n"), ("2", "b,a\ny,2.5\n"), ("3", "a,b\n,z\n")):
        (tmp_path / f"{name}.csv").write_text(text)
    rows = ars.scan_csv([tmp_path / "1.csv", tmp_path / "2.csv"]).collect()
    assert rows.rows() == [(1.0, "x"), (2.5, "y")]
    (tmp_path / "4.ndjson").write_text('{"a": 1}\n')
    (tmp_path / "5.ndjson").write_text('{"b": 2, "a": 1.5}\n')
    assert ars.scan_ndjson(tmp_path).collect().rows() == [(1.0, None), (1.5, 2)]


def test_types_may_be_classes_as_in_polars(tmp_path):
    (tmp_path / "1.csv").write_text("t,d\n2026-01-01T00:00:00,1.5\n")
    (tmp_path / "day=2026-01-01").mkdir()
    (tmp_path / "day=2026-01-01" / "1.ndjson").write_text('{"t": "2026-01-01T00:00:00"}\n')
    for options in ({"schema": {"t": pl.Datetime, "d": float}}, {"schema_overrides": {"t": pl.Datetime}}):
        rows = ars.scan_csv(tmp_path / "1.csv", **options).collect()
        assert rows.schema == {"t": pl.Datetime("us"), "d": pl.Float64}
        assert rows.rows() == [(dt.datetime(2026, 1, 1), 1.5)]
    hive = ars.scan_ndjson(tmp_path, schema={"t": pl.Datetime}, hive_schema={"day": pl.Date})
    assert hive.schema == {"t": pl.Datetime("us"), "day": pl.Date()}
    for option in ("schema", "schema_overrides", "hive_schema"):
        with pytest.raises(PlanError, match=f"{option}={{'t': 3}} is not a schema: .*\n  hint: name columns"):
            ars.scan_csv(tmp_path / "1.csv", **{option: {"t": 3}})


@pytest.mark.parametrize("name", ["csv", "ndjson"])
def test_types_of_all_records(tmp_path, name):
    scan, write, suffix, _ = FORMATS[name]
    rows = pl.DataFrame({"a": [*range(3000), 0.5]}, strict=False)
    content = write(pl.DataFrame({"a": range(3000)})) + (b"0.5\n" if name == "csv" else b'{"a":0.5}\n')
    (tmp_path / f"1{suffix}.gz").write_bytes(gzip.compress(content))
    assert scan(tmp_path).schema == {"a": pl.Int64}
    assert scan(tmp_path, infer_schema_length=None).collect().equals(rows)


def test_plans_and_reports_name_the_format(tmp_path):
    for name, (scan, write, suffix, options) in FORMATS.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"1{suffix}").write_bytes(write(frame(0, 3)))
        words = {"csv": "CSV", "ndjson": "NDJSON", "avro": "Avro", "ipc_stream": "Arrow IPC"}
        words |= {"ipc": "Arrow IPC", "parquet": "Parquet"}
        one = scan(folder, **options).explain().splitlines()[1].replace("3 rows, ", "")
        assert one == f"  SCAN {words[name]}({folder / f'1{suffix}'})"
        (folder / f"2{suffix}").write_bytes(write(frame(3, 1)))
        report = scan(folder, **options).sink_batches(lambda _: None).run(progress=False)
        rows = "4 rows, " if name in {"ipc", "parquet"} else ""
        assert f"source {words[name]}(2 files, {rows}first {folder / f'1{suffix}'}): 2 files" in str(report)
