"""The footers of Parquet files, taken apart and put together: the row groups of several files in one.

A footer is a struct in the compact encoding of Thrift. It says where the columns of each row group begin in
the file; the bytes of a row group can move as they are, if that is written anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

MAGIC = b"PAR1"

_LENGTH_BYTES = 4
_I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 6, 7, 8, 9, 10, 12
_BOOLEANS, _BYTE, _INTEGERS = (1, 2), 3, (4, 5, 6)
_LONG_LIST = 15  # in place of the length of a list, which follows
_LONG_STEP = 0  # in place of the step from field to field, as the number of the field follows

_Moves: TypeAlias = "dict[int, str | _Moves]"
"""Which fields of a struct change when a row group moves, and how."""

_PLACE, _NUMBER = "place", "number"
_COLUMN: _Moves = {9: _PLACE, 10: _PLACE, 11: _PLACE, 14: _PLACE}  # data, index, dictionary, bloom filter
_ROW_GROUP: _Moves = {1: {2: _PLACE, 3: _COLUMN, 4: _PLACE, 6: _PLACE}, 5: _PLACE, 7: _NUMBER}


@dataclass(slots=True)
class Footer:
    """What the footer of a file says.

    Parameters
    ----------
    head, tail
        The fields before the number of rows, and those behind the row groups: the same for the same columns.
    rows
        In all row groups.
    groups
        The row groups.
    """

    head: bytes
    rows: int
    groups: list[bytes]
    tail: bytes

    def add(self, other: Footer) -> None:
        """Put the row groups of another file behind, which has the same columns."""
        self.rows += other.rows
        self.groups += other.groups

    def end(self) -> bytes:
        """The end of a file: the footer, its length, the magic."""
        out = bytearray(self.head)
        out.append(1 << 4 | _I64)
        _write_varint(out, self.rows << 1)
        out.append(1 << 4 | _LIST)
        count = len(self.groups)
        out.append(min(count, _LONG_LIST) << 4 | _STRUCT)
        if count >= _LONG_LIST:
            _write_varint(out, count)
        footer = b"".join([out, *self.groups, self.tail])
        return footer + len(footer).to_bytes(_LENGTH_BYTES, "little") + MAGIC


def body_of(file: memoryview) -> tuple[memoryview, memoryview]:
    """The row groups of a whole file, and its footer."""
    end = len(file) - _LENGTH_BYTES - len(MAGIC)
    start = end - int.from_bytes(file[end : end + _LENGTH_BYTES], "little")
    return file[len(MAGIC) : start], file[start:end]


def read_footer(footer: memoryview, *, begin: int = len(MAGIC), group: int = 0) -> Footer:
    """What the footer of a file says whose row groups are moved into another one.

    Parameters
    ----------
    footer
        Written in this process: it is not damaged.
    begin
        Where the row groups begin in the other file.
    group
        How many row groups are before them there.
    """
    copy = _Copy(footer, begin - len(MAGIC), group)
    for _ in ("version", "schema"):
        copy.value(copy.header() & 0xF)
    head = copy.taken()
    copy.header()
    rows = copy.varint() >> 1
    copy.header()
    groups = []
    for _ in range(copy.length(copy.header())):
        copy.taken()
        copy.struct(_ROW_GROUP)
        groups.append(copy.taken())
        copy.group += 1
    return Footer(head, rows, groups, bytes(footer[copy.at :]))


class _Copy:
    """Reads what is encoded, and writes it again with places and numbers of row groups moved."""

    def __init__(self, data: memoryview, moved: int, group: int) -> None:
        self.at = 0
        self.group = group
        self._data = data
        self._moved = moved
        self._out = bytearray()

    def taken(self) -> bytes:
        """What has been written since the last time."""
        taken, self._out = bytes(self._out), bytearray()
        return taken

    def header(self) -> int:
        """One byte: two numbers of four bits."""
        byte = self._data[self.at]
        self.at += 1
        self._out.append(byte)
        return byte

    def length(self, header: int) -> int:
        """Of the list that begins with this byte."""
        length = header >> 4
        return self.varint() if length == _LONG_LIST else length

    def varint(self) -> int:
        """A number."""
        number = self._read_varint()
        _write_varint(self._out, number)
        return number

    def struct(self, moves: _Moves) -> None:
        """A struct, with these fields moved."""
        number = 0
        while header := self.header():
            step = header >> 4
            number = _signed(self.varint()) if step == _LONG_STEP else number + step
            kind = header & 0xF
            if kind not in _BOOLEANS:  # as a field their type is their value
                self.value(kind, moves.get(number))

    def value(self, kind: int, move: str | _Moves | None = None) -> None:
        """A value of some type; a list moves with its items."""
        if kind in _INTEGERS:
            self._integer(move)
        elif kind == _BINARY:
            self._bytes(self.varint())
        elif kind == _STRUCT:
            self.struct(move if isinstance(move, dict) else {})
        elif kind in {_LIST, _SET}:
            header = self.header()
            for _ in range(self.length(header)):
                self.value(header & 0xF, move)
        else:
            self._bytes({_BYTE: 1, _DOUBLE: 8}.get(kind, 1))

    def _integer(self, move: str | _Moves | None) -> None:
        number = _signed(self._read_varint())
        if move == _NUMBER:
            number = self.group
        elif move == _PLACE and number:  # no place is 0, where the magic is
            number += self._moved
        _write_varint(self._out, number << 1 if number >= 0 else ~(number << 1))

    def _bytes(self, count: int) -> None:
        self._out += self._data[self.at : self.at + count]
        self.at += count

    def _read_varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._data[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7


def _signed(zigzag: int) -> int:
    return zigzag >> 1 ^ -(zigzag & 1)


def _write_varint(out: bytearray, number: int) -> None:
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
