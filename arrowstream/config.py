"""Settings of a run, and the names and sizes that the whole engine agrees on."""

from __future__ import annotations

CLOCK = "__arrowstream_clock"
"""Hidden Int64 column: the largest event time before this row in its partition (lateness given only)."""

PARTITION = "__arrowstream_partition"
"""Hidden UInt32 column: index of the row's partition (several partitions only)."""

HIDDEN = (CLOCK, PARTITION)

NO_TIME = -(2**63)
"""Watermark before anything is known: minus infinity."""

END_OF_TIME = 2**63 - 1
"""Watermark after the last row: plus infinity."""
