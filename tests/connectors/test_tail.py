"""What has been read is known again: in its file, in a longer or shorter copy, and not in another one."""

from __future__ import annotations

import io
import json
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.connectors.files.contents import Content, Heads
from arrowstream.connectors.files.tail import (
    HEAD_BYTES,
    LAST_BYTES,
    Progress,
    Replaced,
    Section,
    begins_alike,
    is_known,
    read_new,
)
from arrowstream.connectors.files.watch import Seen

if TYPE_CHECKING:
    from pathlib import Path

LINES = b"".join(b'{"n": %d}\n' % number for number in range(20_000))


def read_in(content: bytes, cuts: list[int]) -> Progress:
    """The progress after reading `content` in pieces, from memory of no more than is kept."""
    progress, begin = Progress(), 0
    for end in [*sorted({cut for cut in cuts if 0 < cut < len(content)}), len(content)]:
        before = content[begin - progress.kept_size : begin]
        progress = progress.after(before, content[begin:end], [end, 0])
        progress = Progress.of_json(json.loads(json.dumps(progress.as_json())))
        begin = end
    return progress


sizes = st.one_of(st.integers(1, 3000), st.integers(1, len(LINES)))


@settings(max_examples=300, deadline=None)
@given(size=sizes, cuts=st.lists(sizes, max_size=8))
def test_the_checksums_do_not_depend_on_the_pieces(size, cuts):
    content = LINES[:size]
    progress, at_once = read_in(content, cuts), read_in(content, [])
    assert (progress.offset, progress.crc) == (size, zlib.crc32(content))
    assert (progress.head, progress.last) == (at_once.head, at_once.last)
    assert all(crc == zlib.crc32(content[:mark]) for mark, crc in progress.marks)
    assert len(progress.marks) <= 6


@settings(max_examples=300, deadline=None)
@given(size=sizes, cuts=st.lists(sizes, max_size=5), more=st.integers(0, 100))
def test_a_longer_copy_is_known(size, cuts, more):
    assert read_in(LINES[:size], cuts).begins(io.BytesIO(LINES[: size + more])) == size


@settings(max_examples=300, deadline=None)
@given(size=sizes, cuts=st.lists(sizes, max_size=5), missing=st.integers(1, 200))
def test_a_copy_without_the_last_lines_is_known_if_enough_is_there(size, cuts, missing):
    progress = read_in(LINES[:size], cuts)
    found = progress.begins(io.BytesIO(LINES[: max(0, size - missing)]))
    proved = any(mark <= size - missing for mark, _ in progress.marks)
    assert found == (size - missing if proved else None)
    if found:
        shortened = progress.shortened(io.BytesIO(LINES), found)
        assert shortened.begins(io.BytesIO(LINES)) == found


@settings(max_examples=300, deadline=None)
@given(size=sizes, place=st.integers(0, len(LINES)), cuts=st.lists(sizes, max_size=3))
def test_another_content_is_not(size, place, cuts):
    place %= size
    other = bytearray(LINES[: size + 50])
    other[place] ^= 1
    assert read_in(LINES[:size], cuts).begins(io.BytesIO(bytes(other))) is None


def test_new_bytes_come_with_those_before_them(tmp_path):
    file = written(tmp_path, LINES[:5000])
    progress = read_in(LINES[:3000], [])
    with file.open("rb") as stream:
        before, new = read_new(stream.fileno(), progress, 1_000_000)
        assert (before, new) == (LINES[3000 - LAST_BYTES : 3000], LINES[3000:5000])
        assert read_new(stream.fileno(), progress, 10)[1] == LINES[3000:3010]
        short = read_in(LINES[:100], [])
        assert read_new(stream.fileno(), short, 7) == (LINES[:100], LINES[100:107])


@pytest.mark.parametrize(
    "content",
    [LINES[:2999], LINES[:2990] + b"x" * 2000, b"\0" * 5000, b""],
    ids=["cut", "other", "hole", "empty"],
)
def test_what_was_overwritten_shows_itself(tmp_path, content):
    file = written(tmp_path, content)
    progress = read_in(LINES[:3000], [])
    with file.open("rb") as stream:
        with pytest.raises(Replaced):
            read_new(stream.fileno(), progress, 1_000_000)
        assert not is_known(stream.fileno(), progress)


def test_a_file_is_known_by_both_ends_of_what_was_read(tmp_path):
    progress = read_in(LINES[:3000], [])
    for content, expected in [(LINES, True), (b"x" + LINES[1:], False), (LINES[:3000], True)]:
        with written(tmp_path, content).open("rb") as stream:
            assert is_known(stream.fileno(), progress) is expected
            assert is_known(stream.fileno(), Progress())


def test_files_that_begin_alike(tmp_path):
    long = written(tmp_path, LINES, "long")
    for content, expected in [
        (LINES[:10], True),
        (LINES[:5000], True),
        (LINES, True),
        (LINES + b"x", False),
        (LINES[: HEAD_BYTES + 5] + b"x", False),
        (b"x", False),
    ]:
        short = written(tmp_path, content, "short")
        with short.open("rb") as a, long.open("rb") as b:
            assert begins_alike(a.fileno(), b.fileno()) is expected


def test_a_section_lies_at_its_place():
    section = io.BufferedReader(Section(b"defgh", 3))
    assert section.seek(0, 2) == 8
    assert section.seek(5) == 5
    assert section.read() == b"fgh"
    assert section.seek(4) == 4
    assert section.read(2) == b"ef"
    with pytest.raises(OSError, match="byte 0 is not in memory"):
        Section(b"defgh", 3).read(1)


def written(folder: Path, content: bytes, name: str = "file") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def test_a_fresh_file_is_compared_with_few_of_thousands():
    def content(path, text):
        progress = Progress().after(b"", text, [len(text)]) if text else Progress()
        return Content("scan", Seen(path, len(text), 0, inode=1), progress=progress)

    others = [content(f"/logs/{number:05d}x.log", b"%05d\n" % number) for number in range(3_000)]
    same = content("/logs/a.log.1", b"00007\n")
    unread = content("/logs/a.log", b"")
    longer = content("/logs/a.log.2", b"00007\n" * 100)
    heads = Heads([*others, same])
    for added in (unread, longer):
        heads.add(added)
    found = heads.alike(b"00007\nmore\n", "/logs/a.log")
    assert set(found) == {others[7], same, unread, longer}
