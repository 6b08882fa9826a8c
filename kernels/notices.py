"""Who wants to know when a kernel has to be compiled. Importing this loads no compiler."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_listeners: list[Callable[[str], None]] = []


@contextmanager
def compilations(on_kernel: Callable[[str], None]) -> Iterator[None]:
    """Call `on_kernel` with the name of each kernel that has to be compiled, not those found in the cache.

    It is called on the thread that compiles, before that takes its half second.
    """
    _listeners.append(on_kernel)
    try:
        yield
    finally:
        _listeners.remove(on_kernel)


def tell(kernel: str) -> None:
    """Tell everyone who listens."""
    for listener in tuple(_listeners):
        listener(kernel)
