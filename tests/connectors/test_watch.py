"""Which files there are, and that a change ends the wait."""

from __future__ import annotations

import threading
import time

import pytest

from arrowstream.connectors.files import watch as watch_module
from arrowstream.connectors.files.rotations import log_of, oldest_first
from arrowstream.connectors.files.watch import LocalWatch, PolledWatch, Seen, root_of


def names(watch):
    return sorted(seen.path.rpartition("/")[2] for seen in watch.look())


def test_a_folder_gives_files_of_the_format_and_their_rotations(tmp_path):
    for name in (
        "a.csv",
        "a.csv.1",
        "a.csv.2.gz",
        "b.CSV.zst",
        "x.txt",
        ".b.csv",
        "_c.csv",
        "a.csv-20261124",
    ):
        (tmp_path / name).write_text("x")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.csv").write_text("x")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "e.csv").write_text("x")
    watch = LocalWatch([str(tmp_path)], (".csv",))
    assert names(watch) == ["a.csv", "a.csv-20261124", "a.csv.1", "a.csv.2.gz", "b.CSV.zst", "d.csv"]
    assert names(LocalWatch([f"{tmp_path}/*"], (".csv",)))[-1] == "x.txt"
    assert "d.csv" in names(LocalWatch([f"{tmp_path}/s*"], (".csv",)))
    assert names(LocalWatch([f"{tmp_path}/**/d*", f"{tmp_path}/sub/d.csv"], ())) == ["d.csv"]


@pytest.mark.parametrize("notify", [True, False])
def test_a_change_ends_the_wait(tmp_path, notify, monkeypatch):
    if notify:
        monkeypatch.setattr(watch_module, "LOOK_S", 30.0)  # so that only the notification can
    watch = LocalWatch([str(tmp_path)], (".csv",), notify=notify)
    watch.look()
    while watch.wait(0.3):  # the first wait starts the notifications, and has to look again
        watch.look()
    timer = threading.Timer(0.1, (tmp_path / "a.csv").write_text, ["x"])
    timer.start()
    began = time.monotonic()
    while not watch.look():
        assert time.monotonic() < began + 10
        watch.wait(5.0)
    timer.join()
    watch.close()
    assert not watch.wait(10.0)


def test_a_folder_that_is_another_one_by_now_is_watched_again(tmp_path):
    folder = tmp_path / "logs"
    watch = LocalWatch([str(folder / "*.csv")], ())
    assert watch.look() == []
    assert watch.is_away
    for turn in range(2):
        folder.mkdir()
        (folder / "a.csv").write_text("x")
        began = time.monotonic()
        while not watch.look():
            assert time.monotonic() < began + 10, turn
            watch.wait(1.0)
        assert not watch.is_away
        (folder / "a.csv").unlink()
        folder.rmdir()
        watch.look()
    watch.close()


def test_other_places_are_asked_now_and_then():
    def find(pattern):
        if pattern == "b":
            raise FileNotFoundError("nothing is at b")
        return [Seen("s3://bucket/a", 1, 0, version="1")]

    watch = PolledWatch(find, ["a", "b", "*"], every_s=0.05)
    assert watch.wait(0)
    assert [seen.file for seen in watch.look()] == ["s3://bucket/a"]
    assert watch.trouble == "nothing is at b"
    assert not watch.wait(0)
    assert watch.wait(1.0)
    watch.close()
    assert not watch.wait(1.0)


def test_roots(tmp_path):
    (tmp_path / "day=1").mkdir()
    assert root_of(str(tmp_path / "day=*" / "x.csv")) == tmp_path
    assert root_of(str(tmp_path / "day=1" / "*.csv")) == tmp_path / "day=1"
    assert root_of(str(tmp_path)) == tmp_path


@pytest.mark.parametrize(
    ("path", "log"),
    [
        ("a.log", "a.log"),
        ("a.log.12", "a.log"),
        ("/x/a.log.1.gz", "/x/a.log"),
        ("a.log-2026-11-24T10:00", "a.log"),
        ("a.log_3.zst", "a.log"),
        ("a.csv.gz", "a.csv"),
        ("part-0001", "part-0001"),
        ("part-1.csv", "part-1.csv"),
        (".5", ".5"),
    ],
)
def test_of_which_log(path, log):
    assert log_of(path) == log


def test_order_of_rotations():
    files = [
        "b.log",
        "a.log",
        "a.log.1",
        "a.log.10.gz",
        "a.log.9",
        "c.log-20261101",
        "c.log-20261102",
        "c.log",
    ]
    assert sorted(files, key=oldest_first) == [
        "a.log.10.gz", "a.log.9", "a.log.1", "a.log", "b.log", "c.log-20261101", "c.log-20261102", "c.log",
    ]  # fmt: skip
