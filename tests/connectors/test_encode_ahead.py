"""Encoding on several threads: in order, bounded, and the same bytes as on one."""

from __future__ import annotations

import io
import threading
from datetime import datetime
from itertools import pairwise

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing.parametric import dataframes

from arrowstream.connectors.files import ahead
from arrowstream.connectors.files.ahead import in_order
from arrowstream.connectors.files.avro import AvroEncoding
from arrowstream.connectors.files.compressed import CompressedEncoding
from arrowstream.connectors.files.csv import CsvEncoding
from arrowstream.connectors.files.division import Division
from arrowstream.connectors.files.encode import encode_file
from arrowstream.connectors.files.ipc_encode import IpcEncoding
from arrowstream.connectors.files.ndjson import NdjsonEncoding
from arrowstream.connectors.files.parquet_encode import ParquetEncoding
from arrowstream.connectors.files.parquet_splice import MAGIC, body_of, read_footer
from arrowstream.connectors.files.sink import FileSink
from arrowstream.errors import DataError

ENCODINGS = [
    ParquetEncoding(row_group_size=64),
    IpcEncoding("uncompressed", record_batch_size=64),
    IpcEncoding("zstd", record_batch_size=64, format="stream"),
    CsvEncoding(),
    NdjsonEncoding(),
    AvroEncoding("deflate"),
    CompressedEncoding(CsvEncoding(), "gzip"),
]
WAIT_S = 30


def alive():
    return [thread for thread in threading.enumerate() if thread.name.startswith("arrowstream-encode")]


def test_results_come_in_the_order_of_the_items_whichever_is_ready_first():
    second_done = threading.Event()

    def work(item):
        if item == 0:
            assert second_done.wait(WAIT_S)
        if item == 1:
            second_done.set()
        return item * 10

    assert list(in_order(work, range(6), size=lambda _: 1, threads=2)) == [0, 10, 20, 30, 40, 50]
    assert not alive()


@pytest.mark.parametrize(("item_bytes", "ahead_most"), [(1, 4), (60, 2)])
def test_what_is_taken_ahead_is_bounded_in_number_and_in_bytes(monkeypatch, item_bytes, ahead_most):
    monkeypatch.setattr(ahead, "WAITING_BYTES_MAX", 100)
    taken = []

    def items():
        for item in range(20):
            taken.append(item)
            yield item

    got = 0
    for _ in in_order(lambda item: item, items(), size=lambda _: item_bytes, threads=3):
        got += 1
        assert len(taken) - got < ahead_most
    assert got == 20


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_error_in_order_is_raised_and_no_thread_is_left(threads):
    def work(item):
        if item >= 3:
            raise ValueError(item)
        return item

    results = in_order(work, range(9), size=lambda _: 1, threads=threads)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="3"):
        next(results)
    assert not alive()


def test_who_stops_early_leaves_no_thread():
    results = in_order(lambda item: item, iter(range(9)), size=lambda _: 1, threads=3)
    assert next(results) == 0
    results.close()
    assert not alive()


def frames(frame, cuts):
    bounds = [0, *sorted(cut for cut in cuts if cut < frame.height), frame.height]
    return [frame[start:end] for start, end in pairwise(bounds)]


COLUMNS = {
    "i": pl.Int64,
    "s": pl.String,
    "b": pl.Boolean,
    "t": pl.Datetime("us"),
    "f": pl.Float64,
    "n": pl.Int16,
}


