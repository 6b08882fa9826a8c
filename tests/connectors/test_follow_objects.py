"""Following objects of S3: what comes, goes, is put again and is replaced."""

from __future__ import annotations

import gzip
import json
import time
import urllib.request

import fsspec
import polars as pl
import pytest

from arrowstream.connectors.files import watch
from arrowstream.connectors.files.columnar import ParquetFormat
from arrowstream.connectors.files.follow import FollowSource
from arrowstream.connectors.files.ndjson import NdjsonFormat
from arrowstream.connectors.files.options import FileOptions
from arrowstream.errors import ConnectorError, PlanError

SCHEMA = {"n": pl.Int64}
LONG_S = 60.0


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(watch, "REMOTE_LOOK_S", 0.05)


class Bucket:
    """Objects with numbers, and a reader of them that stops and starts."""

    def __init__(self, s3, *patterns, file_format=None, schema=SCHEMA):
        self.s3 = s3
        self.files = fsspec.filesystem("s3", **s3.storage_options)
        options = FileOptions(schema=schema, storage_options=s3.storage_options)
        urls = [f"{s3.url}/{pattern}" for pattern in patterns or ("in/",)]
        self.source = FollowSource(urls, file_format or NdjsonFormat(), options)
        self.positions = {}
        self.open()

    def open(self):
        self.following = self.source.follow(json.loads(json.dumps(self.positions)), None)
        self.reader = self.following.open("scan")

    def close(self):
        self.reader.close()
        self.following.close()

    def restart(self):
        self.close()
        self.open()

    def put(self, key, *numbers):
        self.files.pipe_file(f"{self.s3.bucket}/{key}", lines(*numbers))

    def look(self):
        """Until the place has been asked once more."""
        self.following.poll(1.0)

    def read(self, max_rows=1000):
        result = self.reader.read(max_rows)
        assert result is not None
        self.positions["scan"] = result[1]
        return result[0]["n"].to_list()

    def take(self, count):
        """So many numbers, and those that come with them."""
        numbers, deadline = [], time.monotonic() + LONG_S
        while len(numbers) < count:
            numbers += self.read()
            self.following.poll(0.01)
            assert time.monotonic() < deadline, self.following.waiting_for()
        return numbers

    def take_nothing(self):
        """What comes in three more looks."""
        numbers = []
        for _ in range(3):
            self.look()
            numbers += self.read()
        return numbers


def lines(*numbers):
    return "".join(f'{{"n": {number}}}\n' for number in numbers).encode()


def test_objects_are_waited_for_found_and_read_once(s3):
    bucket = Bucket(s3)
    assert bucket.take_nothing() == []
    assert f"{s3.url}/in/ does not exist (any more)" in bucket.following.waiting_for()
    bucket.put("in/1.ndjson", 1, 2)
    bucket.put("in/deep/2.ndjson", 3)
    bucket.put("in/_hidden.ndjson", 99)
    assert sorted(bucket.take(3)) == [1, 2, 3]
    assert bucket.following.waiting_for() == "waiting for new files"
    bucket.files.pipe_file(f"{s3.bucket}/in/3.ndjson.gz", gzip.compress(lines(4, 5)))
    assert bucket.take(2) == [4, 5]
    bucket.files.rm(f"{s3.bucket}/in", recursive=True)
    assert bucket.take_nothing() == []  # an empty folder is no error either
    bucket.put("in/4.ndjson", 6)
    assert bucket.take(1) == [6]
    bucket.restart()
    assert bucket.take_nothing() == []
    bucket.close()


def test_a_folder_that_is_not_there_does_not_hide_the_others(s3):
    bucket = Bucket(s3, "a/", "b/*.ndjson", "a/*")
    bucket.put("a/1.ndjson", 1)
    assert bucket.take(1) == [1]
    assert f"no file matches {s3.url}/b/*.ndjson" in bucket.following.waiting_for()
    bucket.put("b/1.ndjson", 2)
    assert bucket.take(1) == [2]
    bucket.close()


@pytest.mark.parametrize("up", [True, False])
def test_an_object_that_was_read_and_is_put_again(s3, up):
    """The same bytes are the same object, others are a new one."""
    bucket = Bucket(s3)
    bucket.put("in/a.ndjson", 1, 2)
    assert bucket.take(2) == [1, 2]
    if not up:
        bucket.close()
    bucket.put("in/a.ndjson", 1, 2)
    if not up:
        bucket.open()
    assert bucket.take_nothing() == []
    if not up:
        bucket.close()
    bucket.put("in/a.ndjson", 3, 4)
    if not up:
        bucket.open()
    assert bucket.take(2) == [3, 4]
    assert bucket.take_nothing() == []
    bucket.close()


