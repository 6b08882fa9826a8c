"""Every format as an output: names, compression, bytes of rows alone, and files that others read."""

from __future__ import annotations

import gzip
import io
import json
import lzma
from datetime import date, datetime
from itertools import pairwise

import duckdb
import fastavro
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arrowstream as ars
from arrowstream.config import ARROW_LEVEL
from arrowstream.connectors.files.avro import AvroEncoding
from arrowstream.connectors.files.compressed import CompressedEncoding, compressed
from arrowstream.connectors.files.compression import CODECS
from arrowstream.connectors.files.csv import CsvEncoding
from arrowstream.connectors.files.decompression import decompressed
from arrowstream.connectors.files.division import Division
from arrowstream.connectors.files.ipc_encode import IpcEncoding
from arrowstream.connectors.files.ndjson import NdjsonEncoding
from arrowstream.connectors.files.parquet_encode import ParquetEncoding
from arrowstream.connectors.files.sink import FileSink
from arrowstream.errors import PlanError

FRAME = pl.DataFrame(
    {
        "i": [1, None, 3],
        "s": ["a", 'q"u,o\nte', None],
        "f": [0.5, None, -1.25],
        "b": [True, False, None],
        "d": [date(2026, 1, 2), None, date(1969, 12, 31)],
        "t": [datetime(2026, 1, 2, 3, 4, 5, 678), None, datetime(2026, 1, 1)],
    }
)
ENCODINGS = {
    "parquet": ParquetEncoding(row_group_size=5),
    "ipc": IpcEncoding(record_batch_size=5),
    "ipc stream": IpcEncoding("lz4", record_batch_size=5, format="stream"),
    "csv": CsvEncoding(),
    "ndjson": NdjsonEncoding(),
    "avro": AvroEncoding(),
    "avro, deflate": AvroEncoding("deflate", 9),
    **{f"csv.{codec}": CompressedEncoding(CsvEncoding(), codec) for codec in CODECS},
    "ndjson.gzip": CompressedEncoding(NdjsonEncoding(), "gzip", 9),
}


def encoded(encoding, frame, cuts=()):
    bounds = [0, *sorted(cut for cut in cuts if cut < frame.height), frame.height]
    batches = [
        batch
        for start, end in pairwise(bounds)
        for batch in frame[start:end].to_arrow(compat_level=ARROW_LEVEL).to_batches()
    ]
    return b"".join(FileSink("/out", encoding).encode(batches))


def read_back(kind, data, path="x"):
    data = decompressed(io.BytesIO(data), path).read()
    match kind.split(".")[0].split(",")[0]:
        case "parquet":
            return pl.read_parquet(io.BytesIO(data))
        case "ipc":
            return pl.read_ipc(io.BytesIO(data))
        case "ipc stream":
            return pl.read_ipc_stream(io.BytesIO(data))
        case "csv":
            return pl.read_csv(io.BytesIO(data), schema=FRAME.schema)
        case "ndjson":
            text = pl.read_ndjson(io.BytesIO(data), schema={**FRAME.schema, "d": pl.String, "t": pl.String})
            return text.with_columns(pl.col("d").str.to_date(), pl.col("t").str.to_datetime(time_unit="us"))
        case _:
            return pl.DataFrame(list(fastavro.reader(io.BytesIO(data))), schema=None)


@pytest.mark.parametrize("kind", ENCODINGS)
def test_rows_come_back(kind):
    back = read_back(kind, encoded(ENCODINGS[kind], FRAME))
    if kind.startswith("avro"):
        back = back.with_columns(pl.col("t").dt.replace_time_zone(None).cast(pl.Datetime("us")))
    assert back.rows() == FRAME.rows()
    assert back.columns == FRAME.columns


rows = st.fixed_dictionaries(
    {
        "i": st.none() | st.integers(-5, 5),
        "s": st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4),
        "c": st.none() | st.sampled_from(["x", "y"]),
        "f": st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    }
)
TYPES = {"i": pl.Int64(), "s": pl.String(), "c": pl.Categorical(), "f": pl.Float64()}


