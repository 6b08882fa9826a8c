"""How every kernel is compiled: without the GIL, cached on disk where that can be written to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba
from numba.core import event

from arrowstream.kernels import notices

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

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


class _Notices(event.Listener):
    """Passes on what Numba says of compilations; what it finds in its cache it does not mention."""

    def on_start(self, event: Any) -> None:
        notices.tell(event.data["dispatcher"].py_func.__name__)

    def on_end(self, event: Any) -> None:
        pass


event.register("numba:compile", _Notices())  # type: ignore[no-untyped-call]
