"""Which group each row belongs to: window assignment, late check and hash lookup in one pass.

Event time is nearly sorted, so few panes are open at once, and each has a hash index of its own that stays
in the core's cache. A pane's index holds positions in one dense log of groups (keys, pane, first row) in the
order of their first rows: growing rehashes the index only, and the first-row order costs nothing.

All arrays are flat, so that `words` (the number of 64-bit words of a key) is a constant of the compiled code.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from arrowstream.config import PARTITION_SHIFT
from arrowstream.kernels.compile import kernel
from arrowstream.kernels.memory import prefetch

if TYPE_CHECKING:
    from collections.abc import Callable

LATE = np.uint32(0xFFFF_FFFF)
"""Group of a row that is late for all its windows."""
PARTLY_LATE = np.uint32(0xFFFF_FFFE)
"""Group of a row that is late for some of its windows: the caller takes it through the exact path."""
NO_WINDOW = np.uint32(0xFFFF_FFFD)
"""Group of a row in the gap between two windows (period shorter than every)."""
SPECIAL = np.uint32(0xFFFF_FFFD)
"""Every value from here on is one of the above, not a group."""

# Slots of the `counters` array: what the kernel carries from call to call.
GROUPS, POOL_USED, PANES, LATE_ROWS, MISSED_WINDOWS, LATENESS_NEEDED, RESUME_ROW, BROKEN_PROMISES = range(8)
COUNTERS = 8

# Columns of the `panes` table, one row an open pane.
PANE_START, PANE_PARTITION, PANE_OFFSET, PANE_BITS, PANE_GROUPS, PANE_FIRST, PANE_LAST = range(7)
PANE_COLUMNS = 7

DONE, NEEDS_POOL, NEEDS_PANES = range(3)
"""What `assign` returns: finished, or grow the pool (the panes) and call again from RESUME_ROW."""

SMALLEST_BITS = 4  # an index begins with 16 slots: many tiny windows must stay cheap
LOAD_SHIFT = 1  # an index is rehashed when more than half full: probes stay short

PREFETCH_FROM_BITS = 17
"""An index of so many slots no longer fits the core's own cache: its lines are asked for ahead."""
_LEAP_UNTIL_BITS = 23  # between the two, an index grows fourfold: rehashing it misses the cache
_SLOT_AHEAD = 32  # rows ahead at which the slot of the index is asked for …
_KEY_AHEAD = 16  # … and, the slot being there by then, the stored key

_NO_TIME = np.int64(-(2**63))


@kernel
def _slot(start: Any, partition: Any, mask: Any) -> Any:
    """Where the search for a pane begins in the directory."""
    h = (np.uint64(start) + (np.uint64(partition) << np.uint64(40))) * np.uint64(0x9E3779B97F4A7C15)
    return (h >> np.uint64(32)) & mask


