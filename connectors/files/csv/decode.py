"""A piece of a CSV file to rows: PyArrow parses it as a whole, and what is bad in it is singled out.

PyArrow reads columns as their types as long as all of their values are; a column in which it met a bad one is
read as text from then on, and converted with a mark at each bad value. Both ways accept the same texts, and
so what a record becomes does not depend on its neighbours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pc

from arrowstream.connectors.files.csv.quotes import scan
from arrowstream.connectors.files.lines import Records, all_but, shown, with_errors
from arrowstream.connectors.files.streams import Block
from arrowstream.connectors.files.text import FALSE, TRUE, arrow_type, converted, decoded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from arrowstream.connectors.files.csv.quotes import Quoting
    from arrowstream.connectors.files.lines import Cut
    from arrowstream.types import OnError

LONE_RETURN = "a carriage return without a line feed, outside quotes"

_COLUMN = re.compile(r"In CSV column #(\d+)")
_MISSHAPEN = "CSV parse error"
_NO_ROWS = "Empty CSV file"
_BINARY = pa.binary()
_CHUNK_BYTES_MIN = 1 << 16
_NEWLINE, _RETURN = 10, 13
_NO_SLOTS = np.zeros(0, np.int64)
_PAIRS_AT_ONCE = 1 << 17


@dataclass(frozen=True, slots=True)
class Dialect:
    """How fields are told apart, and which texts are null."""

    separator: str = ","
    quote: str | None = '"'
    comment: bytes | None = None
    nulls: tuple[str, ...] = ()
    column_nulls: Mapping[str, str] = field(default_factory=dict)
    empty_is_null: bool = True
    lossy: bool = False
    ragged: bool = False
    decimal_comma: bool = False
    eol: str = "\n"

    @property
    def swap(self) -> bytes | None:
        """A table that gives the end of lines and the newline each other's place."""
        table = bytearray(range(256))
        table[10], table[ord(self.eol)] = ord(self.eol), 10
        return None if self.eol == "\n" else bytes(table)

    def plain(self, text: pl.Series) -> pl.Series:
        """Null where the text stands for it, as far as PyArrow has not seen to it."""
        nulls = [self.column_nulls[text.name]] if text.name in self.column_nulls else []
        if not self.empty_is_null:
            nulls += self.nulls
        if not nulls:
            return text
        values = nulls if text.dtype == pl.String else [null.encode() for null in nulls]
        return text.set(text.is_in(pl.Series(values, dtype=text.dtype).implode()), None)

    def unswapped(self, text: pl.Series) -> pl.Series:
        """Newlines and ends of lines in each other's place again."""
        return text if self.eol == "\n" else text.str.replace_many([self.eol, "\n"], ["\n", self.eol])

    def with_point(self, text: pl.Series) -> pl.Series:
        """Numbers with a comma as numbers with a point; those with a point are none."""
        return text.str.replace_many([",", "."], [".", "?"]) if self.decimal_comma else text


@dataclass(slots=True, eq=False)
class _Part:
    """Rows of some records with the same number of fields.

    `wrong` says what is bad in rows of `frame`, `misshapen` how many fields other records have; both count
    records from 0, `wrong` those without the misshapen ones.
    """

    frame: pl.DataFrame
    wrong: dict[int, str]
    misshapen: dict[int, int]