@settings(max_examples=25, deadline=None)
@given(st.lists(rows, min_size=1, max_size=30), st.data())
def test_bytes_depend_on_rows_alone(values, data):
    frame = pl.DataFrame(values, schema=TYPES)
    cuts = data.draw(st.lists(st.integers(0, frame.height)))
    rebuilt = pl.concat(
        [
            pl.DataFrame(frame[start:end].to_dicts(), schema=TYPES)
            for start, end in pairwise([0, *sorted(cuts), frame.height])
        ],
        rechunk=False,
    )
    for kind, encoding in ENCODINGS.items():
        whole = encoded(encoding, frame)
        assert encoded(encoding, frame, cuts) == whole, kind
        assert encoded(encoding, rebuilt) == whole, kind


@pytest.mark.parametrize("kind", [kind for kind, one in ENCODINGS.items() if one.chunk_rows > 5])
def test_bytes_do_not_depend_on_batches_that_are_longer_than_a_chunk(kind):
    frame = pl.DataFrame({"i": range(150_000)}).with_columns(s=pl.col("i").cast(pl.String))
    assert encoded(ENCODINGS[kind], frame, cuts=[1, 70_000, 140_001]) == encoded(ENCODINGS[kind], frame)


def sink(stream, verb, path, **options):
    return getattr(stream, f"sink_{verb}")(path, **options).run(
        checkpoint=path.parent / "state", checkpoint_every=2, progress=False
    )


@pytest.mark.parametrize(
    ("verb", "options", "suffix"),
    [
        ("parquet", {}, ".parquet"),
        ("ipc", {}, ".arrow"),
        ("ipc", {"format": "stream"}, ".arrows"),
        ("csv", {}, ".csv"),
        ("csv", {"compression": "gzip"}, ".csv.gz"),
        ("csv", {"compression": "zstd", "compression_level": 9}, ".csv.zst"),
        ("csv", {"compression": "bz2"}, ".csv.bz2"),
        ("csv", {"compression": "xz", "compression_level": 1}, ".csv.xz"),
        ("csv", {"compression": "snappy"}, ".csv.sz"),
        ("csv", {"compression": "lz4"}, ".csv.lz4"),
        ("ndjson", {}, ".ndjson"),
        ("ndjson", {"compression": "gzip"}, ".ndjson.gz"),
        ("avro", {"compression": "zstd"}, ".avro"),
    ],
)
def test_a_job_writes_a_file_an_epoch_under_the_name_of_its_format(tmp_path, verb, options, suffix):
    assert sink(ars.from_polars(FRAME), verb, tmp_path / "out", **options).epochs == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"part-0000000{epoch}{suffix}" for epoch in (1, 2)
    ]
    again = sink(ars.from_polars(FRAME), verb, tmp_path / "out", **options)
    assert again.status == "already_complete"


def test_every_format_divides():
    for kind, encoding in ENCODINGS.items():
        files = {}
        for name, piece in FileSink("/out", encoding, Division(("b",), max_rows_per_file=1)).encode(
            FRAME.to_arrow(compat_level=ARROW_LEVEL).to_batches()
        ):
            files[name] = files.get(name, b"") + piece
        assert sorted(files) == [
            f"b={value}/00001{encoding.suffix}" for value in ("__HIVE_DEFAULT_PARTITION__", "false", "true")
        ], kind
        assert all(read_back(kind, data).height == 1 for data in files.values()), kind


@pytest.mark.parametrize(
    ("verb", "options", "query"),
    [
        ("parquet", {}, "read_parquet('{out}/*.parquet')"),
        ("csv", {}, "read_csv('{out}/*.csv')"),
        ("csv", {"compression": "gzip"}, "read_csv('{out}/*.csv.gz')"),
        ("csv", {"compression": "zstd"}, "read_csv('{out}/*.csv.zst', compression='zstd')"),
        ("ndjson", {}, "read_json('{out}/*.ndjson')"),
        ("ndjson", {"compression": "gzip"}, "read_json('{out}/*.ndjson.gz')"),
    ],
)
def test_duckdb_reads_it(tmp_path, verb, options, query):
    sink(ars.from_polars(FRAME), verb, tmp_path / "out", **options)
    found = duckdb.sql(f"select i, s, f, b, d, t from {query.format(out=tmp_path / 'out')}").fetchall()
    assert found == FRAME.rows()


