"""Compiles every kernel ahead of its first use, with the argument types the operators use."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from arrowstream.kernels import (
    aggregate,
    avro_blocks,
    avro_decode,
    avro_encode,
    clocks,
    groups,
    json_decode,
    keys,
    views,
)
from arrowstream.kernels.compile import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS_MAX = 5
"""Keys up to two strings and null bits are compiled ahead; wider ones when they are met."""


def _integers(size: int = 1) -> Any:
    return np.zeros(size, dtype=np.int64)


def steps() -> list[tuple[str, Callable[[], object]]]:
    """(name, call that compiles it) of every kernel."""
    group = frozen(np.zeros(1, dtype=np.uint32))
    whole, real = frozen(_integers()), frozen(np.zeros(1))
    known = frozen(np.ones(1, dtype=np.uint8))
    acc, real_acc, known_acc = _integers(), np.zeros(1), np.zeros(1, dtype=np.uint8)
    extremes: list[tuple[str, Callable[[], object]]] = [
        ("count", lambda: aggregate.count(group, acc)),
        ("mark", lambda: aggregate.mark(group, known_acc)),
        ("sum_int", lambda: aggregate.sum_int(group, whole, acc)),
        ("sum_float", lambda: aggregate.sum_float(group, real, real_acc, real_acc)),
        ("merge_sum_float", lambda: aggregate.merge_sum_float(group, real, real, real_acc, real_acc)),
        ("min_int", lambda: aggregate.min_int(group, whole, acc)),
        ("max_int", lambda: aggregate.max_int(group, whole, acc)),
        (
            "summarize_int",
            lambda: aggregate.summarize_int(group, whole, acc, acc, acc, acc, True, True, True, True),  # noqa: FBT003
        ),
        ("min_float", lambda: aggregate.min_float(group, real, real_acc)),
        ("max_float", lambda: aggregate.max_float(group, real, real_acc)),
        ("variance", lambda: aggregate.variance(group, real, real_acc, real_acc, real_acc)),
        (
            "merge_variance",
            lambda: aggregate.merge_variance(group, real, real, real, real_acc, real_acc, real_acc),
        ),
        ("first", lambda: aggregate.first(group, whole, whole, whole, known, acc, acc, acc, known_acc)),
        ("last", lambda: aggregate.last(group, whole, whole, whole, known, acc, acc, acc, known_acc)),
        ("index_panes", lambda: groups.index_panes(_integers(8), 1, np.zeros(2, dtype=np.uint32))),
        ("intern", _intern),
        ("find_blocks", _find_blocks),
        ("decode", _decode),
        ("decode_lines", _decode_lines),
        ("encode", _encode),
        ("unproven_view", _unproven_view),
        ("write_views", _write_views),
        ("advance", lambda: clocks.advance(whole, frozen(np.zeros(0, dtype=np.uint32)), acc, acc)),
    ]
    return extremes + [(f"assign_{w}", partial(_assign, w)) for w in range(1, WORDS_MAX + 1)]


def _assign(words: int) -> None:
    geometry = frozen(np.array([1, 0, 1, 1, 0, -1], dtype=np.int64))
    counters, panes = _integers(groups.COUNTERS), _integers(groups.PANE_COLUMNS)
    groups.assigner(words)(
        0, 1, frozen(_integers()), frozen(_integers(0)), frozen(_integers(words)),
        frozen(np.zeros(0, dtype=np.uint32)), geometry, counters, panes, np.zeros(4, dtype=np.uint32),
        np.zeros(32, dtype=np.uint32), _integers(words), _integers(), _integers(), 0,
        np.zeros(1, dtype=np.uint32),
    )  # fmt: skip


def _find_blocks() -> None:
    data = np.zeros(avro_blocks.BLOCK_PADDING_BYTES, dtype=np.uint8)
    avro_blocks.find_blocks(data, 0, 0, frozen(np.zeros(2, dtype=np.uint64)), 0, _integers(3), _integers(3))


def _decode() -> None:
    state = _integers(avro_decode.STATES)
    state[avro_decode.PC] = state[avro_decode.SEGMENT] = -1
    one = _integers
    avro_decode.decode(one(0), one(), one(0), one(), one(), one(), one(), one(avro_decode.BAD_COLUMNS), state)


def _decode_lines() -> None:
    one = _integers
    keys_of, state = frozen(np.zeros(1, dtype=np.uint64)), one(json_decode.STATES)
    json_decode.decode(
        one(json_decode.WORDS),
        keys_of,
        0,
        one(),
        one(),
        one(),
        one(),
        one(),
        one(json_decode.BAD_COLUMNS),
        state,
    )


def _encode() -> None:
    out = np.zeros(avro_encode.SLACK_BYTES, dtype=np.uint8)
    avro_encode.encode(_integers(0), 1, _integers(), _integers(), out, _integers(), _integers(2))


def _unproven_view() -> None:
    views.unproven_view(frozen(np.zeros(2, dtype=np.uint64)), _integers(2).reshape(-1, 2), True)  # noqa: FBT003


def _write_views() -> None:
    for width in (np.int32, np.int64):
        offsets = frozen(np.zeros(2, dtype=width))
        views.write_views(offsets, 0, 0, True, np.zeros(2, dtype=np.uint64))  # noqa: FBT003


def _intern() -> None:
    table, arena = _integers(2 * keys.ENTRY_COLUMNS), np.zeros(1, dtype=np.uint8)
    keys.intern(0, _integers(2), 2, 0, frozen(np.zeros(1, dtype=np.uint64)), table, arena, _integers(3))
    keys.rehash(table, _integers(4 * keys.ENTRY_COLUMNS))
    keys.key_groups(frozen(_integers(2)), 2, frozen(_integers(0)), frozen(arena), np.zeros(1, dtype=np.uint8))


def warmup(on_step: Callable[[str, int, int], None] | None = None) -> int:
    """Compile all kernels, or load them from the cache; returns how many there are.

    `on_step(name, done, total)` is called before each.
    """
    todo = steps()
    for done, (name, compile_it) in enumerate(todo):
        if on_step is not None:
            on_step(name, done, len(todo))
        compile_it()
    return len(todo)
