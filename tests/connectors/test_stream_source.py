from __future__ import annotations

import gzip
import json
import logging
import os
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle, islice

import polars as pl
import pytest

from arrowstream.config import DEAD
from arrowstream.connectors.files import stream_source
from arrowstream.connectors.files.options import FileOptions
from arrowstream.connectors.files.stream_source import StreamSource
from arrowstream.connectors.files.streams import Block, DeadSlot, skip, with_dead
from arrowstream.errors import ConnectorError, DataError, PlanError
from arrowstream.protocols import Reader, Source


@dataclass(frozen=True)
class Numbers:
    """A format of the tests: a line of names, and lines of integers; a block is a few lines."""

    name = "Numbers"
    suffixes = (".num",)
    is_sparse = False
    has_types: bool = False
    block_lines: int = 4

    def schema(self, stream, path):
        names = stream.readline().decode().split()
        return pl.Schema(dict.fromkeys(names, pl.Int64))

    def blocks(self, stream, path, *, schema, columns, resume, on_error, growing=False):
        line = 1 if resume is None else resume
        lines = islice(lines_of(stream), line, None)
        while taken := list(islice(lines, self.block_lines)):
            rows, dead = [], []
            for slot, text in enumerate(taken):
                values = text.split()
                try:
                    rows.append(dict(zip(schema, map(int, values), strict=True)))
                except ValueError:
                    place = f"line {line + slot + 1}"
                    if on_error == "raise":
                        raise DataError(f"{place} of {path} is not made of numbers") from None
                    dead.append(DeadSlot(slot, text, "not made of numbers", place))
            line += len(taken)
            yield Block(with_dead(pl.DataFrame(rows, schema=schema).select(columns), dead, path), line)

    def identity(self):
        return {}


SCHEMA = {"id": pl.Int64, "x": pl.Int64}


def lines_of(stream):
    rest = b""
    while piece := stream.read(64):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        yield rest


def write(path, rows, columns="id x", compress=None):
    text = "".join([f"{columns}\n", *(f"{row}\n" for row in rows)]).encode()
    path.write_bytes(compress(text) if compress else text)


@pytest.fixture
def folder(tmp_path):
    """Ids 0 to 29: files of 11, 0, 13 and 6 rows."""
    write(tmp_path / "f1.num", [f"{number} {number * 2}" for number in range(11)])
    write(tmp_path / "f2.num", [])
    write(
        tmp_path / "f3.num.gz", [f"{number} {number * 2}" for number in range(11, 24)], compress=gzip.compress
    )
    write(tmp_path / "f10.num", [f"{number * 2} {number}" for number in range(24, 30)], "x id")
    (tmp_path / "f11.num").write_bytes(b"")
    return tmp_path


def source_of(folder, **options):
    return StreamSource(folder, Numbers(), FileOptions(**options))


def read_all(reader, sizes=(1000,)):
    pieces, positions = [], []
    with closing(reader):
        for size in cycle(sizes):
            if (read := reader.read(size)) is None:
                break
            assert 0 < read[0].height <= size
            pieces.append(read[0])
            positions.append(read[1])
    return pieces, positions


def ids(pieces):
    return [number for piece in pieces for number in piece["id"].to_list()]


def good_ids(pieces):
    """Of the slots that are rows."""
    return [number for number in ids(pieces) if number is not None]


def rows_of(source):
    pieces, _ = read_all(source.open("scan", None))
    return pl.concat(pieces, how="diagonal")


def test_it_is_a_source(folder):
    source = source_of(folder)
    assert isinstance(source, Source)
    assert isinstance(source.open("scan", None), Reader)
    assert (source.bounded, source.replayable) == (True, True)
    assert source.partitions() == ["scan"]
    assert pl.Schema(source.schema) == source.polars_schema == {"id": pl.Int64, "x": pl.Int64}
    assert repr(source).startswith("Numbers(5 files, first ")
    assert source.horizon_missing() == "Numbers files have no statistics"


def test_files_in_natural_order_compressed_ones_too(folder):
    rows = rows_of(source_of(folder))
    assert rows["id"].to_list() == list(range(30))
    assert rows["x"].to_list() == [2 * number for number in range(30)]


@pytest.mark.parametrize("sizes", [(3, 1, 5), (1,), (2,)])
def test_resume_at_every_position(folder, sizes):
    source = source_of(folder)
    pieces, positions = read_all(source.open("scan", None), sizes)
    assert ids(pieces) == list(range(30))
    seen = 0
    for piece, position in zip(pieces, positions, strict=True):
        seen += piece.height
        assert json.loads(json.dumps(position)) == position
        assert ids(read_all(source.open("scan", position))[0]) == list(range(seen, 30))


