"""Every line once, whatever a log's writer and its rotation do, while it is followed and while it is not."""

from __future__ import annotations

import bz2
import gzip
import json
import time
from pathlib import Path

import polars as pl
import pytest
from system.followed_log import Log, Reading

from arrowstream.connectors.files import waiting as waiting_module
from arrowstream.connectors.files import whereabouts as whereabouts_module
from arrowstream.connectors.files.csv import CsvFormat
from arrowstream.connectors.files.ledger import Ledger
from arrowstream.connectors.files.waiting import age_s
from arrowstream.connectors.files.watch import seen_at

FLAGS, HEAD = 6, 12  # where they stand in an entry of a position
UP_OR_DOWN = pytest.mark.parametrize("up", [True, False], ids=["up", "down"])


@pytest.fixture(params=["a.log*", "a.log"], ids=["rotations match", "only the log matches"])
def log(request, tmp_path):
    return Log(tmp_path, request.param)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(waiting_module, "SETTLE_S", 0.05)
    monkeypatch.setattr(waiting_module, "GRACE_S", 0.4)


def test_lines_come_as_they_are_written(log):
    with Reading(log) as reading:
        log.write(1, 2)
        assert reading.take(2) == [1, 2]
        log.write(3)
        assert reading.take(1) == [3]
        log.append('{"n": 4')
        assert reading.take_nothing() == []
        log.append("}\n")
        assert reading.take(1) == [4]


@UP_OR_DOWN
def test_renamed(log, up):
    with Reading(log) as reading:
        log.write(1, 2)
        reading.take(2)
        with reading.maybe_down(up):
            log.write(3)
            log.rename("a.log", "a.log.1")
            log.write(4)
        assert reading.take(2) == [3, 4]
        assert reading.take_nothing() == []


@UP_OR_DOWN
def test_renamed_twice_and_begun_anew_in_between(log, up):
    with Reading(log) as reading:
        log.write(1)
        reading.take(1)
        with reading.maybe_down(up):
            log.write(2)
            log.rename("a.log", "a.log.1")
            log.write(3, 4)
            reading.settle(up, 3)
            log.rename("a.log.1", "a.log.2")
            log.rename("a.log", "a.log.1")
            log.write(5)
        assert reading.take_more(5) == [1, 2, 3, 4, 5]
        assert reading.take_nothing() == []


@pytest.mark.parametrize("restart", [False, True])
def test_compressed_before_it_was_ever_seen_and_renamed_while_it_is_read(log, restart):
    with Reading(log, max_rows=1) as reading:
        log.write(0)
        reading.take(1)
        with reading.maybe_down(up=False):
            log.write(1)
            log.rename("a.log", "a.log.1")
            log.write(2, 3, 4)
            log.rename("a.log.1", "a.log.2")
            log.rename("a.log", "a.log.1")
            log.compress("a.log.1", ".gz", gzip.compress)
            log.write(5)
        numbers, name = [], 1
        while len(numbers) < 5:
            numbers += reading.take(1)
            log.rename(f"a.log.{name}.gz", f"a.log.{name + 2}.gz")
            name += 2
            if restart:
                reading.restart()
        assert sorted(numbers) == [1, 2, 3, 4, 5]
        assert reading.take_nothing() == []


def test_the_writer_goes_on_after_the_rename(log):
    with Reading(log) as reading, (log.folder / "a.log").open("a") as old:
        log.write(1)
        reading.take(1)
        log.rename("a.log", "a.log.1")
        log.write(2)
        assert reading.take(1) == [2]
        old.write('{"n": 3}\n')
        old.flush()
        assert reading.take(1) == [3]


@UP_OR_DOWN
def test_copied_and_truncated(log, up):
    with Reading(log) as reading:
        log.write(1, 2)
        reading.take(2)
        with reading.maybe_down(up):
            log.write(3)
            log.copy("a.log", "a.log.1")
            log.truncate("a.log")
            log.write(4)
        assert reading.take(2) == [3, 4]
        assert reading.take_nothing() == []


