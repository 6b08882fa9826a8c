"""Cutting a stream at the ends of records, parsing pieces side by side, and what is told of bad ones."""

from __future__ import annotations

import io
import threading
import time

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrowstream.connectors.files import lines
from arrowstream.connectors.files.csv import CsvFormat
from arrowstream.connectors.files.lines import Records, Whole, cut, first_failing, in_order, newlines, shown
from arrowstream.errors import DataError


def pieces(stream, **options):
    settings = {
        "begun": b"",
        "offset": 0,
        "line": 1,
        "find": Whole.of,
        "is_plain": Whole.is_plain,
        "growing": False,
    }
    return list(cut(stream, "file", **{**settings, **options}))


class Failing(io.RawIOBase):
    """Gives some bytes, then an error."""

    def __init__(self, data):
        self._data = io.BytesIO(data)

    def read(self, size=-1):
        piece = self._data.read(size)
        if not piece:
            raise DataError("damaged")
        return piece


@given(st.lists(st.sampled_from([b"a", b"bc", b"", b"\r"]), max_size=20), st.integers(1, 9), st.booleans())
def test_pieces_are_whole_lines_and_all_of_them(found, size, growing):
    data = b"\n".join(found)
    read = pieces(io.BytesIO(data), block_bytes=size, growing=growing)
    end = data.rfind(b"\n") + 1 if growing else len(data)
    assert b"".join(piece.data for piece in read) == data[:end]
    offset, line = 0, 1
    for piece in read:
        assert (piece.offset, piece.line) == (offset, line)
        assert piece.data.endswith(b"\n") or piece is read[-1]
        offset, line = offset + len(piece.data), line + piece.data.count(b"\n")
        assert piece.resume == [offset, line]


def test_what_was_read_before_damage_comes_first():
    with pytest.raises(DataError, match="damaged"):
        pieces(Failing(b"a\nb\nc"))
    schema = pl.Schema({"column_0": pl.String})
    reader = CsvFormat(has_header=False)
    blocks = reader.blocks(
        Failing(b"a\nb\nc"), "file", schema=schema, columns=["column_0"], resume=[0, 1], on_error="raise"
    )
    assert next(blocks).frame.to_series().to_list() == ["a", "b"]
    with pytest.raises(DataError, match="damaged"):
        next(blocks)


def test_a_record_without_end_is_an_error(monkeypatch):
    monkeypatch.setattr(lines, "RECORD_BYTES_MAX", 100)
    with pytest.raises(DataError, match="the record on line 2 does not end within"):
        pieces(io.BytesIO(b"a\n" + b"x" * 500), block_bytes=50)


@given(st.binary(max_size=300))
def test_newlines_are_counted(data):
    assert newlines(data * 1000) == data.count(b"\n") * 1000


def test_results_are_in_order_and_threads_end():
    def slow_first(piece):
        time.sleep(0.05 if piece == 0 else 0)
        return piece

    assert list(in_order(iter(range(20)), slow_first)) == list(range(20))
    results = in_order(iter(range(1000)), lambda piece: piece)
    assert next(results) == 0
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("arrowstream-parse")]


def test_few_pieces_are_held():
    begun: list[int] = []

    def counted():
        for piece in range(100):
            begun.append(piece)
            yield piece

    waiting = [len(begun) - result for result in in_order(counted(), lambda piece: piece)]
    assert max(waiting) <= lines._THREADS_MAX + 3


def test_an_error_of_a_piece_is_raised_in_its_place():
    def parse(piece):
        if piece == 3:
            raise DataError("third")
        return piece

    results = in_order(iter(range(10)), parse)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="third"):
        next(results)


def test_one_piece_needs_no_thread():
    assert list(in_order(iter([1]), lambda _: threading.current_thread().name)) == ["MainThread"]


@given(st.lists(st.sampled_from([b"", b"a", b"bc\r", b"\r"]), max_size=12), st.data())
def test_records_join_as_they_are(found, data):
    content = b"\n".join(found)
    records = Records.of(content)
    expected = [line.removesuffix(b"\r") for line in content.split(b"\n")]
    if content.endswith(b"\n") or not content:
        expected.pop()
    assert [records.at(index) for index in range(len(records))] == expected
    keep = data.draw(st.lists(st.booleans(), min_size=len(records), max_size=len(records)))
    taken = records.take(np.array(keep, np.bool_))
    kept = [line for line, is_kept in zip(expected, keep, strict=True) if is_kept]
    assert (
        [line.removesuffix(b"\r") for line in taken.joined().splitlines()] == kept
        if b"\r" not in content
        else True
    )
    assert [line.rstrip(b"\r\n") for line in taken.content().to_list()] == [
        line.rstrip(b"\r") for line in kept
    ]


@given(st.lists(st.booleans(), max_size=40))
def test_halving_finds_all_that_fail(good):
    assert list(first_failing(good, all)) == [index for index, is_good in enumerate(good) if not is_good]


def test_long_texts_are_cut_off():
    assert shown("x" * 80) == '"' + "x" * 80 + '"'
    assert shown(b"\xff" + b"x" * 80) == '"\ufffd' + "x" * 79 + '…"'


def test_originals_have_an_end():
    data = b"a\n1\n" + b"x" * (2 << 20) + b"\n"
    (block,) = CsvFormat().blocks(
        io.BytesIO(data),
        "file",
        schema=pl.Schema({"a": pl.Int64}),
        columns=["a"],
        resume=None,
        on_error="skip",
    )
    letter = block.frame.to_series(1)[1]
    assert letter["original"] == b"x" * (1 << 20)
