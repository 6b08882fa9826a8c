"""Numbers, text and blocks of Avro against plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.kernels import avro_blocks, avro_decode, avro_encode, avro_values
from arrowstream.kernels.views import is_utf8

WORDS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 63).flatmap(
    lambda bits: st.sampled_from([2**bits - 1, -(2**bits), 2**bits >> 1])
)


def number(value):
    """Zigzag, seven bits a byte, as the specification says."""
    raw = (value << 1) ^ (value >> 63)
    pieces = bytearray()
    while raw >= 0x80:
        pieces.append(raw & 0x7F | 0x80)
        raw >>= 7
    return bytes([*pieces, raw])


def padded(content):
    return np.frombuffer(content + bytes(avro_blocks.BLOCK_PADDING_BYTES), np.uint8)


@settings(max_examples=500, deadline=None)
@given(WORDS)
def test_numbers(value):
    content = number(value)
    data = padded(content)
    assert avro_values.varint(data.ctypes.data) == (value, data.ctypes.data + len(content))
    out = np.zeros(24, np.uint8)
    assert avro_encode._put_varint(out.ctypes.data, value) == out.ctypes.data + len(content)
    assert out.tobytes().startswith(content)


def test_numbers_of_more_than_64_bits():
    for content in (b"\xff" * 9 + b"\x02", b"\xff" * 11, b"\x80" * 9 + b"\x7f"):
        data = padded(content)
        assert avro_values.varint(data.ctypes.data)[1] == -data.ctypes.data


def decodes(content):
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


PIECES = st.sampled_from(
    [
        *(
            text.encode()
            for text in ("a", "ascii of more than eight bytes", "é", "€", "😀", "\ue000", "\uffff")
        ),
        *(b"\x80", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf0\x80\x80\x80"),
        *(b"\xf4\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf0\x90\x80\x80", b"\xf5", b"\xff", b"\xe2\x82"),
        b"\xf0\x9f\x98",
    ]
)


@settings(max_examples=500, deadline=None)
@given(st.lists(PIECES | st.binary(max_size=4), max_size=8).map(b"".join))
def test_text(content):
    data = padded(content)
    assert is_utf8(data.ctypes.data, len(content)) == decodes(content)


def test_text_of_two_bytes():
    for first in range(256):
        for second in range(256):
            content = bytes([first, second])
            data = padded(content)
            assert is_utf8(data.ctypes.data, 2) == decodes(content)


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**127), 2**127 - 1) | st.integers(-(2**64), 2**64) | st.integers(-300, 300))
def test_decimals(value):
    source = np.frombuffer(value.to_bytes(16, "little", signed=True), np.uint8)
    out = np.zeros(24, np.uint8)
    end = avro_encode._put_decimal(out.ctypes.data, source.ctypes.data) - out.ctypes.data
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    assert out[:end].tobytes() == number(size) + value.to_bytes(size, "big", signed=True)
    back = np.zeros(16, np.uint8)
    limit = 10**38
    low = limit & (2**64 - 1)
    fits = avro_values.store_decimal(
        out.ctypes.data + 1, size, back.ctypes.data, limit >> 64, low - 2**64 if low >> 63 else low
    )
    assert fits == (abs(value) < limit)
    assert not fits or back.tobytes() == source.tobytes()


def found(content, begin=0, least=1, room=100, behind=b""):
    segments, counts = np.zeros(3 * room, np.int64), np.zeros(3, np.int64)
    sync = np.frombuffer(b"0123456789abcdef", np.uint64)
    status = avro_blocks.find_blocks(
        padded(content + behind), len(content), begin, sync, least, segments, counts
    )
    return status, segments.reshape(-1, 3)[: counts[0]].tolist(), counts[1:].tolist()


def block(records, content):
    return number(records) + number(len(content)) + content + b"0123456789abcdef"


def test_blocks_are_found():
    first, second = block(2, b"ab"), block(100, b"x" * 100)
    content = first + second
    whole = [[2, 4, 2], [len(first) + 4, len(first) + 104, 100]]
    assert found(content) == (avro_decode.DONE, whole, [len(content), 0])
    assert found(content, begin=len(first)) == (avro_decode.DONE, whole[1:], [len(content), 0])
    assert found(content, room=1) == (avro_decode.DONE, whole[:1], [len(first), 0])
    for size in range(len(content)):
        complete = size >= len(first)
        wanted = len(second) if size >= len(first) + 4 else 0
        if not complete:
            wanted = len(first) if size >= 2 else 0
        expected = (avro_decode.DONE, whole[: int(complete)], [len(first) * complete, wanted])
        for behind in (b"", b"\x00" * 40, b"\xff" * 40, b"\x01" * 40):
            assert found(content[:size], behind=behind) == expected, size


@pytest.mark.parametrize(
    "content",
    [
        block(3, b"ab"),
        block(-1, b"ab"),
        number(1) + number(-2) + bytes(40),
        block(1, b"ab")[:-1] + b"X",
        b"\xff" * 40,
        number(1) + b"\xff" * 40,
    ],
)
def test_what_is_no_block(content):
    good = block(1, b"a")
    assert found(good + content)[:2] == (avro_decode.BROKEN, [[2, 3, 1]])


def test_records_without_bytes_have_a_bound():
    assert found(block(avro_decode.EMPTY_ITEMS_MAX, b""), least=0)[0] == avro_decode.DONE
    assert found(block(avro_decode.EMPTY_ITEMS_MAX + 1, b""), least=0)[0] == avro_decode.BROKEN
    assert found(block(2**40, b""), least=-1)[0] == avro_decode.DONE
