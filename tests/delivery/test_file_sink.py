"""Folders of Parquet and IPC files: bytes from rows alone, and nobody else's files."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from types import SimpleNamespace

import polars as pl
import polars.testing
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream import durable
from arrowstream.config import ARROW_LEVEL
from arrowstream.connectors.files import encode
from arrowstream.connectors.files.committed import committed_files
from arrowstream.connectors.files.ipc_encode import IpcEncoding
from arrowstream.connectors.files.parquet_encode import ParquetEncoding
from arrowstream.connectors.files.sink import FileSink
from arrowstream.errors import ConnectorError, FencedError, PlanError, StateError

EVERYTHING = {
    "bool": (pl.Boolean(), True),
    "i8": (pl.Int8(), -1),
    "u64": (pl.UInt64(), 2**64 - 1),
    "f16": (pl.Float16(), 1.5),
    "f64": (pl.Float64(), 0.1),
    "string": (pl.String(), "ä"),
    "binary": (pl.Binary(), b"\0\xff"),
    "date": (pl.Date(), date(2026, 1, 2)),
    "time": (pl.Time(), time(1, 2, 3, 4)),
    "ns": (pl.Datetime("ns", "Europe/Berlin"), datetime(2026, 1, 2)),
    "ms": (pl.Datetime("ms"), datetime(2026, 1, 2)),
    "duration": (pl.Duration("us"), timedelta(days=1)),
    "decimal": (pl.Decimal(38, 3), Decimal("1.5")),
    "enum": (pl.Enum(["b", "a"]), "a"),
    "list": (pl.List(pl.Int64()), [1, None]),
    "array": (pl.Array(pl.Int16(), 2), [1, 2]),
    "struct": (pl.Struct({"a": pl.String(), "b": pl.List(pl.Date())}), {"a": "x", "b": [None]}),
    "null": (pl.Null(), None),
}
CATEGORIES = {
    "category": (pl.Categorical(), "c"),
    "categories": (pl.List(pl.Categorical()), ["c", "d"]),
    "deep": (pl.Struct({"a": pl.Array(pl.Categorical(), 1)}), {"a": ["e"]}),
}


def parquet(path, **options):
    return FileSink(path, ParquetEncoding(**options))


def ipc(path, **options):
    return FileSink(path, IpcEncoding(**options))


def batches(frame, cuts=()):
    bounds = [0, *sorted(cut for cut in cuts if cut < frame.height), frame.height]
    for start, end in pairwise(bounds):
        yield from frame[start:end].to_arrow(compat_level=ARROW_LEVEL).to_batches()


def encoded(sink, frame, cuts=()):
    return b"".join(sink.encode(batches(frame, cuts)))


@pytest.fixture(params=[parquet, ipc])
def kind(request):
    return request.param


@pytest.fixture
def place(tmp_path, kind):
    """A folder that is claimed, and its sink."""
    sink = kind(tmp_path / "out")
    claim(sink)
    sink.open(1)
    return SimpleNamespace(sink=sink, out=tmp_path / "out", history=tmp_path / ".out.arrowstream")


def claim(sink, job="job", mode="error"):
    sink.claim(job_id=job, mode=mode, schema=pl.Schema({"a": pl.Int64()}))


def outbox(sink, epoch, values=(1, 2)):
    path = sink.outbox_folder / f"{epoch:08d}-00000001.outbox"
    path.write_bytes(encoded(sink, pl.DataFrame({"a": values})) if values else b"")
    return path


def read(kind, folder):
    return pl.read_parquet(folder) if kind is parquet else pl.read_ipc(folder / "*.arrow")


def read_bytes(kind, data):
    return (pl.read_parquet if kind is parquet else pl.read_ipc)(io.BytesIO(data))


def test_every_type_comes_back(tmp_path, kind):
    schema = {name: dtype for name, (dtype, _) in EVERYTHING.items()}
    frame = pl.DataFrame({name: [value, None] for name, (_, value) in EVERYTHING.items()}, schema=schema)
    sink = kind(tmp_path / "out")
    sink.check_schema(frame.schema)
    polars.testing.assert_frame_equal(read_bytes(kind, encoded(sink, frame)), frame)


def test_categories_come_back_as_categories_or_strings(tmp_path, kind):
    frame = pl.DataFrame(
        {name: [value, None] for name, (_, value) in CATEGORIES.items()},
        schema={name: dtype for name, (dtype, _) in CATEGORIES.items()},
    )
    back = read_bytes(kind, encoded(kind(tmp_path / "out"), frame))
    if kind is ipc:
        frame = frame.with_columns(
            pl.col("category").cast(pl.String),
            pl.col("categories").cast(pl.List(pl.String)),
            pl.col("deep").cast(pl.Struct({"a": pl.Array(pl.String, 1)})),
        )
    polars.testing.assert_frame_equal(back, frame)


values_of = {
    "i": (pl.Int64(), st.integers(-5, 5)),
    "f": (pl.Float64(), st.floats(width=16)),
    "s": (pl.String(), st.text(max_size=3)),
    "c": (pl.Categorical(), st.sampled_from(["x", "y", "zz"])),
    "e": (pl.Enum(["p", "q"]), st.sampled_from(["p", "q"])),
    "b": (pl.Boolean(), st.booleans()),
    "l": (pl.List(pl.String()), st.lists(st.none() | st.text(max_size=2), max_size=3)),
    "r": (pl.Struct({"a": pl.Int8(), "b": pl.Categorical()}), st.fixed_dictionaries(
        {"a": st.none() | st.integers(0, 3), "b": st.none() | st.sampled_from(["u", "v"])})),
}  # fmt: skip
rows = st.fixed_dictionaries({name: st.none() | values for name, (_, values) in values_of.items()})


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, min_size=1, max_size=40), st.data())
def test_bytes_depend_on_rows_alone(tmp_path_factory, data_rows, data):
    frame = pl.DataFrame(data_rows, schema={name: dtype for name, (dtype, _) in values_of.items()})
    cuts = data.draw(st.lists(st.integers(0, frame.height)))
    for sink in (parquet("/out", row_group_size=7), ipc("/out", record_batch_size=7)):
        whole = encoded(sink, frame)
        pieces = [
            frame[start:end]
            for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), frame.height], strict=True)
        ]
        assert encoded(sink, frame, cuts) == whole
        rebuilt = pl.concat(
            [pl.DataFrame(piece.to_dicts(), schema=frame.schema) for piece in pieces], rechunk=False
        )
        assert encoded(sink, rebuilt) == whole


def test_row_groups_have_the_rows_that_were_asked_for(tmp_path):
    sink = parquet(tmp_path / "out", row_group_size=4)
    data = encoded(sink, pl.DataFrame({"a": range(10)}), cuts=[1, 9])
    metadata = pq.read_metadata(pa.BufferReader(data))
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [4, 4, 2]
    assert metadata.row_group(0).column(0).compression == "ZSTD"


def test_an_output_is_encoded_piece_by_piece(tmp_path):
    """What is handed on is not held: pieces come while batches are still read."""
    sink = parquet(tmp_path / "out", row_group_size=100)
    read_so_far = []

    def source():
        for number in range(10):
            read_so_far.append(number)
            yield from batches(pl.DataFrame({"a": range(100)}))

    pieces = sink.encode(source())
    next(pieces)
    assert len(read_so_far) == 1
    assert len(list(pieces)) >= 10


def test_no_batch_is_no_file_and_a_batch_without_rows_shows_the_columns(tmp_path, kind):
    sink = kind(tmp_path / "out")
    assert list(sink.encode(iter([]))) == []
    empty = pa.record_batch([pa.array([], pa.int64())], names=["a"])
    back = read_bytes(kind, b"".join(sink.encode(iter([empty, empty]))))
    polars.testing.assert_frame_equal(back, pl.DataFrame(schema={"a": pl.Int64}))


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (pl.Int128(), "column 'bad' is Int128, which Parquet cannot hold"),
        (pl.Object(), "column 'bad' is Object, which Parquet cannot hold"),
        (pl.List(pl.Int128()), "column 'bad' (List(Int128)) is Int128, which Parquet cannot hold"),
        (pl.Struct({}), "column 'bad' is Struct, which Parquet cannot hold"),
        (pl.Array(pl.Int8(), 0), "column 'bad' is Array(Int8, shape=(0,)), which Parquet cannot hold"),
    ],
)
def test_a_type_that_cannot_be_held_names_the_column(tmp_path, dtype, message):
    with pytest.raises(PlanError) as caught:
        parquet(tmp_path / "out").check_schema(pl.Schema({"good": pl.Int64(), "bad": dtype}))
    assert caught.value.fact.startswith(message.partition(" is Struct")[0])
    assert "which Parquet cannot hold" in caught.value.fact
    assert caught.value.hint is not None


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("https://host/out", "can only be read"),
        ("s3://bucket", "cannot be an output"),
        ("s3://key:secret@bucket/out", "cannot hold a password"),
        ("s3://bucket/out.parquet", "names a file"),
        ("nowhere://bucket/out", "no file system is known"),
        ("out.parquet", "names a file, but an output is a folder"),
        ("/", "cannot be an output"),
    ],
)
def test_a_place_that_is_no_folder_is_refused(path, message):
    with pytest.raises(PlanError, match=message):
        parquet(path)


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(PlanError, match="names a file"):
        ipc(tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compression": "zip"}, "compression='zip' is not known"),
        ({"compression": "snappy", "compression_level": 3}, "snappy has no levels"),
        ({"compression_level": 99}, "compression_level=99 is not between"),
        ({"row_group_size": 0}, "row_group_size=0 is not a number of rows"),
    ],
)
def test_options_are_checked(tmp_path, options, message):
    with pytest.raises(PlanError, match=message):
        parquet(tmp_path / "out", **options)


@pytest.mark.parametrize("compression", ["zstd", "snappy", "lz4", "gzip", "brotli", "uncompressed"])
def test_every_compression_can_be_read(tmp_path, compression):
    data = encoded(parquet(tmp_path / "out", compression=compression), pl.DataFrame({"a": ["x"] * 100}))
    assert pl.read_parquet(io.BytesIO(data))["a"].to_list() == ["x"] * 100


def test_publishing_makes_files_visible_epoch_by_epoch(place, kind):
    place.sink.publish(1, outbox(place.sink, 1))
    place.sink.publish(2, outbox(place.sink, 2, ()))
    place.sink.publish(3, outbox(place.sink, 3, (3,)))
    suffix = ".parquet" if kind is parquet else ".arrow"
    assert sorted(path.name for path in place.out.iterdir()) == [
        f"part-00000001{suffix}",
        f"part-00000003{suffix}",
    ]
    assert read(kind, place.out)["a"].to_list() == [1, 2, 3]
    assert kind(place.out).outbox_folder == place.history / "outbox"
    again = kind(place.out)
    claim(again)
    assert again.open(2) == 3


def test_publishing_again_changes_nothing(place):
    path = outbox(place.sink, 1)
    place.sink.publish(1, path)
    before = [(file.name, file.stat().st_ino) for file in place.out.iterdir()]
    place.sink.publish(1, path)
    assert [(file.name, file.stat().st_ino) for file in place.out.iterdir()] == before


def test_other_rows_for_a_published_epoch_are_fenced(place):
    place.sink.publish(1, outbox(place.sink, 1))
    with pytest.raises(FencedError, match=r"epoch 1 of .*out has been published by another process"):
        place.sink.publish(1, outbox(place.sink, 1, (7,)))


def test_an_outbox_that_a_newer_process_has_removed_is_fenced(place):
    with pytest.raises(FencedError, match="a newer process has published epoch 1"):
        place.sink.publish(1, place.sink.outbox_folder / "00000001-00000001.outbox")


def test_a_manifest_without_its_link_is_completed(place, kind):
    place.sink.publish(1, outbox(place.sink, 1))
    (data,) = place.out.iterdir()
    content = hashlib.sha256(data.read_bytes()).digest()
    data.unlink()
    again = kind(place.out)
    claim(again)
    assert again.open(2) == 1
    assert hashlib.sha256(data.read_bytes()).digest() == content


def test_a_damaged_manifest_is_named(place, kind):
    place.sink.publish(1, outbox(place.sink, 1))
    manifest = place.history / "manifests" / "00000001.json"
    manifest.write_bytes(manifest.read_bytes()[:-1])
    again = kind(place.out)
    claim(again)
    with pytest.raises(StateError, match=r"00000001.json is damaged"):
        again.open(2)


@pytest.mark.parametrize("where", ["outbox", "name", "source"])
def test_a_manifest_that_leads_out_of_the_output_is_refused(place, kind, where):
    place.sink.publish(1, outbox(place.sink, 1))
    path = place.history / "manifests" / "00000001.json"
    record = json.loads(bytes(durable.unseal("manifest/1", path.read_bytes(), where="")))
    (record if where == "outbox" else record["files"][0])[where] = "../../../secret"
    path.write_bytes(durable.seal("manifest/1", json.dumps(record).encode()))
    again = kind(place.out)
    claim(again)
    with pytest.raises(StateError, match=r"00000001.json names files outside of the output"):
        again.open(2)
    with pytest.raises(StateError, match=r"00000001.json names files outside of the output"):
        committed_files(place.out)


def test_what_belongs_to_another_job_needs_overwrite(place, kind):
    place.sink.publish(1, outbox(place.sink, 1))
    with pytest.raises(StateError, match=r"out holds .*, which is not of this job") as caught:
        claim(kind(place.out), job="another")
    assert 'mode="overwrite" replaces it' in str(caught.value)
    again = kind(place.out)
    claim(again, job="another", mode="overwrite")
    assert list(place.out.iterdir()) == []
    assert again.open(1) is None


def test_overwrite_of_what_the_job_has_published_itself_changes_nothing(place, kind):
    place.sink.publish(1, outbox(place.sink, 1))
    again = kind(place.out)
    claim(again, mode="overwrite")
    assert again.open(2) == 1
    assert read(kind, place.out).height == 2


@pytest.mark.parametrize("mode", ["error", "overwrite"])
def test_foreign_files_are_never_removed(tmp_path, kind, mode):
    out = tmp_path / "out"
    (out / "folder.parquet").mkdir(parents=True)
    (out / "notes.txt").write_text("mine")
    (out / "a.parquet").write_text("mine")
    (out / "a.arrow").write_text("mine")
    with pytest.raises(StateError, match=r"holds what is not a .*notes.txt") as caught:
        claim(kind(out), mode=mode)
    assert "removes data files only" in str(caught.value)
    assert len(list(out.iterdir())) == 4


def test_hidden_files_do_not_count(tmp_path, kind):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".gitkeep").write_text("")
    (tmp_path / "out" / "_SUCCESS").write_text("")
    claim(kind(tmp_path / "out"))


def test_a_place_of_a_job_that_published_nothing_is_free(tmp_path, kind):
    first, second = kind(tmp_path / "out"), kind(tmp_path / "out")
    claim(first, job="one")
    path = outbox(first, 1)
    claim(second, job="two")
    with pytest.raises(FencedError, match=r"out is no longer this job's: .*job.json is of another job"):
        first.publish(1, path)
    second.publish(1, path)
    with pytest.raises(FencedError, match=r"out is no longer this job's: .*job.json is of another job"):
        first.publish(1, path)
    manifest = tmp_path / ".out.arrowstream" / "manifests" / "00000001.json"
    record = durable.unseal("manifest/1", manifest.read_bytes(), where="")
    manifest.write_bytes(durable.seal("manifest/1", bytes(record).replace(b'"two"', b'"one"')))
    with pytest.raises(StateError, match=r"00000001.json is of another job \(one\)"):
        second.open(2)


def test_a_history_that_somebody_has_removed_is_nobodys(tmp_path, kind):
    sink = kind(tmp_path / "out")
    claim(sink)
    path = outbox(sink, 1)
    (tmp_path / ".out.arrowstream" / "job.json").unlink()
    with pytest.raises(FencedError, match=r"out is no longer this job's: .*job.json is gone"):
        sink.publish(1, path)


def test_an_output_that_is_a_file_system_of_its_own_is_refused(tmp_path, kind, monkeypatch):
    sink = kind(tmp_path / "out")
    real = os.stat

    def stat(path, *args, **kwargs):
        found = real(path, *args, **kwargs)
        if str(path) == str(tmp_path / "out"):
            return os.stat_result([found[0], found[1], found[2] + 1, *found[3:10]])
        return found

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(ConnectorError, match="is a file system of its own") as caught:
        claim(sink)
    assert "out/result" in str(caught.value)


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (errno.ENOSPC, "run again: nothing is lost"),
        (errno.EPERM, "no hard links"),
        (errno.EIO, "nothing is lost"),
    ],
)
def test_a_disk_that_fails_is_a_connector_error(place, monkeypatch, code, hint):
    path = outbox(place.sink, 1)

    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(ConnectorError, match="out cannot be written") as caught:
        place.sink.publish(1, path)
    assert hint in str(caught.value)
    assert list(place.out.iterdir()) == []


def test_identity_has_the_real_place_and_the_format(tmp_path, kind):
    (tmp_path / "link").symlink_to(tmp_path / "out")
    (tmp_path / "out").mkdir()
    identity = kind(tmp_path / "link").identity()
    assert identity == kind(tmp_path / "out").identity()
    assert identity["path"] == str(tmp_path / "out")
    assert identity["compression"] == "zstd"


def test_the_row_group_is_bounded():
    assert encode.ROW_GROUP_ROWS == 262_144