@UP_OR_DOWN
def test_copied_and_truncated_to_what_is_as_long(log, up):
    with Reading(log) as reading:
        log.write(1, 2)
        reading.take(2)
        with reading.maybe_down(up):
            log.copy("a.log", "a.log.1")
            log.truncate("a.log")
            log.write(3, 4)
        assert reading.take(2) == [3, 4]
        assert reading.take_nothing() == []


def test_lines_written_between_copy_and_truncation_are_lost_but_nothing_is_repeated(log):
    with Reading(log) as reading:
        log.write(*range(50))
        reading.take(50)
        log.copy("a.log", "a.log.1")
        log.write(50, 51)
        assert reading.take(2) == [50, 51]  # here they are not: they have been read in time
        log.truncate("a.log")
        log.write(52)
        assert reading.take(1) == [52]
        assert reading.take_nothing() == []
        with reading.maybe_down(up=False):
            log.write(53)
        assert reading.take(1) == [53]


@UP_OR_DOWN
@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress], ids=["gz", "bz2"])
def test_renamed_and_compressed(log, up, compress):
    suffix = ".gz" if compress is gzip.compress else ".bz2"
    with Reading(log) as reading:
        log.write(1, 2)
        reading.take(2)
        with reading.maybe_down(up):
            log.write(3)
            log.rename("a.log", "a.log.1")
            log.write(4)
            log.compress("a.log.1", suffix, compress)
        assert reading.take_more(4) == [1, 2, 3, 4]
        assert reading.take_nothing() == []


def test_compressed_while_the_reader_is_behind(log):
    with Reading(log, max_rows=1) as reading:
        log.write(1, 2)
        reading.take(1)
        log.write(3)
        log.rename("a.log", "a.log.1")
        log.write(4)
        reading.wait(0.1)
        log.compress("a.log.1", ".gz", gzip.compress)
        reading.wait(0.8)  # looks, but does not read: longer than a copy would be waited for
        assert reading.take_more(4) == [1, 2, 3, 4]
        assert reading.take_nothing() == []


@UP_OR_DOWN
def test_copied_truncated_and_compressed_at_once(log, up):
    with Reading(log) as reading:
        log.write(1, 2)
        reading.take(2)
        with reading.maybe_down(up):
            log.write(3)
            log.compress("a.log", ".gz", gzip.compress, to="a.log.1.gz")
            log.truncate("a.log")
            log.write(4)
        assert reading.take_more(4) == [1, 2, 3, 4]
        assert reading.take_nothing() == []


def test_one_of_two_compressed_copies_has_not_settled_yet(log):
    """What was begun after a log was truncated is looked for as long as one of its rotations waits."""
    with Reading(log) as reading:
        log.write(1, 2)
        reading.take(2)
        with reading.maybe_down(up=False):
            log.write(3)
            log.compress("a.log", ".gz", gzip.compress, to="a.log.2.gz")
            while age_s(seen_at(str(log.folder / "a.log.2.gz"))) < waiting_module.SETTLE_S:
                pass
            log.truncate("a.log")
            log.write(4, 5)
            log.compress("a.log", ".gz", gzip.compress, to="a.log.1.gz")
            log.truncate("a.log")
            log.write(6)
        assert reading.take_more(6) == [1, 2, 3, 4, 5, 6]
        assert reading.take_nothing() == []


def test_rotated_again_before_a_line_of_the_new_beginning_was_read(log, monkeypatch):
    """The position knows of the log only what has lost its file."""
    with Reading(log) as reading, monkeypatch.context() as patched:
        log.write(1, 2)
        reading.take(2)
        patched.setattr(waiting_module, "SETTLE_S", 60.0)
        log.compress("a.log", ".gz", gzip.compress, to="a.log.1.gz")
        log.truncate("a.log")
        reading.take_nothing()
        with reading.maybe_down(up=False):
            patched.undo()
            patched.setattr(waiting_module, "SETTLE_S", 0.05)
            log.write(3, 4)
            log.rename("a.log.1.gz", "a.log.2.gz")
            log.compress("a.log", ".gz", gzip.compress, to="a.log.1.gz")
            log.truncate("a.log")
            log.write(5)
        assert reading.take_more(5) == [1, 2, 3, 4, 5]
        assert reading.take_nothing() == []


