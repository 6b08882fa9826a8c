from __future__ import annotations

import datetime as dt
import gc
import json
import os
import subprocess
import sys
import textwrap
import threading
from itertools import cycle
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arrowstream.config import END_OF_TIME
from arrowstream.connectors.files import columnar_source as source_module
from arrowstream.connectors.files import scan_reader
from arrowstream.connectors.files.columnar_source import IpcSource, ParquetSource
from arrowstream.connectors.files.options import FileOptions
from arrowstream.errors import ConnectorError, DataError, PlanError
from arrowstream.protocols import Reader, Source

US = pl.Datetime("us")


def frame(first: int, rows: int) -> pl.DataFrame:
    numbers = pl.int_range(first, first + rows, eager=True)
    return pl.DataFrame({"t": numbers.cast(US), "id": numbers, "name": numbers.cast(pl.String)})


def write(path: Path, rows: pl.DataFrame, part_rows: int) -> None:
    if path.suffix == ".parquet":
        rows.write_parquet(path, row_group_size=part_rows)
    else:
        rows.write_ipc(path, record_batch_size=part_rows)


def source_of(folder: Path, event_time=None, **options):
    kind = ParquetSource if any(folder.glob("*.parquet")) else IpcSource
    return kind(folder, FileOptions(**options), event_time=event_time)


@pytest.fixture(params=[".parquet", ".arrow"])
def folder(request, tmp_path):
    """Ids 0 to 59 in files of 20, 0, 30 and 10 rows, in an order that only natural sorting finds."""
    first = 0
    for name, rows in (("f1", 20), ("f2", 0), ("f9", 30), ("f10", 10)):
        write(tmp_path / f"{name}{request.param}", frame(first, rows), 7)
        first += rows
    return tmp_path


def read_all(reader, sizes=(1000,)):
    pieces, positions = [], []
    for size in cycle(sizes):
        if (read := reader.read(size)) is None:
            break
        assert 0 < read[0].height <= size
        pieces.append(read[0])
        positions.append(read[1])
    reader.close()
    return pieces, positions


def ids(pieces):
    return [number for piece in pieces for number in piece["id"].to_list()]


def test_it_is_a_source(folder):
    source = source_of(folder)
    assert isinstance(source, Source)
    assert isinstance(source.open("scan", None), Reader)
    assert (source.bounded, source.replayable, source.row_count) == (True, True, 60)
    assert source.partitions() == ["scan"]
    assert pl.Schema(source.schema) == source.polars_schema == frame(0, 1).schema
    assert "4 files, 60 rows" in repr(source)


def test_all_files_in_natural_order(folder):
    pieces, positions = read_all(source_of(folder).open("scan", None))
    assert pl.concat(pieces).equals(frame(0, 60))
    is_scan = isinstance(source_of(folder), ParquetSource)
    assert positions[-1] == ([3, 10] if is_scan else [3, [1, 3], 0, 10])


@pytest.mark.parametrize("streams", [True, False])
def test_resume_at_every_position(folder, streams, monkeypatch):
    monkeypatch.setattr(source_module, "_STREAMS_MAX", 16 if streams else 0)
    source = source_of(folder)
    pieces, positions = read_all(source.open("scan", None), sizes=(3, 1, 5))
    assert ids(pieces) == list(range(60))
    seen = 0
    for piece, position in zip(pieces, positions, strict=True):
        seen += piece.height
        assert json.loads(json.dumps(position)) == position
        assert ids(read_all(source.open("scan", position))[0]) == list(range(seen, 60))


def test_positions_do_not_depend_on_batches(folder):
    source = source_of(folder)
    ends = {}
    for sizes in ((1,), (4, 7), (60,)):
        pieces, positions = read_all(source.open("scan", None), sizes)
        seen = 0
        for piece, position in zip(pieces, positions, strict=True):
            seen += piece.height
            assert ends.setdefault(seen, position) == position
    if isinstance(source, ParquetSource):
        assert (ends[20], ends[21], ends[50], ends[60]) == ([0, 20], [2, 1], [2, 30], [3, 10])
    else:
        assert (ends[20], ends[21]) == ([0, [2, 6], 0, 20], [2, None, 1, 0])


