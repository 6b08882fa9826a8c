"""What Numba has no words for: loads from an address, and asking for memory ahead of its use."""

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