@kernel
def index_panes(panes: Any, count: int, directory: Any) -> None:
    """Enter the first `count` panes into an empty directory."""
    mask = np.uint64(directory.size - 1)
    for k in range(count):
        at = k * PANE_COLUMNS
        slot = _slot(panes[at + PANE_START], panes[at + PANE_PARTITION], mask)
        while directory[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        directory[slot] = k + 1


@kernel
def _hash_of(array: Any, at: Any, words: int) -> Any:
    """Hash of the key of `words` words at `at`; its upper bits are the good ones.

    Not a closure of `assigner`: Numba could not find a kernel that refers to one in its cache again.
    """
    multiplier = np.uint64(0x9E3779B97F4A7C15)
    half = np.uint64(32)
    h = np.uint64(0)
    for j in range(words):
        if j > 0:
            h ^= h >> half
        h = (h ^ np.uint64(array[at + j])) * multiplier
    if words > 1:
        h = (h ^ (h >> half)) * multiplier
    return h


@cache
def assigner(words: int) -> Callable[..., int]:
    """The `assign` kernel for keys of `words` 64-bit words.

    `assign(begin, end, time, clock, keys, partition, geometry, counters, panes, directory, pool,
    group_keys, group_pane, group_first, base_row, groups)`

    Shape   time, clock: int64[n] (clock may be empty: nothing is late); keys: int64[n * words];
            partition: uint32[n] or empty; geometry: int64[6] = pane width, origin, every, period, lateness,
            closed (windows that end at or before it have been emitted); directory: uint32[power of two],
            an open-addressing index over `panes` (int64[capacity * PANE_COLUMNS]); pool: uint32[m];
            group_*: room for `end - begin` more groups; groups: uint32[n], written in [begin, end)
    Unit    times in the unit of the event-time column; windows are [start, end)
    Order   groups are numbered in the order of their first rows
    Null    the caller has removed null times; nulls of keys are a word of the key
    Cost    O(rows); 5 to 10 ns a row while a pane's groups fit into the cache; allocates nothing
    """
    one = np.uint64(1)
    all_bits = np.uint64(64)
    far = np.uint64(64 - PREFETCH_FROM_BITS)

    def assign(
        begin: int,
        end: int,
        time: Any,
        clock: Any,
        keys: Any,
        partition: Any,
        geometry: Any,
        counters: Any,
        panes: Any,
        directory: Any,
        pool: Any,
        group_keys: Any,
        group_pane: Any,
        group_first: Any,
        base_row: int,
        groups: Any,
    ) -> int:
        width, origin, every, period = geometry[0], geometry[1], geometry[2], geometry[3]
        lateness, closed = geometry[4], geometry[5]
        has_clock = clock.size > 0
        has_partition = partition.size > 0
        directory_mask = np.uint64(directory.size - 1)
        n_groups = counters[GROUPS]
        pool_address = np.uint64(pool.ctypes.data)
        keys_address = np.uint64(group_keys.ctypes.data)

        low, high = np.int64(0), np.int64(0)  # the pane of the last row; empty at first
        first_end, last_end = np.int64(0), np.int64(0)
        at = np.int64(-1)  # its place in `panes`, times PANE_COLUMNS; -1: not looked up yet
        row_partition = np.int64(0)
        offset, shift, mask = np.uint64(0), np.uint64(0), np.uint64(0)
        limit = np.int64(0)
        pane_groups = np.int64(0)

        for i in range(begin, end):
            t = time[i]
            p = np.int64(partition[i]) if has_partition else np.int64(0)
            if t < low or t >= high or p != row_partition:
                if at >= 0:
                    panes[at + PANE_GROUPS] = pane_groups
                low = (t - origin) // width * width + origin
                high = low + width
                row_partition = p
                last_start = (low - origin) // every * every + origin
                last_end = last_start + period
                if last_end <= low:
                    last_end = _NO_TIME  # in the gap between two windows
                first_end = last_end - (last_end - low - 1) // every * every
                at = np.int64(-1)
            if last_end == _NO_TIME:
                groups[i] = NO_WINDOW
                continue
            if has_clock:
                seen = clock[i]
                if seen != _NO_TIME and first_end <= seen - lateness:
                    needed = seen - first_end + 1
                    counters[LATENESS_NEEDED] = max(counters[LATENESS_NEEDED], needed)
                    if last_end <= seen - lateness:
                        groups[i] = LATE
                        counters[LATE_ROWS] += 1
                    else:
                        groups[i] = PARTLY_LATE
                        counters[MISSED_WINDOWS] += (seen - lateness - first_end) // every + 1
                    continue
            elif first_end <= closed:
                groups[i] = LATE
                counters[BROKEN_PROMISES] += 1
                continue
            if at < 0:
                slot = _slot(low, p, directory_mask)
                while True:
                    entry = directory[slot]
                    if entry == 0:
                        break
                    at = np.int64(entry - 1) * PANE_COLUMNS
                    if panes[at + PANE_START] == low and panes[at + PANE_PARTITION] == p:
                        break
                    at = np.int64(-1)
                    slot = (slot + one) & directory_mask
                if at < 0:
                    n_panes = counters[PANES]
                    if (n_panes + 1) * PANE_COLUMNS > panes.size or 2 * (n_panes + 1) > directory.size:
                        counters[GROUPS] = n_groups
                        counters[RESUME_ROW] = i
                        return NEEDS_PANES
                    bits = np.int64(SMALLEST_BITS)
                    if n_panes > 0:  # the pane before tells how many groups to expect
                        expected = panes[(n_panes - 1) * PANE_COLUMNS + PANE_GROUPS]
                        while (np.int64(1) << (bits - LOAD_SHIFT)) < expected:
                            bits += 1
                    used = counters[POOL_USED]
                    if used + (np.int64(1) << bits) > pool.size:
                        counters[GROUPS] = n_groups
                        counters[RESUME_ROW] = i
                        return NEEDS_POOL
                    for s in range(used, used + (np.int64(1) << bits)):
                        pool[s] = 0
                    at = n_panes * PANE_COLUMNS
                    panes[at + PANE_START] = low
                    panes[at + PANE_PARTITION] = p
                    panes[at + PANE_OFFSET] = used
                    panes[at + PANE_BITS] = bits
                    panes[at + PANE_GROUPS] = 0
                    panes[at + PANE_FIRST] = n_groups
                    panes[at + PANE_LAST] = n_groups
                    counters[POOL_USED] = used + (np.int64(1) << bits)
                    counters[PANES] = n_panes + 1
                    directory[slot] = n_panes + 1
                pane_groups = panes[at + PANE_GROUPS]
                offset = np.uint64(panes[at + PANE_OFFSET])
                bits = panes[at + PANE_BITS]
                shift = all_bits - np.uint64(bits)
                mask = (one << np.uint64(bits)) - one
                limit = np.int64(1) << (bits - LOAD_SHIFT)

            if shift <= far and i + _SLOT_AHEAD < end:
                # Guesses that those rows are of this pane; a wrong guess costs only the line.
                slot = offset + (_hash_of(keys, (i + _SLOT_AHEAD) * words, words) >> shift)
                prefetch(pool_address + (slot << np.uint64(2)))
                entry = pool[offset + (_hash_of(keys, (i + _KEY_AHEAD) * words, words) >> shift)]
                prefetch(keys_address + np.uint64(entry) * np.uint64(8 * words))
            h = _hash_of(keys, i * words, words)
            position = h >> shift
            while True:
                entry = pool[offset + position]
                if entry == 0:
                    break
                g = np.int64(entry) - 1
                same = True
                for j in range(words):
                    if group_keys[g * words + j] != keys[i * words + j]:
                        same = False
                if same:
                    break
                position = (position + one) & mask
            if entry != 0:
                groups[i] = entry - 1
                continue

            if pane_groups >= limit:  # rehash into a larger index
                bits = panes[at + PANE_BITS]
                bits += 2 if PREFETCH_FROM_BITS <= bits < _LEAP_UNTIL_BITS else 1
                used = counters[POOL_USED]
                if used + (np.int64(1) << bits) > pool.size:
                    panes[at + PANE_GROUPS] = pane_groups
                    counters[GROUPS] = n_groups
                    counters[RESUME_ROW] = i
                    return NEEDS_POOL
                for s in range(used, used + (np.int64(1) << bits)):
                    pool[s] = 0
                old_offset, old_size = offset, mask + one
                offset = np.uint64(used)
                shift = all_bits - np.uint64(bits)
                mask = (one << np.uint64(bits)) - one
                limit = np.int64(1) << (bits - LOAD_SHIFT)
                for s in range(old_size):
                    if shift <= far and s + _SLOT_AHEAD < old_size:
                        entry = pool[old_offset + np.uint64(s + _SLOT_AHEAD)]
                        prefetch(keys_address + np.uint64(entry) * np.uint64(8 * words))
                    entry = pool[old_offset + np.uint64(s)]
                    if entry == 0:
                        continue
                    g = np.int64(entry) - 1
                    position = _hash_of(group_keys, g * words, words) >> shift
                    while pool[offset + position] != 0:
                        position = (position + one) & mask
                    pool[offset + position] = entry
                panes[at + PANE_OFFSET] = used
                panes[at + PANE_BITS] = bits
                counters[POOL_USED] = used + (np.int64(1) << bits)
                position = h >> shift
                while pool[offset + position] != 0:
                    position = (position + one) & mask

            pool[offset + position] = n_groups + 1
            for j in range(words):
                group_keys[n_groups * words + j] = keys[i * words + j]
            group_pane[n_groups] = low
            group_first[n_groups] = (p << PARTITION_SHIFT) + base_row + i
            groups[i] = n_groups
            panes[at + PANE_LAST] = n_groups
            pane_groups += 1
            n_groups += 1

        if at >= 0:
            panes[at + PANE_GROUPS] = pane_groups
        counters[GROUPS] = n_groups
        counters[RESUME_ROW] = end
        return DONE

    return kernel(assign)