def test_standard_tools_read_compressed_files(tmp_path):
    sink(ars.from_polars(FRAME), "csv", tmp_path / "gz", compression="gzip")
    with gzip.open(tmp_path / "gz" / "part-00000001.csv.gz", "rt") as file:
        assert file.readline() == "i,s,f,b,d,t\n"
    tmp_path = tmp_path / "second"
    tmp_path.mkdir()
    sink(ars.from_polars(FRAME), "ndjson", tmp_path / "xz", compression="xz")
    with lzma.open(tmp_path / "xz" / "part-00000002.ndjson.xz", "rt") as file:
        assert json.loads(file.readline())["i"] == 3


def test_epochs_without_rows_show_the_columns_where_the_format_has_a_place_for_them():
    empty = pa.RecordBatch.from_pylist([], schema=FRAME.to_arrow(compat_level=ARROW_LEVEL).schema)
    for kind, encoding in ENCODINGS.items():
        data = b"".join(FileSink("/out", encoding).encode([empty]))
        content = decompressed(io.BytesIO(data), "x").read()
        if kind.startswith("csv"):
            assert content == b"i,s,f,b,d,t\n", kind
        elif kind.startswith("ndjson"):
            assert content == b"", kind
        elif kind.startswith("avro"):
            assert [
                field["name"] for field in fastavro.reader(io.BytesIO(content)).writer_schema["fields"]
            ] == FRAME.columns
        else:
            assert read_back(kind, data).schema == FRAME.schema, kind


@pytest.mark.parametrize("verb", ["parquet", "ipc", "csv", "ndjson", "avro"])
def test_a_type_that_cannot_be_written_names_the_column(tmp_path, verb):
    stream = ars.from_polars(pl.DataFrame({"good": [1]})).with_columns(bad=pl.col("good").cast(pl.Int128))
    with pytest.raises(PlanError, match=r"column 'bad' is Int128, which .* cannot hold") as caught:
        getattr(stream, f"sink_{verb}")(tmp_path / "out")
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("verb", "options", "message"),
    [
        ("csv", {"compression": "zip"}, "compression='zip' is not known"),
        ("csv", {"compression_level": 3}, "compression_level=3 was given, but no compression"),
        (
            "csv",
            {"compression": "gzip", "compression_level": 99},
            "compression_level=99: gzip has levels 0 to 9",
        ),
        ("csv", {"compression": "snappy", "compression_level": 1}, "snappy has no levels"),
        ("csv", {"separator": "--"}, "separator='--' is not one byte"),
        ("ipc", {"format": "tape"}, "format='tape' is not known"),
        ("avro", {"compression": "lz4"}, "compression='lz4' is not known"),
        ("avro", {"name": "a b"}, "record_name='a b' is no name in Avro"),
    ],
)
def test_options_are_checked_when_they_are_written(tmp_path, verb, options, message):
    with pytest.raises(PlanError, match=message):
        getattr(ars.from_polars(FRAME), f"sink_{verb}")(tmp_path / "out", **options)


def test_options_that_change_the_bytes_are_pinned():
    identities = [json.dumps(FileSink("/out", encoding).identity()) for encoding in ENCODINGS.values()]
    identities += [
        json.dumps(FileSink("/out", CsvEncoding(separator=";")).identity()),
        json.dumps(FileSink("/out", compressed(CsvEncoding(), "gzip", 1)).identity()),
        json.dumps(FileSink("/out", CsvEncoding(), Division(max_rows_per_file=1)).identity()),
        json.dumps(FileSink("/out", CsvEncoding(), Division(("a",))).identity()),
        json.dumps(FileSink("/elsewhere", CsvEncoding()).identity()),
    ]
    assert len(set(identities)) == len(identities)
    assert all('"path": "/' in identity for identity in identities)