def test_positions_do_not_depend_on_batches(folder):
    source = source_of(folder)
    ends = {}
    for sizes in ((1,), (4, 7), (60,)):
        pieces, positions = read_all(source.open("scan", None), sizes)
        seen = 0
        for piece, position in zip(pieces, positions, strict=True):
            seen += piece.height
            assert ends.setdefault(seen, position) == position
    assert (ends[3], ends[4], ends[11], ends[30]) == (
        [0, None, 3, 0],
        [0, 5, 0, 4],
        [0, 12, 0, 11],
        [3, 7, 0, 6],
    )


@pytest.mark.parametrize(
    "position", [[0, None, 50, 0], [6, None, 0, 0], [-1, None, 0, 0], 7, "x", [0], [0, 1]]
)
def test_a_position_of_other_files_is_refused(folder, position):
    with pytest.raises(ConnectorError, match="is not in the 5 files from"):
        read_all(source_of(folder).open("scan", position))


def test_partitions_projection_labels_and_numbers(folder):
    source = source_of(folder, clock_by="file", include_file_paths="path")
    assert source.partitions() == ["f1.num", "f2.num", "f3.num.gz", "f10.num", "f11.num"]
    full = source.with_metadata(file="file", row="row")
    assert full.polars_schema.names() == ["id", "x", "path", "file", "row"]
    rows = read_all(full.open("f10.num", [0, 5, 1, 4]))[0][0]
    path = str(folder / "f10.num")
    assert rows.rows() == [(29, 58, path, path, 5)]
    assert rows.schema == full.polars_schema
    some = full.project(["x", "file"])
    assert read_all(some.open("f10.num", None))[0][0].rows()[0] == (48, path)
    only = full.project(["row"])
    assert [row for piece in read_all(only.open("f1.num", None), (2,))[0] for row in piece["row"]] == [
        *range(11)
    ]
    assert read_all(full.project(["path"]).open("f10.num", None))[0][0].rows() == [(path,)] * 6
    with pytest.raises(PlanError, match="have a column 'x' already"):
        source.with_metadata(file="x", row=None)
    with pytest.raises(PlanError, match="include_file_paths='x': the files have a column of that name"):
        source_of(folder, include_file_paths="x")


def test_options_that_do_not_exist(folder):
    for options, message in (
        ({"clock_by": "row"}, "clock_by='row' is not known"),
        ({"on_error": "ignore"}, "on_error='ignore' is not known"),
        ({"missing_columns": "x"}, "missing_columns='x' is not known"),
        ({"extra_columns": "insert"}, "extra_columns='insert' is not known"),
        ({"compression": "gz"}, "compression='gz' is not known"),
        ({"decompressed_max": 0}, "decompressed_max=0 is not a number of bytes"),
        ({"storage_options": {"key": "x"}}, "storage_options are for URLs"),
        ({"schema": {}}, "schema= has no columns"),
    ):
        with pytest.raises(PlanError) as raised:
            source_of(folder, **options)
        assert raised.value.fact.startswith(message)
    with pytest.raises(PlanError, match="has no column 'idd'") as raised:
        source_of(folder).project(["idd"])
    assert raised.value.hint == "did you mean 'id'?"


def test_identity_pins_the_files_and_what_changes_their_rows(folder):
    source = source_of(folder)
    identity = source.identity()
    assert json.loads(json.dumps(identity)) == identity == source_of(folder).identity()
    assert source_of(folder, schema={"id": pl.Int8, "x": pl.Int8}).identity() != identity
    os.utime(folder / "f1.num", ns=(1, 1))
    assert source_of(folder).identity() != identity


def test_only_empty_files(tmp_path):
    (tmp_path / "a.num").write_bytes(b"")
    with pytest.raises(PlanError, match=r"a\.num has no columns") as raised:
        source_of(tmp_path)
    assert raised.value.hint == "the files are empty: give schema="
    source = source_of(tmp_path, schema={"a": pl.Int8})
    assert read_all(source.open("scan", None)) == ([], [])


# schemas


