"""How every kernel is compiled: without the GIL, cached on disk where that can be written to."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba
import numpy as np
from numba.core import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_F = TypeVar("_F", bound="Callable[..., Any]")


def kernel(function: _F) -> _F:
    """Compile `function` on its first call, without the GIL and with the result cached on disk.

    Null    not a matter of kernels: callers drop nulls first
    Cost    about 0.5 s for the first call on a machine, some milliseconds in later processes

    A folder that cannot be written to (a read-only install) only costs the cache, not the kernel.
    """
    try:
        return cast("_F", numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # "cannot cache function: no locator available"
        return cast("_F", numba.njit(nogil=True)(function))


def frozen(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A read-only view: Numba compiles once more for every mixture of read-only and writable arguments."""
    if array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array


class _Listener(event.Listener):  # type: ignore[misc]
    def __init__(self, on_kernel: Callable[[str], None]) -> None:
        self._on_kernel = on_kernel

    def on_start(self, event: Any) -> None:
        self._on_kernel(event.data["dispatcher"].py_func.__name__)

    def on_end(self, event: Any) -> None:
        pass


@contextmanager
def compilations(on_kernel: Callable[[str], None]) -> Iterator[None]:
    """Call `on_kernel` with the name of each kernel that has to be compiled, not those found in the cache."""
    listener = _Listener(on_kernel)
    event.register("numba:compile", listener)
    try:
        yield
    finally:
        event.unregister("numba:compile", listener)