def test_a_file_has_the_number_that_another_one_had(tmp_path):
    """File systems give the number of a deleted file to a new one."""
    log = Log(tmp_path, "a.log")
    with Reading(log, max_rows=1) as reading:
        log.write(0)
        numbers = reading.take(1)
        with reading.maybe_down(up=False):
            log.write(1, 2, 3, 4)
            log.compress("a.log", ".gz", gzip.compress, to="a.log.1.gz")
            log.truncate("a.log")
            log.write(5)
        packed = []
        while not packed:
            numbers += reading.take(1)
            packed = [entry for entry in reading.position["files"].values() if entry[FLAGS] & 1]
        deleted = [*packed[0]]
        packed[0][FLAGS] |= 2
        deleted[FLAGS], deleted[HEAD] = 2, "0" * 16
        reading.position["files"]["deleted"] = deleted
        log.rename("a.log.1.gz", "a.log.2.gz")
        reading.restart()
        numbers += reading.take(6 - len(numbers))
        assert sorted(numbers) == [0, 1, 2, 3, 4, 5]
        assert reading.take_nothing() == []


def test_compressed_long_after_it_was_read(log):
    with Reading(log) as reading:
        log.write(1, 2)
        reading.take(2)
        log.rename("a.log", "a.log.1")
        log.write(3)
        assert reading.take(1) == [3]
        with reading.maybe_down(up=False):
            log.compress("a.log.1", ".gz", gzip.compress)
        assert reading.take_nothing() == []
        log.rename("a.log.1.gz", "a.log.2.gz")
        assert reading.take_nothing() == []
        with reading.maybe_down(up=False):
            log.rename("a.log.2.gz", "a.log.3.gz")
        assert reading.take_nothing() == []


@UP_OR_DOWN
def test_truncated_and_written_anew(log, up):
    with Reading(log) as reading:
        log.write(1, 2, 3)
        reading.take(3)
        with reading.maybe_down(up):
            log.truncate("a.log")
            log.write(4)
        assert reading.take(1) == [4]
        log.write(5, 6, 7)
        assert reading.take(3) == [5, 6, 7]


@UP_OR_DOWN
def test_deleted_and_written_anew(log, up):
    with Reading(log) as reading:
        log.write(1, 2)
        reading.take(2)
        with reading.maybe_down(up):
            (log.folder / "a.log").unlink()
            log.write(3)  # often in the very same inode
        assert reading.take(1) == [3]
        log.write(4)
        assert reading.take(1) == [4]


def test_deleted_while_it_is_open_is_read_to_its_end(log):
    with Reading(log) as reading:
        with (log.folder / "a.log").open("a") as file:
            log.write(1)
            reading.take(1)
            (log.folder / "a.log").unlink()
            file.write('{"n": 2}\n')
        assert reading.take(1) == [2]


@UP_OR_DOWN
def test_replaced_by_a_longer_version_of_itself(log, up):
    with Reading(log) as reading:
        log.write(1, 2)
        reading.take(2)
        with reading.maybe_down(up):
            log.copy("a.log", "new")
            log.write(3, name="new")
            log.rename("new", "a.log")
        assert reading.take(1) == [3]
        assert reading.take_nothing() == []


@UP_OR_DOWN
def test_replaced_by_something_else(log, up):
    with Reading(log) as reading:
        log.write(1, 2)
        reading.take(2)
        with reading.maybe_down(up):
            log.write(7, 8, 9, name="new")
            log.rename("new", "a.log")
        assert reading.take(3) == [7, 8, 9]


