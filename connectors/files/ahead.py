"""Work done on several threads, whose results come in order."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

WAITING_BYTES_MAX = 512 << 20
"""Of items that are worked on, or whose results wait for others; one item always fits."""


def in_order(
    work: Callable[[_Item], _Result],
    items: Iterable[_Item],
    *,
    size: Callable[[_Item], int],
    threads: int,
) -> Iterator[_Result]:
    """The results of `work` for each item, in the order of the items.

    Items are taken on the caller's thread. With one thread that one works, when a result is asked for; with
    several, items are taken ahead: one for each thread, and one more.

    Parameters
    ----------
    work
        Called on any thread, and for several items at once.
    size
        About how many bytes an item holds.
    threads
        How many may work.
    """
    if threads == 1:
        yield from map(work, items)
        return
    waiting: deque[tuple[Future[_Result], int]] = deque()
    waiting_bytes = 0
    pool = ThreadPoolExecutor(threads, thread_name_prefix="arrowstream-encode")
    try:
        for item in items:
            waiting.append((pool.submit(work, item), size(item)))
            waiting_bytes += waiting[-1][1]
            while waiting and (
                waiting[0][0].done() or len(waiting) > threads or waiting_bytes > WAITING_BYTES_MAX
            ):
                future, item_bytes = waiting.popleft()
                waiting_bytes -= item_bytes
                yield future.result()
        while waiting:
            yield waiting.popleft()[0].result()
    finally:
        # Also where the caller has stopped early: no thread outlives this.
        pool.shutdown(cancel_futures=True)
