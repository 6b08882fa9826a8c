"""Structures in Thrift's compact protocol, as footers of Parquet are: bytes that anybody may have written."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

Value: TypeAlias = "bool | int | bytes | list[Value] | Struct"
"""Text and floating-point numbers are bytes; a map is a list of its keys and values in turn."""

Struct: TypeAlias = "dict[int, Value]"
"""Values by the numbers of their fields."""

_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(13)
_INTEGERS = {_I16, _I32, _I64}
_DOUBLE_BYTES = 8
_LONG_LIST = 15  # in place of a size: it follows
_VARINT_BITS_MAX = 63
_DEPTH_MAX = 64  # Parquet needs seven


class Compact:
    """Reads values one behind the other.

    Raises
    ------
    pa.ArrowInvalid
        By all methods: the bytes are no such structures.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def position(self) -> int:
        """Bytes that have been read."""
        return self._at

    def struct(self, depth: int = 0) -> Struct:
        """A structure, such as a footer or the header of a page."""
        return {number: self.value(kind, depth + 1) for number, kind in self.fields()}

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field of a structure. `value` or `items` has to read it before the next."""
        number = 0
        while (head := self._byte()) != _STOP:
            number = number + (head >> 4) if head >> 4 else self._integer()
            yield number, head & 15

    def items(self) -> Iterator[int]:
        """The type of each item of a list. `value` has to read it before the next."""
        head = self._byte()
        count = head >> 4 if head >> 4 != _LONG_LIST else self._varint()
        kind = head & 15
        for _ in range(self._possible(count)):
            yield kind

    def value(self, kind: int, depth: int = 0) -> Value:
        """The value of a field."""
        if kind in _INTEGERS:
            return self._integer()
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in {_TRUE, _FALSE}:
            return kind == _TRUE
        if depth > _DEPTH_MAX:
            raise pa.ArrowInvalid("the footer is nested too deeply")
        if kind == _STRUCT:
            return self.struct(depth)
        if kind in {_LIST, _SET}:
            return [self._item(kind, depth) for kind in self.items()]
        if kind == _MAP:
            return self._map(depth)
        if kind == _BYTE:
            return self._byte()
        if kind == _DOUBLE:
            return self._bytes(_DOUBLE_BYTES)
        raise pa.ArrowInvalid(f"the footer has a value of an unknown type, {kind}")

    def _item(self, kind: int, depth: int) -> Value:
        return self._byte() == _TRUE if kind in {_TRUE, _FALSE} else self.value(kind, depth + 1)

    def _map(self, depth: int) -> Value:
        count = self._possible(self._varint())
        kinds = self._byte() if count else 0
        return [self._item(kind, depth) for _ in range(count) for kind in (kinds >> 4, kinds & 15)]

    def _possible(self, count: int) -> int:
        """An item takes a byte at least."""
        if count > len(self._data) - self._at:
            raise pa.ArrowInvalid("the footer has a list that is longer than itself")
        return count

    def _bytes(self, size: int) -> bytes:
        start = self._at
        self._at += size
        if self._at > len(self._data):
            raise pa.ArrowInvalid("the footer ends too early")
        return self._data[start : self._at]

    def _byte(self) -> int:
        try:
            byte = self._data[self._at]
        except IndexError:
            raise pa.ArrowInvalid("the footer ends too early") from None
        self._at += 1
        return byte

    def _integer(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _varint(self) -> int:
        byte = self._byte()
        number = byte & 127
        shift = 7
        while byte & 128:
            if shift > _VARINT_BITS_MAX:
                raise pa.ArrowInvalid("the footer has a number of more than 64 bits")
            byte = self._byte()
            number |= (byte & 127) << shift
            shift += 7
        return number
