"""Views of text and bytes against plain Python."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.kernels.views import INLINE_MAX, unproven_view, write_views

VALUES = st.text(max_size=20) | st.sampled_from(["a" * 12, "a" * 13, "é" * 6, "é" * 9, "😀" * 3, "😀" * 5])


def first_unsound(views, buffers, *, is_text):
    """The first that leads elsewhere, or is no text, or is in a buffer that is not all text."""
    for index in range(len(views) // 16):
        view = views[16 * index : 16 * (index + 1)]
        length, prefix, buffer, start = struct.unpack("<I4sII", view)
        if length <= INLINE_MAX:
            value, is_sound = view[4 : 4 + length], not any(view[4 + length :])
        elif buffer < len(buffers):
            value = buffers[buffer][start : start + length]
            is_sound = len(value) == length and value.startswith(prefix)
            is_sound = is_sound and (not is_text or decodes(buffers[buffer]))
        else:
            value, is_sound = b"", False
        if not is_sound or (is_text and not decodes(value)):
            return index
    return -1


def decodes(content):
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def looked_at(views, buffers, *, is_text):
    held = [np.frombuffer(buffer + bytes(8), np.uint8) for buffer in buffers]
    places = [(array.ctypes.data, len(buffer)) for array, buffer in zip(held, buffers, strict=True)]
    words = np.frombuffer(views, np.uint64)
    return unproven_view(words, np.array(places, np.int64).reshape(-1, 2), is_text)


def parts_of(array):
    _, views, *data = array.buffers()
    return views.to_pybytes()[: 16 * len(array)], [buffer.to_pybytes() for buffer in data]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.none() | VALUES, min_size=1, max_size=6))
def test_all_that_is_written_is_proven(values):
    views, buffers = parts_of(pa.array(values, pa.string_view()))
    assert first_unsound(views, buffers, is_text=True) == -1
    assert looked_at(views, buffers, is_text=True) == -1
    raw = [None if value is None else value.encode("utf-16") for value in values]
    views, buffers = parts_of(pa.array(raw, pa.binary_view()))
    assert looked_at(views, buffers, is_text=False) == -1


@settings(max_examples=1000, deadline=None)
@given(
    values=st.lists(VALUES, min_size=1, max_size=4),
    is_text=st.booleans(),
    changes=st.lists(
        st.tuples(st.booleans(), st.integers(0, 999), st.integers(0, 255) | st.sampled_from([12, 13, 128])),
        min_size=1,
        max_size=3,
    ),
)
def test_what_is_changed_is_seen(values, is_text, changes):
    views, buffers = parts_of(pa.array(values, pa.string_view()))
    pieces = [bytearray(views), *map(bytearray, buffers)]
    for in_views, at, byte in changes:
        piece = pieces[0 if in_views else -1]
        if piece:
            piece[at % len(piece)] = byte
    views, *buffers = map(bytes, pieces)
    assert looked_at(views, buffers, is_text=is_text) == first_unsound(views, buffers, is_text=is_text)


@pytest.mark.parametrize(
    ("length", "prefix", "buffer", "start"),
    [
        (13, b"aaaa", 1, 0),
        (13, b"aaaa", 2**32 - 1, 0),
        (13, b"aaaa", 0, 88),
        (13, b"aaaa", 0, 2**32 - 1),
        (2**32 - 1, b"aaaa", 0, 0),
        (13, b"aaab", 0, 0),
    ],
)
def test_a_view_that_leads_elsewhere(length, prefix, buffer, start):
    views = struct.pack("<I4sII", length, prefix, buffer, start)
    assert looked_at(views, [b"a" * 100], is_text=False) == 0
    assert looked_at(views, [b"a" * 100], is_text=True) == 0


def test_many_views_of_the_same_long_text():
    text = "é" * 500_000
    views = struct.pack("<I4sII", 1_000_000, "éé".encode(), 0, 0) * 100_000  # 100 GB of text
    assert looked_at(views, [text.encode()], is_text=True) == -1


def made(offsets, data, *, is_text):
    """The values that the views lead to, and the first unsound one."""
    held = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
    views = np.full(2 * (len(offsets) - 1), 2**64 - 1, np.uint64)
    first_bad = write_views(offsets, held.ctypes.data, len(data), is_text, views)
    if first_bad >= 0:
        return None
    assert first_unsound(views.tobytes(), [data], is_text=is_text) == -1
    buffers = [None, pa.py_buffer(views), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary_view(), len(offsets) - 1, buffers).to_pylist()


@settings(max_examples=500, deadline=None)
@given(
    values=st.lists(VALUES.map(str.encode) | st.binary(max_size=20), min_size=1, max_size=5),
    width=st.sampled_from([np.int32, np.int64]),
    is_text=st.booleans(),
    change=st.none()
    | st.tuples(st.integers(0, 5), st.integers(-3, 90) | st.sampled_from([-(2**31), 2**31 - 1])),
)
def test_views_are_made_of_sound_values_only(values, width, is_text, change):
    offsets = np.cumsum([0, *map(len, values)]).astype(width)
    if change is not None:
        offsets[change[0] % len(offsets)] = change[1]
    data = b"".join(values)
    places = list(zip(offsets.tolist(), offsets.tolist()[1:], strict=False))
    expected = [data[start:end] for start, end in places]
    is_sound = all(0 <= start <= end <= len(data) for start, end in places)
    is_sound = is_sound and (not is_text or all(map(decodes, expected)))
    assert made(offsets, data, is_text=is_text) == (expected if is_sound else None)