def rows_of(seed, rows, *, nulls):
    numbers = pl.int_range(rows, eager=True).hash(seed)
    frame = pl.DataFrame({"h": numbers}).select(
        i=pl.col("h").reinterpret(signed=True),
        s=pl.concat_str(pl.lit("text-"), (pl.col("h") % 50).cast(pl.String)),
        b=pl.col("h") % 3 == 0,
        t=pl.from_epoch((pl.col("h") % 10**15).cast(pl.Int64), "us"),
        f=(pl.col("h") % 1000) / 7,
        n=(pl.col("h") % 30_000).cast(pl.Int16),
    )
    return frame.with_columns(pl.when(numbers % 5 > 0).then(pl.all())) if nulls else frame


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda encoding: f"{encoding.name}{encoding.suffix}")
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 9),
    rows=st.sampled_from([0, 1, 63, 64, 65, 300]),
    nulls=st.booleans(),
    cuts=st.lists(st.integers(0, 300), max_size=4),
    threads=st.integers(1, 4),
)
def test_the_bytes_depend_on_neither_cuts_nor_threads(
    monkeypatch, encoding, seed, rows, nulls, cuts, threads
):
    for module in ("csv", "ndjson", "avro"):
        monkeypatch.setattr(f"arrowstream.connectors.files.{module}.encode._CHUNK_ROWS", 64)
    frame = rows_of(seed, rows, nulls=nulls)
    # Other rows around them in memory: they must not be seen.
    inside = pl.concat([rows_of(11, 7, nulls=True), frame, rows_of(12, 7, nulls=True)], rechunk=True)[7:-7]
    expected = b"".join(encode_file([frame.rechunk()], encoding))
    assert b"".join(encode_file(frames(inside, cuts), encoding, threads=threads)) == expected


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 300), max_size=4), size=st.none() | st.integers(500, 4_000))
def test_divided_bytes_depend_on_neither_cuts_nor_threads(cuts, size):
    frame = rows_of(3, 300, nulls=True).with_columns(k=pl.col("n") % 3)
    division = Division(("k",), max_rows_per_file=40, approximate_bytes_per_file=size)

    def files(parts, threads):
        found = {}
        sink = FileSink("/out", ParquetEncoding(row_group_size=16), division)
        for name, piece in sink.encode_frames(parts, threads=threads):
            found[name] = found.get(name, b"") + piece
        return found

    assert files(frames(frame, cuts), 3) == files([frame], 1)


def test_an_error_in_a_later_chunk_is_that_of_its_rows(monkeypatch):
    monkeypatch.setattr("arrowstream.connectors.files.ndjson.encode._CHUNK_ROWS", 2)
    frame = pl.DataFrame({"x": [0.0] * 8 + [float("nan")]})
    with pytest.raises(DataError, match="column 'x' has NaN"):
        list(encode_file([frame], NdjsonEncoding(), threads=3))
    assert not alive()


@settings(max_examples=30, deadline=None)
@given(
    frame=dataframes(
        allowed_dtypes=[
            pl.Int64,
            pl.UInt8,
            pl.Boolean,
            pl.String,
            pl.Binary,
            pl.Float32,
            pl.Date,
            pl.List,
            pl.Struct,
        ],
        min_size=1,
        max_size=60,
        max_cols=6,
        excluded_dtypes=[pl.Categorical, pl.Enum, pl.Int128, pl.UInt128],
    ),
    group_rows=st.integers(1, 20),
)
def test_row_groups_put_together_are_the_file_that_pyarrow_writes(frame, group_rows):
    table = frame.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    whole, pieces, footer, size = io.BytesIO(), [MAGIC], None, len(MAGIC)
    with pq.ParquetWriter(whole, table.schema, compression="zstd") as writer:
        for start in range(0, table.num_rows, group_rows):
            writer.write_table(table.slice(start, group_rows), row_group_size=group_rows)
    for start in range(0, table.num_rows, group_rows):
        alone = io.BytesIO()
        pq.write_table(table.slice(start, group_rows), alone, row_group_size=group_rows, compression="zstd")
        body, written = body_of(memoryview(alone.getvalue()))
        if footer is None:
            footer = read_footer(written)
        else:
            footer.add(read_footer(written, begin=size, group=len(footer.groups)))
        pieces.append(body)
        size += len(body)
    assert footer is not None
    assert b"".join([*pieces, footer.end()]) == whole.getvalue()


def test_every_row_group_is_found_with_its_statistics():
    frame = pl.DataFrame({"v": range(1_000), "t": [datetime(2026, 1, 1)] * 1_000})
    data = b"".join(encode_file([frame], ParquetEncoding(row_group_size=100), threads=2))
    file = pq.ParquetFile(pa.BufferReader(data))
    assert file.metadata.num_row_groups == 10
    for number in range(10):
        assert file.read_row_group(number)["v"].to_pylist() == list(range(number * 100, number * 100 + 100))
        statistics = file.metadata.row_group(number).column(0).statistics
        assert (statistics.min, statistics.max) == (number * 100, number * 100 + 99)
    assert pl.read_parquet(io.BytesIO(data)).equals(frame)