def test_columns_that_differ(folder, caplog):
    write(folder / "f4.num", ["100"], "id")
    write(folder / "f5.num", ["100 1 2"], "more id x")
    with pytest.raises(DataError, match=r"f4\.num has no column 'x', which the scan has"):
        read_all(source_of(folder).open("scan", None))
    with pytest.raises(DataError, match=r"f5\.num has a column 'more', which the scan does not have"):
        read_all(
            source_of(folder, missing_columns="insert", schema={"id": pl.Int64, "x": pl.Int8}).open(
                "scan", None
            )
        )
    caplog.clear()
    caplog.set_level(logging.WARNING, "arrowstream.files")
    rows = rows_of(
        source_of(folder, missing_columns="insert", extra_columns="ignore", schema={"id": int, "x": int})
    )
    assert rows.filter(pl.col("x").is_null()).rows() == [(100, None)]
    assert rows.height == 32
    assert [record.getMessage().split("/")[-1] for record in caplog.records] == [
        "f4.num does not have the schema of the scan: column 'x' is missing",
    ]  # and nothing of 'more': the columns were chosen
    both = source_of(folder, missing_columns="insert")
    assert both.polars_schema.names() == ["id", "x", "more"]
    assert rows_of(both).height == 32


def test_files_that_say_their_types(folder):
    source = StreamSource(
        folder, Numbers(has_types=True), FileOptions(schema={"id": pl.Float64, "x": pl.Int64})
    )
    with pytest.raises(DataError, match="is Int64, but Float64 in the scan") as raised:
        read_all(source.open("scan", None))
    assert "allow-float" in raised.value.hint


# bad input


UNDAMAGED = range(100, 124)
"""Ids before the place where a file is cut short, in whole blocks."""


