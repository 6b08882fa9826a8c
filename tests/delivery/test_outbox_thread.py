"""Outboxes that are written by a thread of their own: the same files, bounded, and no error is lost."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time

import pytest

from arrowstream.errors import ConnectorError, StateError
from arrowstream.runtime import outbox_thread
from arrowstream.runtime.outbox import OutboxFile, OutboxFolder
from arrowstream.runtime.outbox_thread import OverlappedWriter

PIECES = [os.urandom(size) for size in (1, 0, 100, 7, 1_000, 3)]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(outbox_thread, "SMALL_BYTES", 50)
    monkeypatch.setattr(outbox_thread, "WAITING_BYTES_MAX", 500)


def write(writer, pieces):
    writer.open()
    overlapped = OverlappedWriter(writer)
    try:
        for piece in pieces:
            overlapped.write(piece)
        return overlapped.finish()
    finally:
        overlapped.close()
        overlapped.close()


def test_a_file_is_what_was_written(tmp_path):
    digest = write(OutboxFile(tmp_path / "outbox"), PIECES * 20)
    assert (tmp_path / "outbox").read_bytes() == b"".join(PIECES * 20)
    assert digest == hashlib.sha256(b"".join(PIECES * 20)).hexdigest()


def test_a_folder_is_what_was_written(tmp_path):
    pieces = [(f"k={at % 3}/{at % 5}", piece) for at, piece in enumerate(PIECES * 20)]
    write(OutboxFolder(tmp_path / "threaded"), pieces)
    expected = {}
    for name, piece in pieces:
        expected[name] = expected.get(name, b"") + piece
    found = tmp_path / "threaded"
    assert {
        path.relative_to(found).as_posix(): path.read_bytes() for path in found.rglob("*") if path.is_file()
    } == (expected)


class Slow:
    """An outbox on a disk that stops and fails when it is told to."""

    def __init__(self):
        self.size_bytes = 60  # large enough for a thread
        self.written, self.hashed = [], []
        self.go_on, self.error, self.closed = threading.Event(), None, 0

    def write(self, piece):
        self.go_on.wait(30)
        if self.error is not None:
            raise self.error
        self.written.append(piece)

    def hash(self, piece):
        self.hashed.append(piece)

    def finish(self):
        return "digest"

    def close(self):
        self.closed += 1


def test_what_waits_for_the_disk_is_bounded():
    slow = Slow()
    overlapped = OverlappedWriter(slow)
    accepted = []

    def write_much():
        for number in range(20):
            overlapped.write(b"x" * 100)
            accepted.append(number)

    thread = threading.Thread(target=write_much)
    thread.start()
    time.sleep(0.1)
    assert len(accepted) <= 6
    slow.go_on.set()
    thread.join(30)
    assert overlapped.finish() == "digest"
    assert len(slow.written) == 20
    overlapped.close()
    assert slow.closed == 1


def test_one_piece_always_fits():
    slow = Slow()
    slow.go_on.set()
    overlapped = OverlappedWriter(slow)
    overlapped.write(b"x" * 10_000)
    overlapped.write(("name", b"x" * 10_000))
    overlapped.finish()
    overlapped.close()
    assert len(slow.written) == 2


@pytest.mark.parametrize("when", ["write", "finish"])
def test_an_error_of_the_thread_is_raised(when):
    slow = Slow()
    slow.error = ConnectorError("disk")
    overlapped = OverlappedWriter(slow)
    overlapped.write(b"x" * 600)
    slow.go_on.set()

    def go_on():
        while when == "write":
            overlapped.write(b"x" * 600)
        overlapped.finish()

    with pytest.raises(ConnectorError, match="disk"):
        go_on()
    overlapped.close()
    assert slow.closed == 1


def test_closing_forgets_what_waits():
    slow = Slow()
    overlapped = OverlappedWriter(slow)
    for _ in range(5):
        overlapped.write(b"x" * 100)
    threading.Timer(0.05, slow.go_on.set).start()
    overlapped.close()
    assert len(slow.written) <= 1


def test_a_full_disk_is_said_by_name(tmp_path, monkeypatch):
    real, written = os.write, []

    def full(descriptor, data):
        written.append(len(data))
        if sum(written) > 3_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StateError, match="outbox cannot be written: No space left on device"):
        write(OutboxFile(tmp_path / "outbox"), PIECES * 20)
