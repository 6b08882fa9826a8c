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

from arrowstream.connectors.files.csv.quotes import field_counts, scan
from arrowstream.connectors.files.lines import Records, all_but, dead_letters, shown
from arrowstream.connectors.files.streams import Block, with_dead_at
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


class _MisshapenError(Exception):
    """A record has more or fewer fields than the others."""


@dataclass(frozen=True, slots=True, eq=False)
class _Bad:
    """Bad records, which of the slots they are, and what is wrong with each."""

    places: np.ndarray[Any, Any]
    records: Records
    errors: list[str]

    @classmethod
    def of(cls, records: Records, errors: Mapping[int, str]) -> _Bad:
        """Of all records, by their places."""
        places = np.sort(np.fromiter(errors, np.int64, len(errors)))
        return cls(places, records.take(places), [errors[place] for place in places.tolist()])


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
        self._counts = False  # the fields of every record, since one was misshapen

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
        rows, bad = self._rows(piece)
        if bad is not None:
            letters = dead_letters(
                self._unswapped(bad.records),
                bad.errors,
                first_line=piece.line,
                path=self._path,
                on_error=self._on_error,
            )
            rows = with_dead_at(bad.places, rows, letters)
        return Block(rows, piece.resume)

    def rows(self, piece: Cut[Quoting]) -> pl.DataFrame:
        """The good rows of a piece."""
        rows, bad = self._rows(piece)
        return rows if bad is None else rows.filter(pl.Series(all_but(rows.height, bad.places)))

    def _rows(self, piece: Cut[Quoting]) -> tuple[pl.DataFrame, _Bad | None]:
        """One row for each slot, whatever it may be in bad ones; and which are bad, if any is."""
        data = piece.data
        if not (self._counts or piece.found.malformed or self._has_comments(data) or _has_lone_return(data)):
            try:
                rows, errors = self._parsed(data, self._names)
            except _MisshapenError:
                self._counts = True
            else:
                return rows, _Bad.of(self._records(piece), errors) if errors else None
        records = self._records(piece)
        errors = self._no_records(records, piece.found)
        fields = field_counts(records, piece.found.quotes, ord(self._dialect.separator))
        stands_in = fields != len(self._names)
        stands_in[list(errors)] = True
        data = records.joined(stands_in, self._dialect.separator.encode() * (len(self._names) - 1))
        rows, wrong = self._parsed(data, self._names)
        assert rows.height == len(records), "each record is a row"
        misshapen = np.flatnonzero(stands_in & all_but(len(records), errors))
        errors |= wrong
        if self._dialect.ragged:
            rows = self._with_ragged(rows, records, misshapen, fields, errors)
        else:
            told = {
                count: f"{count} field{'s' * (count != 1)} instead of {len(self._names)}"
                for count in np.unique(fields[misshapen]).tolist()
            }
            errors |= zip(
                misshapen.tolist(), (told[count] for count in fields[misshapen].tolist()), strict=True
            )
        return rows, _Bad.of(records, errors) if errors else None

    def _unswapped(self, records: Records) -> Records:
        swap = self._dialect.swap
        if swap is None:
            return records
        return Records(records.data.translate(swap), records.starts, records.ends, records.lines)

    def _with_ragged(
        self,
        rows: pl.DataFrame,
        records: Records,
        misshapen: np.ndarray[Any, Any],
        fields: np.ndarray[Any, Any],
        errors: dict[int, str],
    ) -> pl.DataFrame:
        """The rows, with those of misshapen records in their places; what is wrong goes to `errors`."""
        frames, row_of = [rows], np.arange(len(records))
        for count in np.unique(fields[misshapen]).tolist():
            places = misshapen[fields[misshapen] == count]
            row_of[places] = np.arange(len(places)) + sum(frame.height for frame in frames)
            extra = [
                f"{'_' * max(map(len, self._names))}{index}" for index in range(count - len(self._names))
            ]
            same, wrong = self._parsed(records.take(places).joined(), [*self._names[:count], *extra])
            frames.append(same)
            errors.update((int(places[row]), error) for row, error in wrong.items())
        return rows if len(frames) == 1 else pl.concat(frames)[row_of]

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
        return records if keep.all() else records.take(keep)

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

    def _parsed(self, data: bytes, names: Sequence[str]) -> tuple[pl.DataFrame, dict[int, str]]:
        """Rows of records that are well formed, and what is wrong with some of them.

        Raises
        ------
        _MisshapenError
            One has another number of fields.
        """
        as_text = set(self._as_text)  # other threads may add to it meanwhile
        if self._integers - as_text and _has_hexadecimal(data):
            as_text |= self._integers
        text = pa.string() if data.isascii() else _BINARY
        while True:
            reading = {
                name: text if name in as_text else self._arrow[name] or text
                for name in self._types
                if name in names
            }
            try:
                return self._typed(self._read(data, names, reading), as_text)
            except pa.ArrowInvalid as error:
                if (column := _COLUMN.match(str(error))) is not None:
                    self._as_text.add(names[int(column[1])])
                    as_text = as_text | self._as_text
                elif str(error).startswith(_MISSHAPEN):
                    raise _MisshapenError from error
                elif str(error).startswith(_NO_ROWS):
                    return pl.DataFrame(schema=self._types), {}
                else:
                    raise

    def _read(self, data: bytes, names: Sequence[str], reading: Mapping[str, pa.DataType]) -> pa.Table:
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

    def _typed(self, table: pa.Table, as_text: set[str]) -> tuple[pl.DataFrame, dict[int, str]]:
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
        return pl.DataFrame(columns), wrong

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
    if b"\r" not in records.data:
        return []
    array = np.frombuffer(records.data, np.uint8)
    places = np.flatnonzero(array == _RETURN)
    follows = array[np.minimum(places + 1, len(array) - 1)] == _NEWLINE
    places = places[~follows & (places + 1 < len(array))]
    if quotes is not None:
        places = places[np.searchsorted(quotes, places) % 2 == 0]
    found = np.searchsorted(records.starts, places, side="right") - 1
    inside = found[(found >= 0) & (places < records.ends[found])] if len(records) else found[:0]
    return [int(index) for index in np.unique(inside)]