@pytest.fixture
def bad(folder):
    """Two bad lines, a file of another kind, one that is cut short, and one that is damaged."""
    write(folder / "f4.num", ["30 60", "bad", "31 62", "32 64", "worse", "33 66"])
    (folder / "f5.num").write_bytes(b"\x28\xb5\x2f\xfd no, it is not")
    compressed = gzip.compress(
        "".join(["id x\n", *(f"{n} {n**7 % 99_991}\n" for n in range(100, 160))]).encode()
    )
    (folder / "f6.num.gz").write_bytes(compressed[: len(compressed) // 2])
    return folder


def test_bad_input_is_an_error_that_names_the_place(bad):
    with pytest.raises(DataError, match=r"line 3 of .*f4\.num is not made of numbers"):
        read_all(source_of(bad, schema=SCHEMA).open("scan", None))
    (bad / "f4.num").unlink()
    with pytest.raises(DataError, match=r"f5\.num is not readable zstd data before byte \d+") as raised:
        read_all(source_of(bad, schema=SCHEMA).open("scan", None))
    assert raised.value.__cause__ is not None
    with pytest.raises(DataError, match=r"f5\.num is not readable zstd data"):  # for want of a schema
        source_of(bad)
    (bad / "f5.num").unlink()
    with pytest.raises(DataError, match=r"f6\.num\.gz is cut short"):
        read_all(source_of(bad).open("scan", None))


def test_bad_input_that_is_skipped_keeps_its_place_too_and_is_counted(bad):
    reader = source_of(bad, on_error="skip").open("scan", None)
    pieces, _ = read_all(reader)
    assert good_ids(pieces) == [*range(24), 30, 31, 32, 33, *UNDAMAGED, *range(24, 30)]
    dead = pl.concat(pieces, how="diagonal").filter(pl.col(DEAD).is_not_null())
    assert [letter["position"] for letter in dead[DEAD]] == ["line 3", "line 6", "file", "file"]
    counters = reader.counters
    assert (counters.errors, counters.dead_letters, counters.rows, counters.files) == (
        4,
        0,
        34 + len(UNDAMAGED),
        8,
    )
    assert counters.bytes > 0
    assert counters.seconds > 0


def test_dead_letters_keep_their_place(bad):
    source = source_of(bad, on_error="dead_letter", include_file_paths="path").with_metadata(
        file=None, row="row"
    )
    reader = source.open("scan", None)
    pieces, positions = read_all(reader, (1,))
    rows = pl.concat(pieces, how="diagonal").select(*source.polars_schema, DEAD)
    assert (reader.counters.errors, reader.counters.dead_letters, reader.counters.rows) == (
        0,
        4,
        34 + len(UNDAMAGED),
    )
    dead = rows.filter(pl.col(DEAD).is_not_null())
    assert dead.drop(DEAD).rows() == [(None,) * 4] * 4
    told = dead[DEAD].to_list()
    assert [(letter["original"], letter["position"], letter["source"].split("/")[-1]) for letter in told] == [
        (b"bad", "line 3", "f4.num"),
        (b"worse", "line 6", "f4.num"),
        (None, "file", "f5.num"),
        (None, "file", "f6.num.gz"),
    ]
    assert "f6.num.gz is cut short" in told[3]["error"]
    assert rows[25, DEAD] is not None
    f4 = rows.filter(pl.col("path").str.ends_with("f4.num"))
    assert f4.select("id", "row").rows() == [(30, 0), (31, 2), (32, 3), (33, 5)]
    for seen, position in enumerate(positions, 1):
        rest = pl.concat(read_all(source.open("scan", position))[0] or [rows.clear()], how="diagonal_relaxed")
        assert rest.select("id", "row").equals(rows[seen:].select("id", "row"))


def test_skipping_resumes_everywhere(bad):
    source = source_of(bad, on_error="skip")
    pieces, positions = read_all(source.open("scan", None), (1,))
    for seen, position in enumerate(positions, 1):
        assert ids(read_all(source.open("scan", position))[0]) == ids(pieces)[seen:]


def test_files_of_other_columns_are_bad_files(folder):
    write(folder / "f4.num", ["100"], "id")
    reader = source_of(folder, on_error="skip").open("scan", None)
    assert good_ids(read_all(reader)[0]) == list(range(30))
    assert reader.counters.errors == 1


def test_a_bad_first_file_says_nothing_about_the_columns(folder):
    (folder / "f0.num").write_bytes(b"\x28\xb5\x2f\xfd no, it is not")
    with pytest.raises(DataError, match="zstd"):
        source_of(folder)
    source = source_of(folder, on_error="skip")
    assert good_ids(read_all(source.open("scan", None))[0]) == list(range(30))


def test_a_bomb(tmp_path):
    write(tmp_path / "a.num", ["1 2"])
    write(tmp_path / "b.num.gz", ["7 7"] * 100_000, compress=gzip.compress)
    with pytest.raises(DataError, match=r"b\.num\.gz holds more than 100,000 bytes when decompressed"):
        read_all(source_of(tmp_path, decompressed_max=100_000).open("scan", None))
    skipping = source_of(tmp_path, decompressed_max=100_000, on_error="skip").open("scan", None)
    assert ids(read_all(skipping)[0]) == [1, None]


@pytest.mark.parametrize("on_error", ["raise", "skip", "dead_letter"])
def test_files_that_are_gone_or_changed_meanwhile(folder, on_error):
    source = source_of(folder, on_error=on_error)
    path = folder / "f3.num.gz"
    raw = path.read_bytes()
    path.unlink()
    with pytest.raises(ConnectorError, match=r"f3\.num\.gz does not exist"):
        read_all(source.open("scan", None))
    path.write_bytes(raw + b" ")
    with pytest.raises(ConnectorError, match=r"f3\.num\.gz has changed since the query was built"):
        read_all(source.open("scan", None))


def test_a_file_that_grows_while_it_is_read(folder):
    reader = source_of(folder).open("scan", None)
    assert reader.read(2)[0]["id"].to_list() == [0, 1]
    with (folder / "f1.num").open("a") as file:
        file.write("1 2\n")
    with pytest.raises(ConnectorError, match=r"f1\.num has changed since the query was built"):
        read_all(reader)


def test_rows_before_an_error_come_first(bad):
    reader = source_of(bad, schema=SCHEMA).open("scan", None)
    assert ids([reader.read(1000)[0]]) == list(range(24))
    for _ in range(2):
        with pytest.raises(DataError, match="line 3"):
            reader.read(1000)
    reader.close()


def test_many_small_files(tmp_path):
    for number in range(1000):
        write(tmp_path / f"{number}.num", [f"{number} 0"])
    reader = source_of(tmp_path).open("scan", None)
    pieces, _ = read_all(reader)
    assert ids(pieces) == list(range(1000))
    assert len(pieces) == 1
    assert reader.counters.files == 1000


def test_skip_in_streams(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    with (tmp_path / "a").open("rb") as seekable, gzip.open(tmp_path / "b", "wb") as writer:
        assert (skip(seekable, 3), seekable.read(1), skip(seekable, 100)) == (3, b"3", 6)
        writer.write(b"0123456789")


@pytest.mark.parametrize("sizes", [(3, 1, 5), (1000,)])
def test_many_readers_keep_no_file_open(folder, monkeypatch, sizes):
    monkeypatch.setattr(stream_source, "OPEN_MAX", 0)
    source = source_of(folder)
    reader = source.open("scan", None)
    pieces, positions = [], []
    while (read := reader.read(sizes[len(pieces) % len(sizes)])) is not None:
        pieces.append(read[0])
        positions.append(read[1])
        assert (reader._raw is None) == (read[1][2] == 0)  # open only in the middle of a block
    assert ids(pieces) == list(range(30))
    monkeypatch.undo()
    staying = source_of(folder).open("scan", None)
    assert positions == read_all(staying, sizes)[1]
    assert (reader.counters.files, reader.counters.bytes) == (staying.counters.files, staying.counters.bytes)
    assert reader.counters.bytes == sum(path.stat().st_size for path in folder.iterdir())
    reader.close()
