"""Reads Parquet and IPC files part by part, and knows from their footers which event times are to come."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, cast

from arrowstream.config import END_OF_TIME
from arrowstream.connectors.files.stream_reader import StreamReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from arrowstream.types import Position


class FileLows(NamedTuple):
    """Rows of each part of a file, and their smallest event time (None: not known).

    A file without parts has no rows that could come, such as one whose footer is damaged.
    """

    part_rows: Sequence[int]
    minimums: Sequence[int | None]


class Lows:
    """The smallest event time from any row on.

    Parameters
    ----------
    files
        All files of a partition, in their order.
    """

    def __init__(self, files: Sequence[FileLows]) -> None:
        self._starts = [0, *accumulate(sum(file.part_rows) for file in files)]
        self._part_starts = [[0, *accumulate(file.part_rows)] for file in files]
        parts = [part for file in files for part in zip(file.part_rows, file.minimums, strict=True)]
        self._ends = list(accumulate(rows for rows, _ in parts))
        self._lows: list[int | None] = []
        low: int | None = END_OF_TIME
        for rows, time in reversed(parts):
            if rows:
                low = None if low is None or time is None else min(low, time)
            self._lows.append(low)
        self._lows.reverse()

    def row(self, file: int, part: int, rows: int) -> int:
        """The number of a row among those of all files."""
        if file >= len(self._part_starts):
            return self._starts[-1]
        starts = self._part_starts[file]
        return min(self._starts[file] + starts[min(part, len(starts) - 1)] + rows, self._starts[file + 1])

    def after(self, row: int) -> int | None:
        """The smallest event time from a row on; None if it is not known."""
        index = bisect_right(self._ends, row)
        return END_OF_TIME if index == len(self._ends) else self._lows[index]


class PartReader(StreamReader):
    """A `StreamReader` of a `PartsFormat`.

    Parameters
    ----------
    lows
        Gives, when it is first asked for, what `horizon` needs. None: nothing is known before the end.
    """

    def __init__(self, *args: Any, lows: Callable[[], Lows] | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lows_of = lows

    def horizon(self, position: Position | None, skip: int) -> int | None:
        """The smallest event time after `position` and `skip` slots; None if it is not known.

        A damaged row group is one slot, but counted as if its rows could still come: the time is too small
        then rather than too large.
        """
        file, part, rows = 0, 0, 0
        if position is not None:
            file, resume, taken, _ = cast("tuple[int, list[int] | None, int, int]", position)
            part, rows = resume or (0, 0)
            rows += taken
        if file == len(self._files):
            return END_OF_TIME
        if self._lows is None:
            return None
        return self._lows.after(self._lows.row(file, part, rows) + skip)

    @cached_property
    def _lows(self) -> Lows | None:
        return None if self._lows_of is None else self._lows_of()
