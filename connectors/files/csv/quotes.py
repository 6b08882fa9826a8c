"""Where records end when fields are quoted, and which lines are no records.

A quote opens a field at its beginning only; elsewhere in a field without quotes it is a character like any
other. In a quoted field two quotes are one, and the closing quote is the end of the field. A record that
breaks this rule, or that is not closed at the end of the file, costs its first line alone: what follows may
well be fine.

All of it is computed from the positions of the quotes. Where every other one opens a field there is nothing
to decide; else the few places where that is not so are visited one by one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from arrowstream.connectors.files.lines import RECORD_BYTES_MAX

if TYPE_CHECKING:
    from arrowstream.connectors.files.lines import Records

GOES_ON = "a quoted field goes on behind its closing quote"
NOT_CLOSED = "a quoted field is not closed"

_NEWLINE, _RETURN = 10, 13
_WORD_BITS, _WORD_SHIFT = 64, 6


@dataclass(frozen=True, slots=True)
class Quoting:
    """What the quotes in some bytes make of them.

    Attributes
    ----------
    end
        Behind the last whole record.
    quotes
        Positions of those that open a field, close it, or stand double in it: every other one opens. None
        if there is none.
    malformed
        First byte of each line that is no record, and why.
    """

    end: int
    quotes: np.ndarray[Any, Any] | None = None
    malformed: dict[int, str] = field(default_factory=dict)


def scan(data: bytes, at_end: bool, *, separator: int, quote: bytes | None) -> Quoting:  # noqa: FBT001 - see `cut`
    """Look for the quotes of some bytes, which begin where a record does.

    Cost    one pass if there are no quotes
    """
    if quote is None or quote not in data:
        return Quoting(len(data) if at_end else data.rfind(b"\n") + 1)
    array = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(array == quote[0])
    if _alternate(array, quotes, separator) and (end := _even_end(data, quotes, at_end=at_end)) is not None:
        return Quoting(end, quotes[: np.searchsorted(quotes, end)] if end < len(data) else quotes)
    return _Scan(data, at_end, separator, quotes).run()


def _alternate(array: np.ndarray[Any, Any], quotes: np.ndarray[Any, Any], separator: int) -> bool:
    """Whether every other quote opens and the others close a field, which is nearly always so."""
    opening, closing = quotes[::2], quotes[1::2]
    before = array[opening - 1]
    opens = (before == separator) | (before == _NEWLINE)
    opens[0] |= opening[0] == 0
    after = array[np.minimum(closing + 1, len(array) - 1)]
    closes = (after == separator) | (after == _NEWLINE)
    if not closes.all():
        behind = array[np.minimum(closing + 2, len(array) - 1)]
        closes |= (after == _RETURN) & (behind == _NEWLINE)
    doubled = opening[1:] - closing[: len(opening) - 1] == 1
    opens[1:] |= doubled
    closes[: len(doubled)] |= doubled
    if len(quotes) % 2 == 0:
        closes[-1] |= closing[-1] == len(array) - 1
    return bool(opens.all()) and bool(closes.all())


def _even_end(data: bytes, quotes: np.ndarray[Any, Any], *, at_end: bool) -> int | None:
    """Behind the last whole record if the quotes alternate; None if that takes a closer look."""
    if at_end:
        return len(data) if len(quotes) % 2 == 0 else None
    end = data.rfind(b"\n") + 1
    return end if np.searchsorted(quotes, end) % 2 == 0 else None


def field_counts(
    records: Records, quotes: np.ndarray[Any, Any] | None, separator: int
) -> np.ndarray[Any, Any]:
    """How many fields each record has: separators in quotes are none.

    Shape   quotes: int64[..], every other one opens; returns int64[n]
    """
    separators = _Marks.of(records.data, separator)
    counts: np.ndarray[Any, Any] = separators.between(records.starts, records.ends) + 1
    if quotes is not None:
        opening, closing = quotes[: len(quotes) // 2 * 2 : 2], quotes[1::2]
        inside = np.append(0, np.cumsum(separators.between(opening, closing)))
        first, last = (np.searchsorted(opening, places) for places in (records.starts, records.ends))
        counts -= inside[last] - inside[first]
    return counts


@dataclass(frozen=True, slots=True, eq=False)
class _Marks:
    """Where one byte is: a bit for each place, and how many there are before each 64 of them."""

    bits: np.ndarray[Any, Any]
    before: np.ndarray[Any, Any]

    @classmethod
    def of(cls, data: bytes, byte: int) -> _Marks:
        packed = np.packbits(np.frombuffer(data, np.uint8) == byte, bitorder="little")
        bits = np.zeros(len(data) // _WORD_BITS + 1, np.uint64)  # the end of the data is a place, too
        bits.view(np.uint8)[: len(packed)] = packed
        before = np.zeros(len(bits), np.int64)
        np.cumsum(np.bitwise_count(bits[:-1]), out=before[1:])
        return cls(bits, before)

    def between(self, starts: np.ndarray[Any, Any], ends: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """How many are in each span."""
        counts: np.ndarray[Any, Any] = self._until(ends) - self._until(starts)
        return counts

    def _until(self, places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        words = places >> _WORD_SHIFT
        lower = (np.uint64(1) << (places.view(np.uint64) & np.uint64(_WORD_BITS - 1))) - np.uint64(1)
        counts: np.ndarray[Any, Any] = self.before[words] + np.bitwise_count(self.bits[words] & lower)
        return counts


class _Scan:
    """The walk over the quotes. Runs of quotes in which every other one opens are kept as they are."""

    def __init__(
        self,
        data: bytes,
        at_end: bool,  # noqa: FBT001 - see `cut`
        separator: int,
        quotes: np.ndarray[Any, Any],
    ) -> None:
        self._data = data
        self._at_end = at_end
        self._quotes = quotes
        array = np.frombuffer(data, np.uint8)
        before = array[quotes - 1]
        opens = (before == separator) | (before == _NEWLINE)
        opens[0] |= quotes[0] == 0
        after = array[np.minimum(quotes + 1, len(array) - 1)]
        closes = (after == separator) | (after == _NEWLINE)
        if b"\r" in data:
            behind = array[np.minimum(quotes + 2, len(array) - 1)]
            closes |= (after == _RETURN) & ((behind == _NEWLINE) | (quotes + 2 >= len(array)))
        closes[-1] |= quotes[-1] == len(array) - 1
        self._doubled = np.zeros(len(quotes) + 1, np.bool_)  # with the quote before it
        np.equal(quotes[1:] - quotes[:-1], 1, out=self._doubled[1:-1])
        self._no_opening = ~(opens | self._doubled[:-1])
        self._no_closing = ~(closes | self._doubled[1:])
        self._first = 0  # quote of the run that is being walked
        self._floor = 0  # nothing before this byte is looked at again
        self._runs: list[tuple[int, int]] = []
        self._malformed: dict[int, str] = {}

    def run(self) -> Quoting:
        """Walk to the end."""
        broken = [self._broken(0), self._broken(1)]
        while True:
            places = broken[self._first % 2]
            found = int(np.searchsorted(places, self._first))
            wrong = int(places[found]) if found < len(places) else len(self._quotes)
            if wrong < len(self._quotes) and (wrong - self._first) % 2 == 0:
                self._literal(wrong)
            elif wrong < len(self._quotes):
                if not self._drop_line(wrong - 1, GOES_ON):
                    return self._result(self._floor)
            elif (wrong - self._first) % 2 == 0:
                return self._result(self._last_end())
            elif not self._unclosed(wrong - 1):
                return self._result(self._floor)

    def _broken(self, parity: int) -> np.ndarray[Any, Any]:
        """Quotes that do not do what they should, if those of this parity open."""
        wrong = self._no_closing.copy()
        wrong[parity::2] = self._no_opening[parity::2]
        return np.flatnonzero(wrong)

    def _literal(self, index: int) -> None:
        """Characters of a field without quotes."""
        self._runs.append((self._first, index))
        index += 1
        while self._doubled[index]:
            index += 1
        self._first = index

    def _unclosed(self, index: int) -> bool:
        """The quote opens a field that does not end: whether the scan goes on behind its first line."""
        start = self._record_start(self._opening(index))
        if self._at_end or len(self._data) - start > RECORD_BYTES_MAX:
            return self._drop_line(index, NOT_CLOSED)
        self._keep_until(start)
        self._floor = start
        return False

    def _drop_line(self, index: int, error: str) -> bool:
        """Take out the first line of the record with this quote; False if it does not end yet."""
        start = self._record_start(self._opening(index))
        self._keep_until(start)
        self._floor = start
        newline = self._data.find(b"\n", start)
        if newline < 0 and not self._at_end:
            return False
        self._malformed[start] = error
        self._floor = newline + 1 if newline >= 0 else len(self._data)
        self._first = bisect_left(self._quotes, self._floor)
        return True

    def _opening(self, index: int) -> int:
        """The quote that opens the field in which this one, of the current run, opens a part."""
        while index - 2 >= self._first and self._doubled[index]:
            index -= 2
        return index

    def _record_start(self, index: int) -> int:
        """Of the record in which this quote opens a field."""
        place = int(self._quotes[index])
        while (newline := self._data.rfind(b"\n", self._floor, place)) >= 0:
            before = bisect_left(self._quotes, newline) - 1
            if not self._is_open_behind(before):
                return newline + 1
            place = int(self._quotes[before])
        return self._floor

    def _is_open_behind(self, index: int) -> bool:
        if index >= self._first:
            return (index - self._first) % 2 == 0
        run = bisect_right(self._runs, (index, len(self._quotes))) - 1
        if run < 0:
            return False
        first, end = self._runs[run]
        return index < end and (index - first) % 2 == 0

    def _keep_until(self, start: int) -> None:
        """End the current run before a byte; earlier ones may reach behind it no more."""
        end = bisect_left(self._quotes, start)
        if end > self._first:
            self._runs.append((self._first, end))
        while self._runs and self._runs[-1][0] >= end:
            self._runs.pop()
        if self._runs:
            first, last = self._runs[-1]
            self._runs[-1] = (first, min(last, end))
        self._first = end

    def _last_end(self) -> int:
        if self._at_end:
            return len(self._data)
        place = len(self._data)
        while (newline := self._data.rfind(b"\n", self._floor, place)) >= 0:
            before = bisect_left(self._quotes, newline) - 1
            if not self._is_open_behind(before):
                return newline + 1
            place = int(self._quotes[before])
        return self._floor

    def _result(self, end: int) -> Quoting:
        self._runs.append((self._first, len(self._quotes)))
        if self._runs == [(0, len(self._quotes))]:
            kept = self._quotes
        else:
            kept = np.concatenate([self._quotes[first:last] for first, last in self._runs])
        kept = kept[: np.searchsorted(kept, end)]
        return Quoting(end, kept if len(kept) else None, self._malformed)
