"""Running maxima of the event time: one clock per partition."""

from __future__ import annotations

from typing import Any

from arrowstream.kernels.compile import kernel


@kernel
def advance(times: Any, partitions: Any, maxima: Any, before: Any) -> None:
    """For each row the largest time of the rows before it in its partition.

    Shape   times, before: int64[n]; partitions: uint32[n], or empty (all in 0); maxima: int64[partitions]
    Unit    any; smallest int64: nothing came before
    Order   input order kept
    Cost    O(n) time, no allocation; `maxima` and `before` are written
    """
    if partitions.size == 0:
        highest = maxima[0]
        for i in range(times.size):
            before[i] = highest
            highest = max(highest, times[i])
        maxima[0] = highest
        return
    for i in range(times.size):
        partition = partitions[i]
        before[i] = maxima[partition]
        maxima[partition] = max(maxima[partition], times[i])