def test_a_hole_at_the_beginning_is_no_line(log):
    """A writer without O_APPEND goes on at its old place after a truncation."""
    with Reading(log) as reading:
        with (log.folder / "a.log").open("w") as file:
            file.write('{"n": 1}\n' * 1000)
            file.flush()
            reading.take(1000)
            log.truncate("a.log")
            file.write('{"n": 2}\n')
            file.flush()
            assert reading.take(1) == [2]
            file.write('{"n": 3}\n')
        assert reading.take(1) == [3]


def test_a_copy_that_is_still_being_made_waits(log, monkeypatch):
    monkeypatch.setattr(waiting_module, "GRACE_S", 60.0)
    if log.pattern != "a.log*":
        pytest.skip("the copy does not match")
    with Reading(log) as reading:
        log.write(*range(100))
        reading.take(100)
        content = (log.folder / "a.log").read_bytes()
        with (log.folder / "a.log.1").open("wb") as copy:
            for cut in range(0, len(content), 200):
                copy.write(content[cut : cut + 200])
                copy.flush()
                assert reading.take_nothing(0.02) == []
        assert "may be a copy of" in reading.waiting_for()
        log.truncate("a.log")
        log.write(100)
        assert reading.take(1) == [100]
        assert reading.take_nothing() == []


def test_a_copy_of_a_file_that_stays_is_a_file(log):
    if log.pattern != "a.log*":
        pytest.skip("the copy does not match")
    with Reading(log) as reading:
        log.write(1, 2)
        reading.take(2)
        log.copy("a.log", "a.log.copy")
        assert reading.take_nothing(0.1) == []
        assert reading.take(2) == [1, 2]
        assert reading.take_nothing() == []


def test_files_that_begin_alike_are_told_apart(tmp_path):
    log = Log(tmp_path, "*.log")
    log.write(1, 2, name="a.log")
    with Reading(log) as reading:
        reading.take(2)
        log.write(1, 3, name="b.log")
        assert reading.take(2) == [1, 3]
        with reading.maybe_down(up=False):
            log.write(4, name="b.log")
            log.write(5, name="a.log")
        assert sorted(reading.take(2)) == [4, 5]


def test_found_together_the_oldest_comes_first(tmp_path):
    log = Log(tmp_path, "a.log*")
    for number, name in enumerate(["a.log.10", "a.log.2", "a.log.1", "a.log"]):
        log.write(number, name=name)
    with Reading(log) as reading:
        assert reading.take(4, in_order=True) == [0, 1, 2, 3]


def test_links_to_one_file_are_one_file(tmp_path):
    log = Log(tmp_path, "*.log")
    log.write(1, name="a-1.log")
    (tmp_path / "current.log").symlink_to(tmp_path / "a-1.log")
    (tmp_path / "b.log").hardlink_to(tmp_path / "a-1.log")
    with Reading(log) as reading:
        assert reading.take(1) == [1]
        log.write(2, name="a-2.log")
        (tmp_path / "current.log").unlink()
        (tmp_path / "current.log").symlink_to(tmp_path / "a-2.log")
        assert reading.take(1) == [2]
        assert reading.take_nothing() == []


def test_a_header_once_a_file_and_none_after_a_truncation(tmp_path):
    log = Log(tmp_path, "a.csv*", CsvFormat())
    log.append("x,n\nb,1\n", name="a.csv")
    with Reading(log) as reading:
        reading.take(1)
        log.append("b,2\n", name="a.csv")
        assert reading.take(1) == [2]
        log.copy("a.csv", "a.csv.1")
        log.truncate("a.csv")
        log.append("b,3\n", name="a.csv")
        assert reading.take(1) == [3]
        with reading.maybe_down(up=False):
            log.append("b,4\n", name="a.csv")
        assert reading.take(1) == [4]
        log.rename("a.csv", "a.csv.2")
        log.append("n,x\n5,b\n", name="a.csv")
        assert reading.take(1) == [5]
        log.truncate("a.csv")
        log.append("n,x\n6,b\n", name="a.csv")
        assert reading.take(1) == [6]


