"""Interning of long strings: equal bytes get equal words, different bytes different ones."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.kernels import keys
from arrowstream.kernels.keys import ENTRY_COLUMNS, INLINE_BYTES_MAX

modest = settings(max_examples=50, deadline=None)


class Arena:
    """A caller of the kernel that begins with next to no room."""

    def __init__(self):
        self.table = np.zeros(ENTRY_COLUMNS, dtype=np.int64)
        self.bytes = np.zeros(1, dtype=np.uint8)
        self.counters = np.zeros(3, dtype=np.int64)

    def intern(self, strings):
        """The two words of each string."""
        array = pl.Series(strings, dtype=pl.Binary).to_arrow(compat_level=pl.CompatLevel.newest())
        views, *data = array.buffers()[1:]
        words = np.frombuffer(views, dtype=np.int64)[: 2 * len(array)].copy()
        addresses = np.array([buffer.address for buffer in data], dtype=np.uint64)
        self.intern_words(words, addresses)
        return words.reshape(-1, 2)

    def intern_words(self, words, addresses, stride=2, column=0):
        begin = 0
        while True:
            status = keys.intern(
                begin, words, stride, column, addresses, self.table, self.bytes, self.counters
            )
            if status == keys.DONE:
                return
            begin = int(self.counters[keys.RESUME])
            if status == keys.NEEDS_TABLE:
                larger = np.zeros(2 * self.table.size, dtype=np.int64)
                keys.rehash(self.table, larger)
                self.table = larger
            else:
                self.bytes = np.concatenate([self.bytes, np.zeros_like(self.bytes)])

    def value(self, view):
        length = int(view[0]) & 0xFFFF_FFFF
        if length <= INLINE_BYTES_MAX:
            return view.tobytes()[4 : 4 + length]
        offset = int(view[1]) >> 32
        return self.bytes[offset : offset + length].tobytes()

    def key_groups(self, words, width=2, views=(0,)):
        out = np.empty(words.size // width, dtype=np.uint8)
        flat = np.ascontiguousarray(words).reshape(-1)
        keys.key_groups(flat, width, np.array(views, dtype=np.int64), self.bytes, out)
        return out.tolist()


def test_short_strings_stay_as_they_are():
    arena = Arena()
    words = arena.intern([b"", b"a", b"exactly 12 b"])
    assert [arena.value(view) for view in words] == [b"", b"a", b"exactly 12 b"]
    assert arena.counters[keys.ARENA_USED] == 0


def test_a_long_string_is_kept_once():
    arena = Arena()
    first, other, again = arena.intern([b"thirteen byte", b"thirteen bytE", b"thirteen byte"])
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
    assert arena.bytes[: arena.counters[keys.ARENA_USED]].tobytes() == b"thirteen bytethirteen bytE"


@pytest.mark.parametrize("length", [12, 13, 15, 16, 17, 23, 24, 25, 64])
def test_every_byte_counts(length):
    base = bytes(range(65, 65 + length))
    strings = [base, base[:-1], *(base[:i] + b"\0" + base[i + 1 :] for i in range(length))]
    arena = Arena()
    words = arena.intern(strings)
    assert len({tuple(view) for view in words.tolist()}) == len(strings)
    assert [arena.value(view) for view in words] == strings
    assert arena.intern(strings).tolist() == words.tolist()


prefixed = st.tuples(
    st.sampled_from([b"", b"a prefix of the others, longer than a view"]), st.binary(max_size=20)
)
strings = st.lists(st.one_of(st.binary(max_size=30), prefixed.map(b"".join)), max_size=30)


@modest
@given(strings, strings)
def test_words_are_equal_where_bytes_are(before, after):
    arena = Arena()
    found = [*arena.intern(before), *arena.intern(after)]
    known = {}
    for value, view in zip(before + after, found, strict=True):
        assert arena.value(view) == value
        assert known.setdefault(value, tuple(view)) == tuple(view)
    assert len(set(known.values())) == len(known)
    assert arena.counters[keys.TABLE_USED] == sum(len(value) > INLINE_BYTES_MAX for value in known)


def test_many_strings():
    many = [b"auction number %d" % i for i in range(20_000)]
    arena = Arena()
    words = arena.intern(many)
    assert len(np.unique(words, axis=0)) == len(many)
    assert arena.value(words[12_345]) == b"auction number 12345"


def test_a_view_among_other_words():
    source = Arena()
    long = source.intern([b"a string for an arena", b"another one for an arena"])
    rows = np.zeros((2, 4), dtype=np.int64)
    rows[:, 0], rows[:, 1:3], rows[:, 3] = 7, long, 9
    flat, target = rows.reshape(-1), Arena()
    target.intern([b"what was there before"])
    target.intern_words(flat, np.array([source.bytes.ctypes.data], dtype=np.uint64), stride=4, column=1)
    moved = flat.reshape(-1, 4)
    assert moved[:, [0, 3]].tolist() == [[7, 9], [7, 9]]
    assert [target.value(view) for view in moved[:, 1:3]] == [
        b"a string for an arena",
        b"another one for an arena",
    ]


@modest
@given(st.lists(st.binary(max_size=30), max_size=20))
def test_key_groups_do_not_depend_on_the_place_in_the_arena(values):
    arena, other = Arena(), Arena()
    words = arena.intern(values)
    other.intern([b"something else to begin with"])
    backwards = other.intern(values[::-1])
    assert other.key_groups(backwards) == arena.key_groups(words)[::-1]


def test_key_groups_spread():
    numbers = np.arange(100_000, dtype=np.int64)
    sizes = np.bincount(Arena().key_groups(numbers, width=1, views=()), minlength=256)
    assert len(sizes) == 256
    assert sizes.min() > 0.75 * sizes.mean()
    assert sizes.max() < 1.25 * sizes.mean()


def test_key_groups_stay_what_they_are():
    # State on disk is sorted out by them: a changed hash is a changed format.
    arena = Arena()
    views = arena.intern([b"", b"short", b"a string that is not short"])
    assert arena.key_groups(views) == [0, 133, 172]
    assert arena.key_groups(np.array([0, 1, -1, 2**40]), width=1, views=()) == [0, 23, 23, 167]
