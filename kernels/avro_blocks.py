"""Where the blocks of an Avro object container file are."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrowstream.kernels.avro_decode import BROKEN, DONE, EMPTY_ITEMS_MAX
from arrowstream.kernels.avro_values import VARINT_BYTES_MAX, varint
from arrowstream.kernels.compile import kernel
from arrowstream.kernels.memory import load_word

BLOCK_PADDING_BYTES = 32
"""So many bytes behind the data in which blocks are looked for can be read."""


@kernel
def find_blocks(
    data: Any, size: Any, begin: Any, sync: Any, least_bytes: Any, segments: Any, found: Any
) -> int:
    """Find the blocks of an object container file that lie whole in `data` from `begin` on.

    Shape   data: uint8[size + BLOCK_PADDING_BYTES or more]; sync: uint64[2]; segments: int64[n * 3], written:
            where the content of each block begins and ends in `data`, and its number of records (each has
            `least_bytes` or more; below 0: not known); found:
            int64[3], written: number of blocks, where the next one begins, its bytes (0: not known yet)
    Raises  nothing; returns DONE (needs more data, or room in `segments`) or BROKEN (what begins there is no
            block: no numbers, more records than bytes, or no marker behind it)
    Cost    O(blocks)
    """
    base = np.int64(data.ctypes.data)
    at = begin
    count = 0
    found[2] = 0
    status = DONE
    while 3 * count < segments.size and at < size:
        records, p = varint(base + at)
        if p - base >= size or (p < 0 and size - at < VARINT_BYTES_MAX):
            break
        if p < 0 or records < 0:
            status = BROKEN
            break
        left = base + size - p
        block_bytes, p = varint(p)
        if p - base > size or (p < 0 and left < VARINT_BYTES_MAX):
            break
        if p < 0 or block_bytes < 0:
            status = BROKEN
            break
        content = p - base
        found[2] = content - at + block_bytes + 16 if block_bytes < 2**62 else np.int64(2**62)
        most = np.int64(2**62)  # compressed: it is not known yet how many bytes there are
        if least_bytes > 0:
            most = block_bytes // least_bytes
        elif least_bytes == 0:
            most = np.int64(EMPTY_ITEMS_MAX)
        if records > most:
            status = BROKEN
            break
        if found[2] > size - at:
            break
        end = content + block_bytes
        if load_word(np.uint64(base + end)) != sync[0] or load_word(np.uint64(base + end + 8)) != sync[1]:
            status = BROKEN
            break
        segments[3 * count] = content
        segments[3 * count + 1] = end
        segments[3 * count + 2] = records
        found[2] = 0
        count += 1
        at = end + 16
    found[0] = count
    found[1] = at
    return status