@pytest.mark.parametrize("position", [[0, 21], [4, 0], [-1, 0], [0, -1], 7, "x", [0], [0, 1.5]])
def test_a_position_of_other_files_is_refused(folder, position):
    with pytest.raises(ConnectorError, match="is not in the 4 files from"):
        source_of(folder).open("scan", position)


def test_clock_by_file_and_directory(tmp_path):
    for name in ("b/1", "b/2", "a/10", "a/9"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        frame(len(name), 2).write_parquet(tmp_path / f"{name}.parquet")
    by_file = ParquetSource(tmp_path, FileOptions(clock_by="file"))
    assert by_file.partitions() == ["a/9.parquet", "a/10.parquet", "b/1.parquet", "b/2.parquet"]
    assert ids(read_all(by_file.open("a/10.parquet", None))[0]) == [4, 5]
    by_directory = ParquetSource(tmp_path, FileOptions(clock_by="directory"))
    assert by_directory.partitions() == ["a", "b"]
    assert ids(read_all(by_directory.open("a", None))[0]) == [3, 4, 4, 5]
    with pytest.raises(ConnectorError, match="there is no partition 'c'"):
        by_directory.open("c", None)


def test_project_reads_these_columns_in_this_order(folder):
    source = source_of(folder).project(["name", "id"])
    assert source.polars_schema.names() == ["name", "id"]
    pieces, _ = read_all(source.open("scan", None))
    assert pieces[0].columns == ["name", "id"]
    assert source.project([]).polars_schema.names() == ["name"]


def test_options_that_do_not_exist(folder):
    with pytest.raises(PlanError, match="has no column 'nam'") as raised:
        source_of(folder).project(["nam"])
    assert raised.value.choices == ("t", "id", "name")
    assert raised.value.hint == "did you mean 'name'?"
    with pytest.raises(PlanError, match="has no column 'time'"):
        source_of(folder, event_time="time")
    with pytest.raises(PlanError, match="clock_by='row' is not known"):
        source_of(folder, clock_by="row")
    with pytest.raises(PlanError, match="storage_options are for URLs"):
        source_of(folder, storage_options={"key": "x"})


def test_identity_changes_with_a_file(folder):
    source = source_of(folder)
    identity = source.identity()
    assert json.loads(json.dumps(identity)) == identity
    assert identity == source_of(folder).identity()
    path = Path(identity["files"][0][0])
    os.utime(path, ns=(1, 1))
    assert source_of(folder).identity() != identity


def test_only_empty_files(tmp_path):
    frame(0, 0).write_parquet(tmp_path / "a.parquet")
    frame(0, 0).write_parquet(tmp_path / "b.parquet")
    source = ParquetSource(tmp_path, event_time="t")
    reader = source.open("scan", None)
    assert reader.horizon(None, 0) == END_OF_TIME
    assert read_all(reader) == ([], [])


def test_all_types_come_through(tmp_path):
    rows = pl.DataFrame(
        {
            "d": pl.Series([dt.date(2020, 1, 1), None]),
            "dec": pl.Series(["1.25", None]).cast(pl.Decimal(10, 2)),
            "cat": pl.Series(["a", None], dtype=pl.Categorical()),
            "enum": pl.Series(["b", "a"], dtype=pl.Enum(["a", "b"])),
            "tz": pl.Series([1, None]).cast(pl.Datetime("ms", "Europe/Berlin")),
            "list": [[1], None],
            "struct": [{"x": "y"}, None],
            "array": pl.Series([[1, 2], None], dtype=pl.Array(pl.Int8, 2)),
            "bin": [b"\x00", None],
        }
    )
    rows.write_parquet(tmp_path / "a.parquet")
    source = ParquetSource(tmp_path)
    pieces, _ = read_all(source.open("scan", None))
    assert pieces[0].equals(rows)
    assert pieces[0].schema == source.polars_schema == pl.Schema(source.schema)


@pytest.mark.parametrize("streams", [True, False])
def test_large_rows_come_few_at_a_time(tmp_path, monkeypatch, streams):
    monkeypatch.setattr(source_module, "_STREAMS_MAX", 16 if streams else 0)
    monkeypatch.setattr(scan_reader, "_CHUNK_BYTES", 100_000)
    large = frame(0, 100).with_columns(name=pl.Series([bytes([row]) * 20_000 for row in range(100)]))
    write(tmp_path / "a.parquet", large, 50)
    pieces, _ = read_all(source_of(tmp_path).project(["name", "id"]).open("scan", None))
    assert max(piece.height for piece in pieces) < 20
    assert ids(pieces) == list(range(100))


def test_dictionary_columns_of_arrow(tmp_path):
    pq.write_table(pa.table({"s": pa.array(["a", "b", "a"]).dictionary_encode()}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"s": pa.array(["c"]).dictionary_encode()}), tmp_path / "b.parquet")
    pieces, _ = read_all(ParquetSource(tmp_path).open("scan", None))
    assert [str(value) for piece in pieces for value in piece["s"]] == ["a", "b", "a", "c"]


