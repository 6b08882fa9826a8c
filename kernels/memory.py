"""What Numba has no words for: loads and stores at an address, asking for memory ahead of its use, bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

_READ, _KEEP_CLOSE, _DATA = 0, 3, 1  # arguments of llvm.prefetch


def _loader(bits: int) -> Callable[..., Any]:
    """Code that loads an integer of `bits` bits, at any alignment, from an address."""

    def load(_: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())
            return builder.zext(builder.load(pointer, align=1), ir.IntType(64))

        return types.uint64(types.uint64), generate

    return load


load_word: Any = intrinsic(_loader(64))
"""`load_word(address: uint64) -> uint64`."""

load_byte: Any = intrinsic(_loader(8))
"""`load_byte(address: uint64) -> uint64`."""

load_half: Any = intrinsic(_loader(32))
"""`load_half(address: uint64) -> uint64`: four bytes."""

load_short: Any = intrinsic(_loader(16))
"""`load_short(address: uint64) -> uint64`: two bytes."""


def _storer(bits: int) -> Callable[..., Any]:
    """Code that stores the low `bits` bits of an integer, at any alignment, at an address."""

    def store(_: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.IntType(bits)
            pointer = builder.inttoptr(arguments[0], kind.as_pointer())
            stored = arguments[1] if bits == 64 else builder.trunc(arguments[1], kind)
            builder.store(stored, pointer, align=1)
            return context.get_dummy_value()

        return types.void(types.uint64, types.uint64), generate

    return store


store_word: Any = intrinsic(_storer(64))
"""`store_word(address: uint64, value: uint64)`."""

store_half: Any = intrinsic(_storer(32))
"""`store_half(address: uint64, value: uint64)`: its low four bytes."""

store_short: Any = intrinsic(_storer(16))
"""`store_short(address: uint64, value: uint64)`: its low two bytes."""

store_byte: Any = intrinsic(_storer(8))
"""`store_byte(address: uint64, value: uint64)`: its lowest byte."""


def _counter(name: str) -> Callable[..., Any]:
    """Code that counts the zeros at one end of an integer."""

    def count(_: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, name)(arguments[0], ir.Constant(ir.IntType(1), 0))

        return types.uint64(types.uint64), generate

    return count


trailing_zeros: Any = intrinsic(_counter("cttz"))
"""`trailing_zeros(value: uint64) -> uint64`: 64 for 0."""

leading_zeros: Any = intrinsic(_counter("ctlz"))
"""`leading_zeros(value: uint64) -> uint64`: 64 for 0."""


def _multiply_high(_: Any, a: Any, b: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


multiply_high: Any = intrinsic(_multiply_high)
"""`multiply_high(a: uint64, b: uint64) -> uint64`: the upper half of their product of 128 bits."""


def _prefetch(_: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer_type = ir.IntType(8).as_pointer()
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer_type, number, number, number])
        function = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, kind, "llvm.prefetch.p0"
        )
        pointer = builder.inttoptr(arguments[0], pointer_type)
        builder.call(function, [pointer, *(ir.Constant(number, v) for v in (_READ, _KEEP_CLOSE, _DATA))])
        return context.get_dummy_value()

    return types.void(types.uint64), generate


prefetch: Any = intrinsic(_prefetch)
"""`prefetch(address: uint64)`: bring a cache line closer; any address is allowed."""