def test_a_header_that_is_not_whole_yet(tmp_path):
    log = Log(tmp_path, "a.csv", CsvFormat())
    with Reading(log) as reading:
        log.append("x,", name="a.csv")
        assert reading.take_nothing() == []
        log.append("n\n", name="a.csv")
        assert reading.take_nothing() == []
        log.append('"two\nlines",1\n"not yet', name="a.csv")
        assert reading.take(1) == [1]
        log.append('\n",2\n', name="a.csv")
        assert reading.take(1) == [2]


def test_the_last_line_of_a_file_that_has_gone_needs_no_newline(log, monkeypatch):
    monkeypatch.setattr(waiting_module, "RETIRE_S", 0.2)
    with Reading(log) as reading:
        with (log.folder / "a.log").open("a") as file:
            log.write(1)
            reading.take(1)
            (log.folder / "a.log").unlink()
            file.write('{"n": 2}')
        assert reading.take(1) == [2]
        assert reading.take_nothing() == []


def test_a_position_in_the_middle_of_a_batch(log):
    log.write(*range(10))
    with Reading(log) as reading:
        _, position = reading.batch()
        begun = reading.reader.within(position, 4)
    again = Reading(log, {"scan": begun})
    assert again.take(6) == [4, 5, 6, 7, 8, 9]
    again.close()
    in_pieces = Reading(log, max_rows=3)
    assert in_pieces.take(6) == [0, 1, 2, 3, 4, 5]
    in_pieces.restart()
    assert in_pieces.take(4) == [6, 7, 8, 9]
    in_pieces.close()


def test_positions_are_small_after_months(tmp_path, monkeypatch):
    monkeypatch.setattr(whereabouts_module, "GONE_MAX", 5)
    monkeypatch.setattr(waiting_module, "RETIRE_S", 0.0)
    log = Log(tmp_path, "a.log*")
    with Reading(log) as reading:
        for number in range(30):
            log.write(number)
            reading.take(1)
            (tmp_path / "a.log").unlink()
        reading.take_nothing()
        log.write(30)
        reading.take(1)
        assert len(reading.position["files"]) <= 7
        assert len(json.dumps(reading.position)) < 7 * 400


def test_the_oldest_are_forgotten_first_after_a_restart_too():
    def entry(number):
        return [f"/{number}.log", 1, number, 9, number, None, 2, None, 0, [9, 1], 0, [], "", "", 1]

    numbers = [3, 1, 4, 2, 5]
    position = {"files": {str(n): entry(n) for n in numbers}, "finished": "", "from": None}
    ledger = Ledger("scan", None, {"scan": position})
    assert [content.seen.inode for content in ledger.at.gone] == [1, 2, 3, 4, 5]


def test_nothing_of_a_log_is_lost_while_it_is_written_and_rotated(tmp_path):
    """A writer that never waits, in a thread, against a reader that stops at every turn."""
    import threading

    log = Log(tmp_path, "a.log*")
    done = threading.Event()

    def write():
        number = 0
        for turn in range(12):
            for _ in range(40):
                log.write(*range(number, number + 5))
                number += 5
            for older in range(turn, 0, -1):
                if (tmp_path / f"a.log.{older}").exists():
                    log.rename(f"a.log.{older}", f"a.log.{older + 1}")
            log.rename("a.log", "a.log.1")
            time.sleep(0.01)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    numbers = []
    reading = Reading(log, max_rows=7)
    while not done.is_set() or len(numbers) < 2400:
        numbers += reading.take_at_most(100, 0.2)
        reading.restart()
    numbers += reading.take_nothing()
    thread.join()
    reading.close()
    assert sorted(numbers) == list(range(2400))


def test_schema_of_what_is_there(tmp_path):
    log = Log(tmp_path, "a.log")
    log.write(1)
    assert log.source(schema=None).polars_schema == pl.Schema({"n": pl.Int64})
    assert Path(log.source().identity()["follow"][0]) == tmp_path / "a.log"