# the smallest time to come


def remaining_minimum(times, groups, row):
    """Smallest time of the row groups that end after `row`."""
    low, start = END_OF_TIME, 0
    for rows in groups:
        known = [value for value in times[start : start + rows] if value is not None]
        start += rows
        if start > row:
            low = min([low, *known])
    return low


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(
        st.lists(st.one_of(st.none(), st.integers(-(10**6), 10**6)), max_size=12), min_size=1, max_size=3
    ),
    dtype=st.sampled_from(
        [US, pl.Datetime("ms"), pl.Datetime("ns", "Asia/Kolkata"), pl.Date, pl.Int64, pl.Int16]
    ),
)
def test_horizon_is_the_minimum_of_the_row_groups_to_come(tmp_path, files, dtype):
    physical = {pl.Date: pl.Int32, pl.Int16: pl.Int64}.get(dtype, pl.Int64)
    if dtype == pl.Int16:
        files = [[None if value is None else value % 1000 for value in times] for times in files]
    for old in tmp_path.iterdir():
        old.unlink()
    for index, times in enumerate(files):
        column = pl.Series("t", times, dtype=physical).cast(dtype)
        pl.DataFrame([column]).write_parquet(tmp_path / f"{index}.parquet", row_group_size=5)
    source = ParquetSource(tmp_path, event_time="t")
    assert source.horizon_missing() is None
    reader = source.open("scan", None)
    times = [value for file in files for value in file]
    groups = [
        pq.read_metadata(tmp_path / f"{index}.parquet").row_group(group).num_rows
        for index in range(len(files))
        for group in range(pq.read_metadata(tmp_path / f"{index}.parquet").num_row_groups)
    ]
    starts = [0]
    for file in files:
        starts.append(starts[-1] + len(file))
    for row in range(len(times) + 1):
        expected = remaining_minimum(times, groups, row)
        assert reader.horizon(None, row) == expected
        for index, start in enumerate(starts[:-1]):
            for skip in range(min(2, row - start) + 1) if start <= row <= starts[index + 1] else ():
                assert reader.horizon([index, row - start - skip], skip) == expected