def test_an_object_that_is_replaced_between_being_seen_and_read(s3):
    bucket = Bucket(s3)
    bucket.put("in/a.ndjson", 1, 2)
    bucket.look()
    bucket.put("in/a.ndjson", 3, 4)
    assert bucket.take(2) == [3, 4]
    assert bucket.take_nothing() == []
    bucket.close()


@pytest.mark.parametrize("up", [True, False])
def test_an_object_that_is_replaced_while_it_is_read(s3, up, caplog, monkeypatch):
    """What was handed on stays; the rest of the old bytes cannot be had; the new ones are an object."""
    monkeypatch.setattr("arrowstream.connectors.files.waiting.GRACE_S", 0.1)
    schema = {"n": pl.Int64, "text": pl.String}
    bucket = Bucket(s3, file_format=ParquetFormat(), schema=schema)
    old = pl.DataFrame({"n": range(40)}, schema=SCHEMA).with_columns(
        text=pl.col("n").hash().cast(pl.String).repeat_by(50_000).list.join("")
    )
    with bucket.files.open(f"{s3.bucket}/in/a.parquet", "wb") as file:
        old.write_parquet(file, row_group_size=1, compression="uncompressed")
    bucket.look()
    first = bucket.read(2)
    assert first == [0]
    with bucket.files.open(f"{s3.bucket}/in/a.parquet", "wb") as file:
        old.head(2).with_columns(pl.col("n") + 100).write_parquet(file)
    if not up:
        bucket.restart()
    numbers = []
    while 101 not in numbers:
        numbers += bucket.take(1)
    assert numbers[-2:] == [100, 101]
    assert numbers[:-2] == list(range(1, len(numbers) - 1))
    assert len(numbers) < 40
    deadline = time.monotonic() + LONG_S
    while f"{s3.url}/in/a.parquet is gone before it was read to its end" not in caplog.messages:
        assert bucket.take_nothing() == []
        assert time.monotonic() < deadline
    bucket.close()


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_an_object_that_is_away_for_a_moment_while_it_is_read(s3, up):
    """Removed, and put again with the same bytes: it is the same version, and none of it is read twice."""
    bucket = Bucket(s3, schema={"n": pl.Int64})
    padding = "x" * (64 << 10)
    content = "".join(f'{{"n": {number}, "text": "{padding}"}}\n' for number in range(300)).encode()
    bucket.files.pipe_file(f"{s3.bucket}/in/a.ndjson", content)
    bucket.look()
    first = bucket.read()
    assert 0 < len(first) < 300
    bucket.files.rm_file(f"{s3.bucket}/in/a.ndjson")
    bucket.look()
    bucket.look()
    if not up:
        bucket.restart()
        bucket.look()
    bucket.files.pipe_file(f"{s3.bucket}/in/a.ndjson", content)
    assert first + bucket.take(300 - len(first)) == list(range(300))
    assert bucket.take_nothing() == []
    bucket.close()


def test_a_server_that_is_away_for_a_while(s3):
    """Neither looking nor reading ends the job; other objects are read when it is back."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    s3.storage_options = {**s3.storage_options, "endpoint_url": f"http://{host}:{port}"}
    bucket = Bucket(s3)
    bucket.put("in/a.ndjson", 1, 2)
    bucket.look()
    server.stop()
    assert bucket.read() == []
    assert f"{s3.url}/in/a.ndjson: cannot be read for now" in bucket.following.waiting_for()
    bucket.look()
    assert "looking for files failed" in bucket.following.waiting_for()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        assert bucket.take(2) == [1, 2]
        assert bucket.following.waiting_for() == "waiting for new files"
    finally:
        bucket.close()
        server.stop()


def test_what_will_never_be_there_is_an_error(s3):
    bucket = Bucket(s3)
    bucket.close()
    urllib.request.urlopen(
        urllib.request.Request(f"{s3.endpoint_url}/{s3.bucket}", method="DELETE"), timeout=30
    ).close()
    bucket.open()
    with pytest.raises(ConnectorError, match="there is no such bucket"):
        bucket.look()
    bucket.close()
    with pytest.raises(PlanError, match="differ only in what is not shown"):
        FollowSource(
            ["https://h/a.csv?token=1", "https://h/a.csv?token=2"], NdjsonFormat(), FileOptions(schema=SCHEMA)
        )