class CsvDecoder:
    """Makes blocks of the pieces of one file; used by several threads.

    Parameters
    ----------
    dialect
        Of the file.
    schema
        All of its columns.
    columns
        Those to read.
    path, on_error
        For what is bad.
    """

    def __init__(
        self, dialect: Dialect, schema: pl.Schema, columns: Sequence[str], path: str, on_error: OnError
    ) -> None:
        self._dialect = dialect
        self._names = schema.names()
        self._types = {name: schema[name] for name in columns}
        self._path = path
        self._on_error: OnError = on_error
        self._arrow = {name: arrow_type(dtype) for name, dtype in self._types.items()}
        self._as_text = {name for name in columns if self._is_text_always(name)}
        self._integers = {name for name, dtype in self._types.items() if dtype.is_integer()} - self._as_text
        self._collects = False  # misshapen records, since one was met
        stand_in = next(
            sign for sign in b"?_." if sign not in (dialect.separator + (dialect.quote or "")).encode()
        )
        self._image = bytes(range(128)) + bytes([stand_in]) * 128

    def find(self, data: bytes, at_end: bool) -> Quoting:  # noqa: FBT001 - see `cut`
        """Where records end."""
        quote = self._dialect.quote
        return scan(
            data,
            at_end,
            separator=ord(self._dialect.separator),
            quote=None if quote is None else quote.encode(),
        )

    def is_plain(self, data: bytes) -> bool:
        """Without quotes every newline ends a record."""
        quote = self._dialect.quote
        return quote is None or quote.encode() not in data

    def block(self, piece: Cut[Quoting]) -> Block:
        """Rows and dead slots of a piece."""
        rows, slots, records, errors = self._rows(piece)
        if records is not None:
            rows = with_errors(
                rows,
                slots,
                self._unswapped(records),
                errors,
                first_line=piece.line,
                path=self._path,
                on_error=self._on_error,
            )
        return Block(rows, piece.resume)

    def rows(self, piece: Cut[Quoting]) -> pl.DataFrame:
        """The good rows of a piece."""
        rows, slots, records, errors = self._rows(piece)
        return rows if records is None else rows.filter(pl.Series(all_but(len(records), errors)[slots]))

    def _rows(
        self, piece: Cut[Quoting]
    ) -> tuple[pl.DataFrame, np.ndarray[Any, Any], Records | None, dict[int, str]]:
        """Rows and their slots, bad ones among them; records of all slots, if any is bad; what is wrong."""
        data, errors = piece.data, {}
        records = None
        if piece.found.malformed or self._has_comments(data) or _has_lone_return(data):
            records = self._records(piece)
            errors = self._no_records(records, piece.found)
            data = records.take(all_but(len(records), errors)).joined()
        part = self._part(data, self._names)
        if not (errors or part.wrong or part.misshapen):
            return part.frame, _NO_SLOTS, None, {}
        records = self._records(piece) if records is None else records
        slots = np.flatnonzero(all_but(len(records), errors))
        rows, slots = self._with_ragged(part, records, slots, errors)
        return rows, slots, records if errors else None, errors

    def _unswapped(self, records: Records) -> Records:
        swap = self._dialect.swap
        if swap is None:
            return records
        return Records(records.data.translate(swap), records.starts, records.ends, records.lines)

    def _with_ragged(
        self, part: _Part, records: Records, slots: np.ndarray[Any, Any], errors: dict[int, str]
    ) -> tuple[pl.DataFrame, np.ndarray[Any, Any]]:
        """All rows and their slots; what is wrong with records of `slots` is added to `errors`."""
        frames, places = [part.frame], [slots[all_but(len(slots), part.misshapen)]]
        errors.update((int(places[0][row]), error) for row, error in part.wrong.items())
        by_fields: dict[int, list[int]] = {}
        for record, fields in part.misshapen.items():
            slot = int(slots[record])
            if self._dialect.ragged:
                by_fields.setdefault(fields, []).append(slot)
            else:
                errors[slot] = f"{fields} field{'s' * (fields != 1)} instead of {len(self._names)}"
        for fields, found in by_fields.items():
            extra = [
                f"{'_' * max(map(len, self._names))}{index}" for index in range(fields - len(self._names))
            ]
            same = self._part(records.take(np.array(found)).joined(), [*self._names[:fields], *extra])
            frames.append(same.frame)
            places.append(np.array(found))
            errors.update((found[row], error) for row, error in same.wrong.items())
        if len(frames) == 1:
            return frames[0], places[0]
        order = np.argsort(np.concatenate(places))
        return pl.concat(frames)[order], np.concatenate(places)[order]

    def _records(self, piece: Cut[Quoting]) -> Records:
        """Those that are slots: no comments, and empty ones only where they are a null."""
        records = Records.of(piece.data, piece.found.quotes)
        keep = np.ones(len(records), np.bool_)
        if len(self._names) > 1:
            keep &= records.ends > records.starts
        if (comment := self._dialect.comment) is not None and comment in piece.data:
            candidates = np.flatnonzero(
                np.frombuffer(piece.data, np.uint8)[np.minimum(records.starts, len(piece.data) - 1)]
                == comment[0]
            )
            for index in candidates:
                start = int(records.starts[index])
                keep[index] &= not piece.data.startswith(comment, start)
        return records.take(keep)

    def _no_records(self, records: Records, found: Quoting) -> dict[int, str]:
        starts = np.fromiter(found.malformed, np.int64, len(found.malformed))
        places = np.searchsorted(records.starts, starts)
        errors = {
            int(place): error
            for place, start, error in zip(places, starts, found.malformed.values(), strict=True)
            if place < len(records) and records.starts[place] == start
        }
        for index in _with_lone_return(records, found.quotes):
            errors.setdefault(index, LONE_RETURN)
        return errors

    def _has_comments(self, data: bytes) -> bool:
        comment = self._dialect.comment
        return comment is not None and (data.startswith(comment) or b"\n" + comment in data)

    def _part(self, data: bytes, names: Sequence[str]) -> _Part:
        """Parse records that are well formed."""
        as_text = set(self._as_text)  # other threads may add to it meanwhile
        if self._integers - as_text and _has_hexadecimal(data):
            as_text |= self._integers
        text = pa.string() if data.isascii() else _BINARY
        misshapen: dict[int, int] = {}
        collects = self._collects
        while True:
            reading = {
                name: text if name in as_text else self._arrow[name] or text
                for name in self._types
                if name in names
            }
            try:
                table = self._parsed(data, names, reading, misshapen if collects else None)
                break
            except pa.ArrowInvalid as error:
                if (column := _COLUMN.match(str(error))) is not None:
                    self._as_text.add(names[int(column[1])])
                    as_text = as_text | self._as_text
                elif str(error).startswith(_MISSHAPEN) and not collects:
                    self._collects = collects = True
                elif str(error).startswith(_NO_ROWS):
                    return _Part(pl.DataFrame(schema=self._types), {}, misshapen)
                else:
                    raise
        return self._typed(table, as_text, misshapen)

    def _parsed(
        self,
        data: bytes,
        names: Sequence[str],
        reading: Mapping[str, pa.DataType],
        misshapen: dict[int, int] | None,
    ) -> pa.Table:
        """Read records; those with another number of fields are left out and collected, if they may."""
        if misshapen is None:
            return self._read(data, names, reading)
        misshapen.clear()
        if _is_utf8(data):
            return self._read(data, names, reading, misshapen)
        # PyArrow cannot call back about a record that is no text: look for them in an image that is.
        self._read(data.translate(self._image), names, {names[0]: pa.binary()}, misshapen)
        if misshapen:
            records = Records.of(data, self.find(data, at_end=True).quotes)
            records = records.take(records.ends > records.starts) if len(names) > 1 else records
            data = records.take(all_but(len(records), misshapen)).joined()
        return self._read(data, names, reading)

    def _read(
        self,
        data: bytes,
        names: Sequence[str],
        reading: Mapping[str, pa.DataType],
        misshapen: dict[int, int] | None = None,
    ) -> pa.Table:
        def collect(row: pc.InvalidRow) -> str:
            assert misshapen is not None, "else it is not called"
            misshapen[row.number - 1] = row.actual_columns
            return "skip"

        dialect = self._dialect
        return pc.read_csv(
            pa.BufferReader(data),
            # One thread and one chunk: blocks are read side by side, and rows have their numbers.
            read_options=pc.ReadOptions(
                column_names=names, use_threads=False, block_size=max(_CHUNK_BYTES_MIN, len(data) + 1)
            ),
            parse_options=pc.ParseOptions(
                delimiter=dialect.separator,
                quote_char=dialect.quote or False,
                ignore_empty_lines=len(self._names) > 1,
                invalid_row_handler=None if misshapen is None else collect,
            ),
            convert_options=pc.ConvertOptions(
                column_types=reading,
                include_columns=list(reading),
                null_values=["", *dialect.nulls],
                true_values=TRUE,
                false_values=FALSE,
                strings_can_be_null=dialect.empty_is_null,
                quoted_strings_can_be_null=False,
                decimal_point="," if dialect.decimal_comma else ".",
                timestamp_parsers=[pc.ISO8601],
                check_utf8=True,
            ),
        )

    def _typed(self, table: pa.Table, as_text: set[str], misshapen: dict[int, int]) -> _Part:
        """Convert what was read as text, and mark what is none of its type."""
        wrong: dict[int, str] = {}
        columns = []
        frame = pl.DataFrame(table)
        assert frame.columns == table.column_names, "Polars keeps the names"
        for name, dtype in self._types.items():
            if name not in frame.columns:  # a record with too few fields
                columns.append(pl.Series(name, [None], dtype).new_from_index(0, frame.height))
                continue
            column = frame.get_column(name)
            if name in as_text:
                text, no_text = self._decoded(self._dialect.plain(column))
                if isinstance(dtype, pl.Decimal) or dtype.is_float():
                    text = self._dialect.with_point(text)
                values, bad = converted(text, dtype, empty_is_null=True)
                for row in np.flatnonzero(no_text).tolist():
                    wrong.setdefault(row, f"column '{name}' is no UTF-8")
                told = f" in column '{name}' is no {dtype}"
                texts = text.filter(pl.Series(bad)).to_list() if bad.any() else []
                for row, value in zip(np.flatnonzero(bad).tolist(), texts, strict=True):
                    wrong.setdefault(row, shown(value) + told)
                column = values
            elif isinstance(dtype, pl.String) and not self._dialect.empty_is_null:
                column = self._dialect.plain(column)
            if isinstance(dtype, pl.String):
                column = self._dialect.unswapped(column)
            columns.append(column.alias(name))
        return _Part(pl.DataFrame(columns), wrong, misshapen)

    def _decoded(self, column: pl.Series) -> tuple[pl.Series, np.ndarray[Any, Any]]:
        """Text, and which bytes are none; something in their place if the file may have such: few are."""
        if column.dtype == pl.String:
            return column, np.zeros(len(column), np.bool_)
        text, bad = decoded(column)
        if self._dialect.lossy and bad.any():
            places = np.flatnonzero(bad).tolist()
            text = text.scatter(places, [column[place].decode("utf-8", "replace") for place in places])
            bad[:] = False
        return text, bad

    def _is_text_always(self, name: str) -> bool:
        dtype = self._types[name]
        return (
            self._arrow[name] is None
            or name in self._dialect.column_nulls
            or (self._dialect.lossy and isinstance(dtype, pl.String))
        )


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _has_hexadecimal(data: bytes) -> bool:
    """Whether 0x is somewhere: PyArrow would take it for a number."""
    return any(
        bool((half[start : start + _PAIRS_AT_ONCE] == pair).any())
        for letter in b"xX"
        if letter in data
        for pair in (ord("0") | letter << 8,)
        for half in (
            np.frombuffer(data, "<u2", len(data) // 2),
            np.frombuffer(data, "<u2", (len(data) - 1) // 2, 1),
        )
        for start in range(0, len(half), _PAIRS_AT_ONCE)
    )


def _has_lone_return(data: bytes) -> bool:
    if b"\r" not in data:
        return False
    array = np.frombuffer(data, np.uint8)
    places = np.flatnonzero(array == _RETURN) + 1
    inner = places[places < len(array)]
    return bool((array[inner] != _NEWLINE).any())


def _with_lone_return(records: Records, quotes: np.ndarray[Any, Any] | None) -> list[int]:
    """Records that PyArrow would take for two."""
    array = np.frombuffer(records.data, np.uint8)
    places = np.flatnonzero(array == _RETURN)
    follows = array[np.minimum(places + 1, len(array) - 1)] == _NEWLINE
    places = places[~follows & (places + 1 < len(array))]
    if quotes is not None:
        places = places[np.searchsorted(quotes, places) % 2 == 0]
    found = np.searchsorted(records.starts, places, side="right") - 1
    inside = found[(found >= 0) & (places < records.ends[found])] if len(records) else found[:0]
    return [int(index) for index in np.unique(inside)]
