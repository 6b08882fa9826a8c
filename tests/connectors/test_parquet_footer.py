"""What footers of Parquet say of column chunks, against PyArrow; and at what that would end the process."""

from __future__ import annotations

import io

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.config import DEAD
from arrowstream.connectors.files import columnar_source, scan_reader
from arrowstream.connectors.files.columnar import ParquetFormat
from arrowstream.connectors.files.columnar_source import ParquetSource
from arrowstream.connectors.files.options import FileOptions
from arrowstream.connectors.files.parquet_footer import row_groups
from arrowstream.connectors.files.parquet_pages import check_pages
from arrowstream.connectors.files.thrift import Compact
from arrowstream.errors import DataError

NUMBERS = st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=9)


def tail_of(content):
    return ParquetFormat().tail(io.BytesIO(content))


def written(table, **options):
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def check_like_pyarrow(content):
    metadata = pq.read_metadata(io.BytesIO(content))
    found = list(row_groups(tail_of(content)))
    assert [len(group) for group in found] == [metadata.num_columns] * metadata.num_row_groups
    for number, group in enumerate(found):
        for index, chunk in enumerate(group):
            expected = metadata.row_group(number).column(index)
            assert chunk.path == expected.path_in_schema
            assert chunk.values == expected.num_values
            assert chunk.uncompressed_bytes == expected.total_uncompressed_size
            assert chunk.compressed_bytes == expected.total_compressed_size
            pages = [expected.data_page_offset, expected.dictionary_page_offset]
            assert not chunk.values or chunk.start == min(filter(None, pages))
            statistics = expected.statistics
            assert chunk.nulls == (statistics.null_count if statistics is not None else None)
            if expected.physical_type == "INT64" and statistics is not None and statistics.has_min_max:
                assert int.from_bytes(chunk.least, "little", signed=True) == statistics.min_raw


@settings(max_examples=25, deadline=None)
@given(
    numbers=NUMBERS,
    columns=st.integers(1, 20),
    rows=st.integers(1, 4),
    statistics=st.booleans(),
    dictionary=st.booleans(),
    by=st.sampled_from(["pyarrow", "polars"]),
)
def test_it_says_what_pyarrow_says(numbers, columns, rows, statistics, dictionary, by):
    table = pa.table(
        {
            "numbers": pa.array(numbers, pa.int64()),
            "lists": pa.array([[number, None] for number in numbers], pa.list_(pa.int64())),
            **{f"ä{index}": pa.array([str(number) for number in numbers]) for index in range(columns)},
        }
    )
    if by == "polars":
        sink = io.BytesIO()
        pl.DataFrame(table).write_parquet(sink, statistics=statistics, row_group_size=rows)
        check_like_pyarrow(sink.getvalue())
    else:
        options = {"write_statistics": statistics, "use_dictionary": dictionary, "row_group_size": rows}
        check_like_pyarrow(written(table, **options))


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from(b"\x1c\x19\x1b\x18\x00\xff\x01"), max_size=200).map(bytes)
)
def test_bytes_that_are_no_structures_are_an_error(content):
    try:
        Compact(content).value(12)
    except pa.ArrowInvalid:
        return
    assert b"\0" in content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1c" * 1_000_000, "nested too deeply"),
        (b"\x19\xfc\xff\xff\xff\xff\x0f", "longer than itself"),
        (b"\x16" + b"\xff" * 11, "more than 64 bits"),
        (b"\x18\x7f", "ends too early"),
        (b"\x1e\x00", "unknown type, 14"),
    ],
)
def test_what_is_wrong_with_a_structure(content, message):
    with pytest.raises(pa.ArrowInvalid, match=message):
        Compact(content).value(12)


def test_all_types():
    content = bytes.fromhex(
        "11 12 1302 1404 1506 1603 170000000000000840 180161 19230201 1b0186016102 1c150200 00"
    )
    assert Compact(content).value(12) == {
        1: True,
        2: False,
        3: 2,
        4: 2,
        5: 3,
        6: -2,
        7: bytes.fromhex("0000000000000840"),
        8: b"a",
        9: [2, 1],
        10: [b"a", 1],
        11: {1: 1},
    }


# what ends the process of whoever asks PyArrow


@pytest.mark.parametrize("on_error", ["raise", "dead_letter"])
def test_levels_that_do_not_fit_their_histogram(tmp_path, on_error):
    table = pa.table({"t": pa.array([1, 2, 3], pa.timestamp("us")), "list": [[1, None], None, []]})
    content = written(table)
    optional, required = (b"\x25" + code + b"\x18\x07element" for code in (b"\x02", b"\x00"))
    assert content.count(optional) == 1
    (tmp_path / "a.parquet").write_bytes(content.replace(optional, required))
    source = ParquetSource(tmp_path, FileOptions(on_error=on_error), event_time="t")
    reader = source.open("scan", None)
    assert reader.horizon(None, 0) == 1
    if on_error == "raise":
        with pytest.raises(DataError, match=r"a\.parquet"):
            reader.read(10)
    else:
        (letter,) = reader.read(10)[0][DEAD]
        assert "Definition level histogram size mismatch" in letter["error"]