def test_horizon_without_statistics_is_known_past_them(tmp_path):
    table = pa.table({"t": pa.array([5, 6], pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "1.parquet", write_statistics=False)
    pq.write_table(table, tmp_path / "2.parquet")
    source = ParquetSource(tmp_path).with_event_time("t")
    reader = source.open("scan", None)
    assert reader.horizon(None, 0) is None
    assert reader.horizon([0, 1], 0) is None
    assert reader.horizon([0, 1], 1) == 5
    assert reader.horizon([1, 2], 0) == END_OF_TIME
    assert source.horizon_missing() == (f"1 of 2 files have no statistics of 't': {tmp_path / '1.parquet'}")


def test_int96_has_no_statistics_to_trust(tmp_path):
    table = pa.table({"t": pa.array([5, 6], pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    source = ParquetSource(tmp_path, event_time="t")
    reader = source.open("scan", None)
    assert reader.horizon(None, 0) is None
    assert reader.horizon([0, 2], 0) == END_OF_TIME
    assert read_all(reader)[0][0].height == 2


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_statistics_are_in_the_unit_of_the_column(tmp_path, unit):
    pq.write_table(pa.table({"t": pa.array([7, 8], pa.timestamp(unit, "UTC"))}), tmp_path / "a.parquet")
    source = ParquetSource(tmp_path, event_time="t")
    reader = source.open("scan", None)
    assert reader.horizon(None, 0) == read_all(reader)[0][0]["t"].to_physical().min()


def test_unsigned_and_nested_columns_are_not_known(tmp_path):
    table = pa.table(
        {
            "u": pa.array([2**63 + 1], pa.uint64()),
            "a": pa.array([{"b": 1}]),
            "a.b": pa.array([5]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    source = ParquetSource(tmp_path)
    for column in ("u", "a.b"):
        assert source.with_event_time(column).open("scan", None).horizon(None, 0) is None


def test_ipc_and_no_event_time_have_no_horizon(folder):
    source = source_of(folder)
    assert source.open("scan", None).horizon(None, 0) is None
    end = [3, 10] if isinstance(source, ParquetSource) else [4, None, 0, 0]
    assert source.open("scan", None).horizon(end, 0) == END_OF_TIME
    assert source.horizon_missing() == "no event-time column is read from the files"
    if isinstance(source, IpcSource):
        assert source.with_event_time("t").horizon_missing().startswith("3 of 4 files have no statistics")


# what goes wrong


def damage(path: Path, kind: str) -> None:
    raw = path.read_bytes()
    match kind:
        case "cut":
            path.write_bytes(raw[: len(raw) // 2])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("a,b\n1,2\n" * 100)
        case "page":
            path.write_bytes(raw[:40] + b"\xff" * (len(raw) // 3) + raw[40 + len(raw) // 3 :])


@pytest.mark.parametrize("kind", ["cut", "empty", "text"])
def test_a_footer_that_cannot_be_read(folder, kind):
    path = next(iter(sorted(folder.glob("f9*"))))
    damage(path, kind)
    with pytest.raises(DataError) as raised:
        source_of(folder)
    assert str(path) in raised.value.fact
    assert "is not a readable" in raised.value.fact
    assert raised.value.hint == (
        "the file is damaged, cut short or of another format: write it again, or leave it out"
    )


@pytest.mark.parametrize("streams", [True, False])
def test_a_damaged_page_names_the_file(tmp_path, monkeypatch, streams):
    monkeypatch.setattr(source_module, "_STREAMS_MAX", 16 if streams else 0)
    for index in range(3):
        frame(index * 10_000, 10_000).write_parquet(tmp_path / f"{index}.parquet", row_group_size=1000)
    damage(tmp_path / "1.parquet", "page")
    reader = ParquetSource(tmp_path).open("scan", None)
    with pytest.raises(DataError) as raised:
        read_all(reader)
    assert str(tmp_path / "1.parquet") in raised.value.fact
    assert raised.value.__cause__ is not None
    reader.close()


@pytest.mark.parametrize("streams", [True, False])
def test_a_file_that_is_gone_or_changed_meanwhile(folder, monkeypatch, streams):
    monkeypatch.setattr(source_module, "_STREAMS_MAX", 16 if streams else 0)
    source = source_of(folder)
    path = next(iter(folder.glob("f9*")))
    raw = path.read_bytes()
    path.unlink()
    with pytest.raises(ConnectorError, match="does not exist") as raised:
        read_all(source.open("scan", None))
    assert str(path) in raised.value.fact
    path.write_bytes(raw + b" ")
    with pytest.raises(ConnectorError, match="has changed since the query was built") as raised:
        read_all(source.open("scan", None))
    assert str(path) in raised.value.fact
    assert raised.value.hint == ("build the query again; files that are still written to cannot be replayed")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(folder):
    path = next(iter(folder.glob("f9*")))
    path.chmod(0)
    with pytest.raises(ConnectorError, match="permission denied"):
        source_of(folder)


@pytest.mark.parametrize("folder", [".parquet"], indirect=True)
def test_a_panic_of_polars_is_translated(folder, monkeypatch):
    def panic(*_, **__):
        raise pl.exceptions.PanicException("index out of bounds")

    reader = source_of(folder).open("scan", None)
    monkeypatch.setattr(pl.LazyFrame, "collect_batches", panic)
    with pytest.raises(DataError, match=r"f1.* is not a readable .* file: index out of bounds"):
        reader.read(10)


@pytest.mark.parametrize("folder", [".parquet"], indirect=True)
def test_an_error_that_no_file_shows_alone(folder, monkeypatch):
    def fail(_):
        raise pl.exceptions.ComputeError("out of memory")

    reader = source_of(folder).open("scan", None)
    monkeypatch.setattr(reader, "_stream", fail)
    with pytest.raises(ConnectorError, match=r"reading .*f1.* or one of the 3 files after it failed: out of"):
        reader.read(10)


@pytest.mark.parametrize(
    ("other", "message", "hint"),
    [
        (frame(0, 2).drop("name"), "has no column 'name', which", "missing_columns='insert'"),
        (frame(0, 2).with_columns(pl.col("id").cast(pl.Int32)), "column 'id' of", "integer_cast='upcast'"),
        (frame(0, 2).with_columns(more=1), "has a column 'more', which", "extra_columns='ignore'"),
    ],
)
def test_files_of_different_schemas(folder, other, message, hint):
    path = next(iter(folder.glob("f9*")))
    write(path, other, 5)
    with pytest.raises(PlanError) as raised:
        source_of(folder)
    assert message in raised.value.fact
    assert str(path) in raised.value.fact
    assert hint in raised.value.hint


def test_the_order_of_columns_may_differ(folder):
    write(next(iter(folder.glob("f10.*"))), frame(50, 10).select("name", "id", "t"), 5)
    pieces, _ = read_all(source_of(folder).open("scan", None))
    assert pl.concat(pieces).equals(frame(0, 60))


# threads


def test_a_closed_reader_leaves_nothing_running(tmp_path):
    frame(0, 500_000).write_parquet(tmp_path / "a.parquet", row_group_size=10_000)
    source = ParquetSource(tmp_path)
    reader = source.open("scan", None)
    reader.read(1000)
    reader.close()
    reader.close()
    for _ in range(50):  # each abandoned in the middle
        source.open("scan", None).read(1000)
    gc.collect()
    assert pl.scan_parquet(tmp_path / "a.parquet").select(pl.len()).collect().item() == 500_000
    assert ids(read_all(source.open("scan", [0, 499_990]))[0]) == list(range(499_990, 500_000))


def test_a_process_ends_with_readers_open(tmp_path):
    frame(0, 300_000).write_parquet(tmp_path / "a.parquet", row_group_size=10_000)
    script = f"""
        from arrowstream.connectors.files.columnar_source import ParquetSource
        source = ParquetSource({str(tmp_path)!r})
        readers = [source.open("scan", None) for _ in range(20)]
        for reader in readers:
            reader.read(1000)
        print("end")
    """
    assert ended(script) == (0, "end\n", "")


def test_a_process_ends_with_a_result_half_read(tmp_path):
    frame(0, 300_000).write_parquet(tmp_path / "a.parquet", row_group_size=10_000)
    script = f"""
        import arrowstream as ars
        batches = ars.scan_parquet({str(tmp_path)!r}).iter_batches(batch_rows=1000)
        next(batches)
        print("end")
    """
    assert ended(script) == (0, "end\n", "")


def ended(script):
    """Exit code, output and errors of a program."""
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, timeout=60, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_footers_of_many_files(tmp_path):
    for index in range(200):
        frame(index * 3, 3).write_parquet(tmp_path / f"{index}.parquet")
    source = ParquetSource(tmp_path, FileOptions(clock_by="file"), event_time="t")
    assert len(source.partitions()) == 200
    before = threading.active_count()
    readers = [source.open(name, None) for name in source.partitions()]
    assert [reader.horizon(None, 0) for reader in readers] == [index * 3 for index in range(200)]
    assert ids(reader.read(10)[0] for reader in readers) == list(range(600))
    assert threading.active_count() == before
    assert ids(read_all(ParquetSource(tmp_path).open("scan", None))[0]) == list(range(600))
