"""Files that are read once, when they are complete; partitions by file and folder; bad input; places."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import time
from pathlib import Path

import polars as pl
import pytest
from system.followed_log import Log, Reading

from arrowstream.config import DEAD
from arrowstream.connectors.files import finished as finished_module
from arrowstream.connectors.files import waiting as waiting_module
from arrowstream.connectors.files import watch as watch_module
from arrowstream.connectors.files.columnar import ParquetFormat
from arrowstream.connectors.files.csv import CsvFormat
from arrowstream.connectors.files.follow import FollowSource
from arrowstream.connectors.files.ipc import IpcFormat
from arrowstream.connectors.files.ndjson import NdjsonFormat
from arrowstream.connectors.files.options import FileOptions
from arrowstream.errors import ConnectorError, DataError, PlanError

SCHEMA = {"n": pl.Int64}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(waiting_module, "SETTLE_S", 0.1)
    monkeypatch.setattr(waiting_module, "INVALID_S", 0.6)
    monkeypatch.setattr(waiting_module, "RETIRE_S", 0.2)
    monkeypatch.setattr(watch_module, "LOOK_S", 0.1)


class Following:
    """Reads all partitions as a feed does, by name."""

    def __init__(self, source, saved=None):
        self.positions, self.state = saved or ({}, None)
        self.source = source
        self.following = source.follow(self.positions, self.state)
        self.readers = {}
        self.rows = {}
        self.retired = []

    def poll(self):
        for name in self.following.poll(0.05):
            reader = self.readers.get(name) or self.following.open(name)
            self.readers[name] = reader
            while True:
                result = reader.read(1000)
                if result is None:
                    self.following.retire(name, self.positions.pop(name, EMPTY))
                    reader.close()
                    del self.readers[name]
                    self.retired.append(name)
                    break
                self.positions[name] = result[1]
                if not result[0].height:
                    break
                self.rows.setdefault(Path(name).name, []).extend(result[0]["n"].to_list())

    def until(self, condition):
        deadline = time.monotonic() + 10
        while not condition():
            self.poll()
            assert time.monotonic() < deadline, (self.rows, self.following.waiting_for())
        return self.rows

    def count(self, count):
        return self.until(lambda: sum(map(len, self.rows.values())) >= count)

    def saved(self):
        return json.loads(json.dumps((self.positions, self.following.state())))

    def close(self):
        for reader in self.readers.values():
            reader.close()
        self.following.close()


EMPTY = {"files": {}, "finished": "", "from": None}


def parquet(path, *numbers):
    temporary = path.with_name(f".{path.name}")
    pl.DataFrame({"n": numbers}, schema=SCHEMA).write_parquet(temporary)
    temporary.rename(path)


def follow(folder, file_format=None, **options):
    return FollowSource(folder, file_format or ParquetFormat(), FileOptions(**{"schema": SCHEMA, **options}))


def test_new_parquet_files_are_read_once(tmp_path):
    parquet(tmp_path / "1.parquet", 1, 2)
    job = Following(follow(tmp_path))
    assert job.count(2) == {"scan": [1, 2]}
    parquet(tmp_path / "10.parquet", 4)
    parquet(tmp_path / "2.parquet", 3)
    assert sorted(job.count(4)["scan"]) == [1, 2, 3, 4]
    saved = job.saved()
    job.close()
    (tmp_path / "sub").mkdir()
    (tmp_path / "1.parquet").rename(tmp_path / "sub" / "renamed.parquet")
    os.utime(tmp_path / "2.parquet")
    parquet(tmp_path / "3.parquet", 5)
    again = Following(follow(tmp_path), saved)
    assert again.count(1) == {"scan": [5]}
    for _ in range(10):
        again.poll()
    assert again.rows == {"scan": [5]}
    parquet(tmp_path / "3.parquet", 6, 7)  # another file under the same name
    assert again.count(3) == {"scan": [5, 6, 7]}
    again.close()


def test_a_file_is_read_when_its_footer_is_there(tmp_path):
    job = Following(follow(tmp_path, IpcFormat()))
    pl.DataFrame({"n": range(1000)}, schema=SCHEMA).write_ipc(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    with (tmp_path / "a.arrow").open("wb") as file:
        for begin in range(0, len(content), 1000):
            job.poll()
            assert not job.rows
            file.write(content[begin : begin + 1000])
            file.flush()
            time.sleep(0.1)
    assert job.count(1000) == {"scan": list(range(1000))}
    job.close()


@pytest.mark.parametrize("on_error", ["raise", "skip", "dead_letter"])
def test_a_file_that_stays_damaged(tmp_path, on_error):
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 this is none PAR1")
    parquet(tmp_path / "good.parquet", 1)
    job = Following(follow(tmp_path, on_error=on_error))
    if on_error == "raise":
        job.count(1)
        with pytest.raises(DataError, match=r"bad\.parquet is not a readable Parquet file"):
            job.count(2)
    else:
        assert sorted(job.count(2)["scan"], key=str) == [1, None]
        counters = job.readers["scan"].counters
        assert (counters.errors, counters.dead_letters) == ((1, 0) if on_error == "skip" else (0, 1))
        assert counters.rows == 1
    if on_error != "raise":
        saved = job.saved()
        again = Following(follow(tmp_path, on_error=on_error), saved)
        for _ in range(10):
            again.poll()
        assert not again.rows
        again.close()
    job.close()


def test_a_compressed_file_is_read_when_it_has_settled(tmp_path):
    content = gzip.compress(b"".join(b'{"n": %d}\n' % number for number in range(5000)))
    job = Following(follow(tmp_path, NdjsonFormat()))
    with (tmp_path / "a.ndjson.gz").open("wb") as file:
        for begin in range(0, len(content), 4000):
            file.write(content[begin : begin + 4000])
            file.flush()
            job.poll()
    assert job.count(5000) == {"scan": list(range(5000))}
    job.close()


def test_a_compressed_file_that_stands_still_in_the_middle(tmp_path):
    content = gzip.compress(os.urandom(20_000).hex().encode() + b"\n" + b'{"n": 1}\n' * 10)
    job = Following(follow(tmp_path, NdjsonFormat(), on_error="skip"))
    (tmp_path / "a.ndjson.gz").write_bytes(content[:10_000])
    began = time.monotonic()
    while time.monotonic() < began + 0.3:
        job.poll()
    assert not job.rows
    (tmp_path / "a.ndjson.gz").write_bytes(content)
    assert job.count(11) == {"scan": [None, *[1] * 10]}
    job.close()


def test_a_bad_line_costs_only_itself(tmp_path):
    log = Log(tmp_path, "a.log")
    log.write(1)
    with Reading(log, on_error="dead_letter") as reading:
        reading.take(1)
        log.append("not json\n")
        log.write(2)
        frame, position = reading.batch()
        assert frame["n"].to_list() == [None, 2]
        assert frame[DEAD][0]["original"] == b"not json"
        assert frame[DEAD][0]["position"] == "line 2"
        reading.position = position
        reading.restart()
        log.append("nor this\n")
        assert reading.batch()[0][DEAD][0]["position"] == "line 4"
    with Reading(log, on_error="skip") as reading:
        assert reading.take(4) == [1, None, 2, None]
        assert reading.reader.counters.errors == 2
    with Reading(log) as reading, pytest.raises(DataError, match=r"a\.log.*line 2"):
        reading.take(2)


@pytest.mark.parametrize("on_error", ["raise", "skip", "dead_letter"])
def test_a_growing_file_that_does_not_fit(tmp_path, on_error):
    log = Log(tmp_path, "*.csv", CsvFormat())
    log.append("x,n\na,1\n", name="good.csv")
    with Reading(log, on_error=on_error) as reading:
        reading.take(1)
        log.append("n,other\n2,b\n", name="bad.csv")
        if on_error == "raise":
            with pytest.raises(DataError, match=r"bad\.csv has no column 'x'"):
                reading.take(1)
            return
        frame, _ = reading.batch()
        assert "bad.csv has no column 'x'" in frame[DEAD][0]["error"]
        assert frame[DEAD][0]["position"] == "file"
        counters = reading.reader.counters
        assert (counters.errors, counters.dead_letters) == ((1, 0) if on_error == "skip" else (0, 1))
        log.append("3,c\n", name="bad.csv")
        log.append("a,4\n", name="good.csv")
        assert reading.take(1) == [4]
        reading.restart()
        log.append("5,c\n", name="bad.csv")
        log.append("a,6\n", name="good.csv")
        assert reading.take(1) == [6]
        assert reading.take_nothing() == []


def test_each_file_is_a_partition_with_its_rotations(tmp_path):
    source = follow(tmp_path / "*.log*", NdjsonFormat(), clock_by="file")
    logs = Log(tmp_path, "")
    logs.write(1, name="a.log")
    logs.write(2, name="b.log")
    job = Following(source)
    assert job.count(2) == {"a.log": [1], "b.log": [2]}
    logs.rename("a.log", "a.log.1")
    logs.write(3, name="a.log")
    logs.write(4, name="c.log")
    assert job.count(4) == {"a.log": [1, 3], "b.log": [2], "c.log": [4]}
    (tmp_path / "b.log").unlink()
    job.until(lambda: job.retired == [str(tmp_path / "b.log")])
    saved = job.saved()
    assert len(saved[0]) == 2
    job.close()
    logs.write(5, name="b.log")
    again = Following(source, saved)
    assert again.count(1) == {"b.log": [5]}
    again.close()


def test_each_folder_is_a_partition(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        parquet(tmp_path / name / "1.parquet", ord(name))
    job = Following(follow(tmp_path, clock_by="directory"))
    assert job.count(2) == {"x": [ord("x")], "y": [ord("y")]}
    (tmp_path / "z").mkdir()
    parquet(tmp_path / "z" / "1.parquet", 1, 2)
    assert job.count(4)["z"] == [1, 2]
    assert not job.retired
    shutil.rmtree(tmp_path / "x")
    job.until(lambda: job.retired == [str(tmp_path / "x")])
    saved = job.saved()
    job.close()
    again = Following(follow(tmp_path, clock_by="directory"), saved)
    parquet(tmp_path / "y" / "2.parquet", 3)
    assert again.count(1) == {"y": [3]}
    again.close()


def test_each_parquet_file_is_a_partition_that_ends_with_it(tmp_path):
    for number in range(3):
        parquet(tmp_path / f"{number}.parquet", number)
    source = follow(tmp_path, clock_by="file")
    job = Following(source)
    assert job.until(lambda: len(job.retired) == 3) == {f"{number}.parquet": [number] for number in range(3)}
    positions, state = job.saved()
    job.close()
    assert (positions, state["files"]) == ({}, {})
    again = Following(source, (positions, state))
    parquet(tmp_path / "3.parquet", 3)
    assert again.count(1) == {"3.parquet": [3]}
    again.close()


def test_thousands_of_finished_files_are_a_few_bytes_each(tmp_path):
    for number in range(200):
        (tmp_path / f"{number}.parquet").write_bytes(b"")
    parquet(tmp_path / "x.parquet", 1)
    content = (tmp_path / "x.parquet").read_bytes()
    for number in range(200):
        (tmp_path / f"{number}.parquet").write_bytes(content)
    for clock_by in ("scan", "file"):
        job = Following(follow(tmp_path, clock_by=clock_by))
        job.count(201)
        job.until(lambda: clock_by == "scan" or len(job.retired) == 201)  # noqa: B023
        assert len(json.dumps(job.saved())) < 201 * 30
        job.close()


def test_files_that_have_gone_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(finished_module, "GONE_MAX", 4)
    monkeypatch.setattr(finished_module, "FORGET_S", 0.0)
    job = Following(follow(tmp_path))
    for number in range(20):
        parquet(tmp_path / "a.parquet", number)
        job.count(number + 1)
    job.poll()
    parquet(tmp_path / "b.parquet", 20)
    job.count(21)
    assert len(job.saved()[0]["scan"]["finished"]) <= 10 * 2 * 6
    job.close()


def test_a_folder_that_does_not_exist_yet(tmp_path):
    job = Following(follow(tmp_path / "later" / "*.parquet"))
    job.poll()
    assert f"the folder {tmp_path / 'later'} does not exist yet" in job.following.waiting_for()
    (tmp_path / "later").mkdir()
    parquet(tmp_path / "later" / "1.parquet", 1)
    assert job.count(1) == {"scan": [1]}
    shutil.rmtree(tmp_path / "later")
    job.poll()
    (tmp_path / "later").mkdir()
    parquet(tmp_path / "later" / "2.parquet", 2)
    assert job.count(2) == {"scan": [1, 2]}
    job.close()


def test_a_folder_that_is_away_for_a_while_is_not_read_again(tmp_path):
    log = Log(tmp_path / "logs", "*.log")
    (tmp_path / "logs").mkdir()
    log.write(1)
    with Reading(log) as reading:
        reading.take(1)
        (tmp_path / "logs").rename(tmp_path / "away")
        assert reading.take_nothing() == []
        (tmp_path / "away").rename(tmp_path / "logs")
        log.write(2)
        assert reading.take(1) == [2]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_waited_for(tmp_path):
    log = Log(tmp_path, "a.log")
    log.write(1)
    (tmp_path / "a.log").chmod(0)
    with Reading(log) as reading:
        assert reading.take_nothing() == []
        assert "Permission denied" in reading.waiting_for()
        (tmp_path / "a.log").chmod(0o600)
        assert reading.take(1) == [1]


def test_polling_finds_the_same(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "watchfiles", None)
    log = Log(tmp_path, "a.log*")
    with Reading(log) as reading:
        for number in range(5):
            log.write(number)
            assert reading.take(1) == [number]
        log.rename("a.log", "a.log.1")
        log.write(5)
        assert reading.take(1) == [5]


def test_files_in_memory_are_asked_for(monkeypatch):
    import fsspec

    monkeypatch.setattr(watch_module, "REMOTE_LOOK_S", 0.05)
    memory = fsspec.filesystem("memory")
    memory.pipe("/followed/1.ndjson", b'{"n": 1}\n')
    source = FollowSource("memory://followed/*", NdjsonFormat(), FileOptions(schema=SCHEMA))
    job = Following(source)
    assert job.count(1) == {"scan": [1]}
    memory.pipe("/followed/2.ndjson.gz", gzip.compress(b'{"n": 2}\n{"n": 3}\n'))
    assert job.count(3) == {"scan": [1, 2, 3]}
    saved = job.saved()
    job.close()
    memory.pipe("/followed/3.ndjson", b'{"n": 4}\n')
    again = Following(source, saved)
    assert again.count(1) == {"scan": [4]}
    again.close()
    memory.rm("/followed", recursive=True)


def test_paths_keys_and_numbers_of_rows_are_columns(tmp_path):
    folder = tmp_path / "day=2026-11-24"
    folder.mkdir()
    log = Log(folder, "")
    log.write(7, name="a.log")
    options = FileOptions(schema=SCHEMA, include_file_paths="path", hive_schema={"day": pl.Date})
    source = FollowSource(tmp_path / "**" / "*.log", NdjsonFormat(), options)
    source = source.with_metadata(file=None, row="row")
    reader = source.open("scan", None)
    first = reader.read(10)
    log.write(8, name="a.log")
    second = reader.read(10)
    reader.close()
    assert first is not None
    assert second is not None
    both = pl.concat([first[0], second[0]])
    assert both.drop("day").rows() == [(7, str(folder / "a.log"), 0), (8, str(folder / "a.log"), 1)]
    assert both["day"].dtype == pl.Date
    assert both.schema == source.polars_schema
    again = source.project(["row"]).open("scan", first[1])
    assert again.read(10)[0].rows() == [(1,)]
    again.close()


def test_what_it_needs_to_know(tmp_path):
    with pytest.raises(PlanError, match="no file with rows"):
        FollowSource(tmp_path / "*.csv", CsvFormat(), FileOptions())
    with pytest.raises(PlanError, match="hive_partitioning with follow"):
        FollowSource(tmp_path, CsvFormat(), FileOptions(schema=SCHEMA, hive_partitioning=True))
    with pytest.raises(PlanError, match="include_file_paths='n'"):
        FollowSource(tmp_path, CsvFormat(), FileOptions(schema=SCHEMA, include_file_paths="n"))
    source = FollowSource(tmp_path, CsvFormat(), FileOptions(schema=SCHEMA, idle_timeout="1s", follow=True))
    assert repr(source) == f"CSV(follows {tmp_path})"
    assert (source.bounded, source.replayable, source.idle_timeout) == (False, True, "1s")


def test_a_file_that_cannot_be_opened_for_a_while(tmp_path, monkeypatch, caplog):
    log = Log(tmp_path, "a.log")
    log.write(1)
    opened = os.open

    def denied(path, *args, **kwargs):
        if str(path).endswith("a.log"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    with Reading(log) as reading:
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", denied)
            assert reading.take_nothing() == []
            assert f"{tmp_path / 'a.log'}: cannot be opened: Permission denied" in reading.waiting_for()
        assert reading.take(1) == [1]
        assert "Permission denied" not in reading.waiting_for()
    assert len(caplog.records) == 1


def test_a_disk_that_fails_is_an_error(tmp_path, monkeypatch):
    log = Log(tmp_path, "a.log")
    log.write(1)

    def fails(*_):
        raise OSError(5, "Input/output error")

    with Reading(log) as reading:
        reading.take(1)
        log.write(2)
        monkeypatch.setattr(os, "pread", fails)
        with pytest.raises(ConnectorError, match=r"a\.log cannot be read: .*Input/output error"):
            reading.take(1)
