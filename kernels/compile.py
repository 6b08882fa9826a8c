"""How every kernel is compiled: without the GIL, cached on disk where that can be written to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

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