def test_a_least_value_that_is_too_short(tmp_path):
    least = (7).to_bytes(8, "little")
    content = written(pa.table({"t": pa.array([7, 9], pa.timestamp("us"))}), use_dictionary=False)
    tail = tail_of(content)
    assert tail.count(b"\x18\x08" + least) == 2  # the old statistics and the new
    shorter = tail.replace(b"\x18\x08" + least, b"\x18\x07" + least[:7])[:-8]
    head = content[: -len(tail)]
    (tmp_path / "a.parquet").write_bytes(head + shorter + len(shorter).to_bytes(4, "little") + b"PAR1")
    source = ParquetSource(tmp_path, event_time="t")
    assert source.open("scan", None).horizon(None, 0) is None


def test_a_name_that_is_no_text_names_its_file(tmp_path):
    content = written(pa.table({"abcdefgh": [1, 2]}), store_schema=False)
    first, last = content.find(b"\x08abcdefgh"), content.rfind(b"\x08abcdefgh")
    assert first < last
    (tmp_path / "a.parquet").write_bytes(content[: last + 1] + b"\xff" + content[last + 2 :])
    with pytest.raises(DataError, match=r"a\.parquet"):
        ParquetSource(tmp_path).open("scan", None).read(10)


# pages


def looked_at(content, columns=()):
    check_pages(io.BytesIO(content), tail_of(content), columns)


PAGES = pl.DataFrame(
    {
        "n": pl.int_range(3_000, eager=True),
        "text": [None if row % 3 else "x" * 300 for row in range(3_000)],
        "list": [[row, None] if row % 2 else [] for row in range(3_000)],
        "nothing": pl.Series([None] * 3_000, dtype=pl.Int64),
    }
)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_pages_that_others_wrote_are_sound(version, dictionary):
    options = {"data_page_version": version, "use_dictionary": dictionary, "data_page_size": 500}
    looked_at(written(PAGES.to_arrow(compat_level=pl.CompatLevel.oldest()), **options))
    sink = io.BytesIO()
    PAGES.write_parquet(sink, data_page_size=500, row_group_size=1_000)
    looked_at(sink.getvalue())
    looked_at(written(pa.table({"n": pa.array([], pa.int64())})))


def test_a_header_that_is_longer_than_most():
    text = "long" * 20_000
    looked_at(written(pa.table({"text": [text, text]}), write_page_index=False, use_dictionary=False))


def with_wrong_page(values):
    """A file in which the page of column a says that it has so many values, in one byte or more."""
    content = written(pa.table({"a": [1, 2, None], "b": [3, 4, 5]}), use_dictionary=False)
    (group,) = row_groups(tail_of(content))
    described = content.index(b"\x2c\x15\x06", group[0].start)  # a data page of three values
    return content[: described + 2] + values + content[described + 3 :]


@pytest.mark.parametrize(("values", "said"), [(b"\x7f", "-64"), (b"\x7e", "63"), (b"\xfe\x7f", "8,191")])
def test_a_page_that_says_it_has_more_values_than_there_are(values, said):
    message = f"page of column 'a' of row group 0, at byte 4, says that it has {said} values in"
    with pytest.raises(pa.ArrowInvalid, match=message):
        looked_at(with_wrong_page(values))


@pytest.mark.parametrize("streams", [True, False])
def test_polars_does_not_see_a_wrong_page(tmp_path, monkeypatch, streams):
    monkeypatch.setattr(columnar_source, "_STREAMS_MAX", 16 if streams else 0)
    (tmp_path / "f.parquet").write_bytes(with_wrong_page(b"\x7f"))
    source = ParquetSource(tmp_path)
    with pytest.raises(DataError, match=r"f\.parquet is not a readable Parquet file: a page of column 'a'"):
        source.open("scan", None).read(10)
    assert source.project(["b"]).open("scan", None).read(10)[0]["b"].to_list() == [3, 4, 5]


def test_many_files_are_looked_at_and_read_in_runs(tmp_path, monkeypatch):
    rows = pl.DataFrame({"id": pl.int_range(100, eager=True)})
    for index in range(10):
        rows.slice(10 * index, 10).write_parquet(tmp_path / f"{index}.parquet")
    size = (tmp_path / "0.parquet").stat().st_size
    monkeypatch.setattr(scan_reader, "_RUN_BYTES", 3 * size)
    source = ParquetSource(tmp_path)
    for position, first in ((None, 0), ([4, 3], 43), ([9, 10], 100)):
        reader = source.open("scan", position)
        found = []
        while (read := reader.read(7)) is not None:
            found += read[0]["id"].to_list()
        assert found == list(range(first, 100))
