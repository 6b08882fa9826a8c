"""A piece of an NDJSON file to rows, with a compiled decoder; what it leaves aside goes the exact, slow way.

`kernels.json_decode` reads all that is common, and knows most bad lines for certain. Lines that it is not
sure about (rare spellings of values, and types that are converted from text in vain) are handed together to
`ExactDecoder`, and their rows are put in their places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from arrowstream.config import DEAD
from arrowstream.connectors.files.lines import Records, dead_letters, shown
from arrowstream.connectors.files.ndjson.carrier import carried
from arrowstream.connectors.files.ndjson.exact import NO_REASON, ExactDecoder, complaint, records_of, told
from arrowstream.connectors.files.ndjson.tree import BYTES_MAX, Memory, Tree
from arrowstream.connectors.files.streams import Block
from arrowstream.errors import DataError

if TYPE_CHECKING:
    from arrowstream.connectors.files.lines import Cut, Whole
    from arrowstream.types import OnError


class NdjsonDecoder:
    """Makes blocks of the pieces of one file; used by several threads.

    Parameters
    ----------
    schema
        The columns to read.
    path, on_error
        For what is bad.
    """

    def __init__(self, schema: pl.Schema, path: str, on_error: OnError) -> None:
        self._schema = schema
        self._tree = Tree.of(schema)
        self._exact = ExactDecoder(schema)
        self._path = path
        self._on_error: OnError = on_error

    def block(self, piece: Cut[Whole]) -> Block:
        """Rows and dead slots of a piece."""
        frame, left = decoded(self._tree, piece, self._path)
        frame, refused = self._converted(frame)
        if refused.any():
            left = left.with_unsure(records_of(piece.data), np.flatnonzero(refused))
        if not len(left.rows):
            return Block(frame, piece.resume)
        errors, unsure = self._judged(left)
        if unsure:
            frame = self._filled(frame, left, unsure, errors)
        if errors:
            bad = np.array(sorted(errors), np.int64)
            letters = dead_letters(
                left.records.take(bad),
                [errors[index] for index in bad.tolist()],
                first_line=piece.line,
                path=self._path,
                on_error=self._on_error,
            )
            which = pl.Series([None], dtype=pl.UInt32).new_from_index(0, frame.height)
            which = which.scatter(left.rows[bad], np.arange(len(bad), dtype=np.uint32))
            frame = frame.with_columns(letters.gather(which).alias(DEAD))
        return Block(frame, piece.resume)

    def _converted(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, np.ndarray[Any, Any]]:
        """What the kernel has read as its types, and in which rows it cannot be: they are null."""
        wrong = np.zeros(frame.height, np.bool_)
        if frame.schema == self._schema:
            return frame, wrong
        columns = []
        for name, dtype in self._schema.items():
            column, refused = carried(frame.get_column(name), dtype)
            columns.append(column.alias(name))
            wrong |= refused
        frame = pl.DataFrame(columns)
        if wrong.any():
            frame = frame.select(pl.when(pl.lit(pl.Series(~wrong))).then(pl.all()))
        return frame, wrong

    def _judged(self, left: Left) -> tuple[dict[int, str], list[int]]:
        """What is wrong with each of the lines, and those about which it is not known."""
        from arrowstream.kernels.json_decode import MISMATCH
        from arrowstream.kernels.json_text import UNSURE

        errors: dict[int, str] = {}
        data = left.records.data
        is_unsure = left.outcomes[:, 0] == UNSURE
        unsure: list[int] = np.flatnonzero(is_unsure).tolist()
        known = np.flatnonzero(~is_unsure)
        endings = [told(name, dtype) for name, dtype in self._schema.items()]
        for index, outcome in zip(known.tolist(), left.outcomes[known].tolist(), strict=True):
            kind, column, begin, end = outcome
            if kind == MISMATCH:
                value = data[begin:end]
                text = value[1:-1] if value.startswith(b'"') else value
                errors[index] = shown(text) + endings[column]
            elif (error := complaint(left.records.at(index))) != NO_REASON:
                errors[index] = error
            else:
                unsure.append(index)
        return errors, sorted(unsure)

    def _filled(
        self, frame: pl.DataFrame, left: Left, unsure: list[int], errors: dict[int, str]
    ) -> pl.DataFrame:
        """With rows of the lines that are looked at again; what is wrong with any is added to `errors`."""
        asked = np.array(unsure, np.int64)
        rows, slots, found = self._exact.rows(left.records.take(asked))
        errors.update((unsure[slot], error) for slot, error in found.items())
        where = np.arange(frame.height)
        is_good = ~np.isin(slots, np.fromiter(found, np.int64, len(found)))
        where[left.rows[asked[slots[is_good]]]] = frame.height + np.flatnonzero(is_good)
        where = where.astype(np.uint32)
        both = pl.concat([frame, rows])
        return both[where]


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """Lines that are not decoded: rows that are null, records, and outcomes of the kernel.

    Shape   rows: int64[n], ascending; outcomes: int64[n, 4]: outcome, column, begin and end of a value
    """

    rows: np.ndarray[Any, Any]
    records: Records
    outcomes: np.ndarray[Any, Any]

    def with_unsure(self, records: Records, rows: np.ndarray[Any, Any]) -> Left:
        """And some more."""
        from arrowstream.kernels.json_text import UNSURE

        all_rows = np.append(self.rows, rows)
        order = np.argsort(all_rows)
        outcomes = np.zeros((len(rows), 4), np.int64)
        outcomes[:, 0] = UNSURE
        more = records.take(rows)
        return Left(
            all_rows[order],
            Records(
                more.data,
                np.append(self.records.starts, more.starts)[order],
                np.append(self.records.ends, more.ends)[order],
                np.append(self.records.lines, more.lines)[order],
            ),
            np.append(self.outcomes, outcomes, axis=0)[order],
        )


def decoded(tree: Tree, piece: Cut[Whole], path: str) -> tuple[pl.DataFrame, Left]:
    """Rows of the lines of a piece, null where they are not decoded.

    Raises
    ------
    DataError
        The items of lists need more than BYTES_MAX.
    """
    from arrowstream.kernels import json_decode as k
    from arrowstream.kernels.json_text import PADDING_BYTES

    data, lines = piece.data, piece.next_line - piece.line + 1
    memory = Memory.of(tree, lines, len(data))
    # The last lines are copied, as there is nothing that could be read behind `data`.
    cut = data.rfind(b"\n", 0, max(len(data) - PADDING_BYTES, 0)) + 1
    rest = data[cut:]
    if not rest.endswith(b"\n"):
        rest += b"\n"
    tail = np.frombuffer(rest + bytes(PADDING_BYTES), np.uint8)
    bad = np.empty(lines * k.BAD_COLUMNS, np.int64)
    table = bad.reshape(-1, k.BAD_COLUMNS)
    state = np.zeros(k.STATES, np.int64)
    stack = np.zeros((tree.depth + 1) * k.STACK_COLUMNS, np.int64)
    saved = np.zeros(memory.rows.size + memory.used.size, np.int64)
    for array, first, size in ((np.frombuffer(data, np.uint8), 0, cut), (tail, cut, len(rest))):
        base, known = array.ctypes.data, int(state[k.BAD_ROWS])
        state[k.POSITION] = base
        while True:
            k.decode(
                memory.words,
                tree.keys,
                base + size,
                stack,
                memory.rows,
                saved,
                memory.capacity,
                memory.used,
                bad,
                state,
            )
            if state[k.STATUS] != k.GROW:
                break
            if not memory.grow(int(state[k.GROW_LEVEL])):
                raise DataError(
                    f"{path}: the lists of line {piece.line + int(state[k.LINE])} and those before it take "
                    f"more than {BYTES_MAX:,} bytes in memory",
                    hint="read fewer columns, or write the file with fewer items a record",
                )
        table[known : state[k.BAD_ROWS], [1, 2, 6, 7]] += first - base
    found = table[: state[k.BAD_ROWS]]
    records = Records(data, found[:, 1], found[:, 2], found[:, 3])
    return memory.frame(), Left(found[:, 0], records, found[:, 4:])
