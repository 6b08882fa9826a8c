"""A piece of an NDJSON file to rows: Polars parses it as a whole, and what is bad in it is singled out.

Polars reads few types exactly. All others are read as one that it does (`carrier`) and converted. If it
refuses the piece, lines that are no objects are taken out, it reads the rest with null for values of another
type, and the rows with nulls are looked at again.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from arrowstream.connectors.files.errors import LIBRARY_ERRORS
from arrowstream.connectors.files.lines import Records, all_but, dead_slots, first_failing, shown
from arrowstream.connectors.files.ndjson.carrier import (
    carried,
    carrier,
    fits,
    has_null,
    reread,
    rounded,
)
from arrowstream.connectors.files.ndjson.inference import first_wins
from arrowstream.connectors.files.streams import Block, with_dead
from arrowstream.connectors.files.text import decoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arrowstream.connectors.files.lines import Cut, Whole
    from arrowstream.types import OnError

NO_OBJECT = "no JSON object"
NO_REASON = "no JSON that can be read"
HALF_PAIR = "half of a surrogate pair is no character"

_BLANKS = b" \t\r\n"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NO_HALF = re.compile(  # an escaped backslash, or a pair
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_OBJECT_BEGIN, _OBJECT_END = 123, 125


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
        self._carriers = pl.Schema({name: carrier(dtype) for name, dtype in schema.items()})
        self._path = path
        self._on_error = on_error

    def block(self, piece: Cut[Whole]) -> Block:
        """Rows and dead slots of a piece."""
        rows, records, errors = self._rows(piece.data)
        if errors:
            assert records is not None, "errors are found by record"
            dead = dead_slots(records, errors, piece.line, path=self._path, on_error=self._on_error)
            rows = with_dead(rows, dead, self._path)
        return Block(rows, piece.resume)

    def _rows(self, data: bytes) -> tuple[pl.DataFrame, Records | None, dict[int, str]]:
        """Good rows, the records of all slots (if there is anything bad), and what is wrong by slot."""
        records: Records | None = None
        errors: dict[int, str] = {}
        if b"\\" in data and _has_half_pair(data):
            records = _records(data)
            errors = _with_half_pair(records)
            frame = None
        else:
            frame = self._parsed(data)
        if frame is None:
            records = _records(data) if records is None else records
            frame = self._singled_out(records, errors)
        rows, wrong = self._converted(frame, data, records, errors)
        if not errors and not wrong:
            return rows, None, {}
        records = _records(data) if records is None else records
        if wrong:
            slots = np.flatnonzero(all_but(len(records), errors))
            rows = rows.filter(pl.Series(all_but(rows.height, wrong)))
            errors.update((int(slots[row]), error) for row, error in wrong.items())
        return rows, records, errors

    def _parsed(self, data: bytes, *, ignore_errors: bool = False) -> pl.DataFrame | None:
        """None if Polars refuses it."""
        try:
            return pl.read_ndjson(data, schema=self._carriers, ignore_errors=ignore_errors)
        except LIBRARY_ERRORS:
            return None

    def _singled_out(self, records: Records, errors: dict[int, str]) -> pl.DataFrame:
        """The rows of the records that are good; what is wrong with the others is added to `errors`."""
        _no_objects(records, errors)
        frame = self._lenient(records, errors)
        if frame is None:
            self._no_json(records, errors)
            frame = self._lenient(records, errors)
            assert frame is not None, "each record has been parsed alone"
        slots = np.flatnonzero(all_but(len(records), errors))
        mismatched = self._mismatched(frame, records, slots)
        errors.update((int(slots[row]), error) for row, error in mismatched.items())
        return frame.filter(pl.Series(all_but(frame.height, mismatched))) if mismatched else frame

    def _lenient(self, records: Records, errors: dict[int, str]) -> pl.DataFrame | None:
        good = records.take(all_but(len(records), errors)).joined()
        return self._parsed(good, ignore_errors=True) if good else self._carriers.to_frame()

    def _no_json(self, records: Records, errors: dict[int, str]) -> None:
        """Records that Polars' parser refuses: it is asked about what others do not agree on."""
        slots = np.flatnonzero(all_but(len(records), errors))
        texts, _ = decoded(records.take(slots).content())
        unsure = []
        for slot in slots[texts.str.json_path_match("$").is_null().to_numpy()].tolist():
            error = _complaint(records.at(slot))
            if error == NO_REASON:
                unsure.append(slot)
            else:
                errors[slot] = error
        self._add_refused(records, np.array(unsure, np.int64), errors)
        if self._lenient(records, errors) is None:
            self._add_refused(records, np.flatnonzero(all_but(len(records), errors)), errors)

    def _add_refused(self, records: Records, slots: np.ndarray[Any, Any], errors: dict[int, str]) -> None:
        def works(part: Sequence[int]) -> bool:
            content = records.take(np.array(part, np.int64)).joined()
            return self._parsed(content, ignore_errors=True) is not None

        found = first_failing(slots.tolist(), works)
        errors.update((slot, _complaint(records.at(slot))) for slot in slots[list(found)].tolist())

    def _mismatched(
        self, frame: pl.DataFrame, records: Records, slots: np.ndarray[Any, Any]
    ) -> dict[int, str]:
        """Rows in which a value of another type has become a null, and what is wrong with them."""
        flat = [
            name for name, dtype in self._carriers.items() if not (dtype.is_nested() or dtype == pl.String)
        ]
        wrong = self._mismatched_flat(frame.select(flat), records, slots) if flat else {}
        for name, dtype in self._carriers.items():
            if dtype.is_nested():
                for row in np.flatnonzero(has_null(frame.get_column(name))).tolist():
                    value = json.loads(records.at(int(slots[row])), object_pairs_hook=first_wins).get(name)
                    if not fits(value, dtype):
                        wrong.setdefault(row, _mismatch(name, self._schema[name], json.dumps(value)))
        return wrong

    def _mismatched_flat(
        self, frame: pl.DataFrame, records: Records, slots: np.ndarray[Any, Any]
    ) -> dict[int, str]:
        rows = frame.select(pl.any_horizontal(pl.all().is_null())).to_series().arg_true()
        if rows.is_empty():
            return {}
        texts = pl.read_ndjson(
            records.take(slots[rows.to_numpy()]).joined(), schema=dict.fromkeys(frame.columns, pl.String)
        )
        wrong: dict[int, str] = {}
        for column in frame[rows].iter_columns():
            text = texts.get_column(column.name)
            for place in (column.is_null() & text.is_not_null()).arg_true():
                wrong.setdefault(rows[place], _mismatch(column.name, self._schema[column.name], text[place]))
        return wrong

    def _converted(
        self, frame: pl.DataFrame, data: bytes, records: Records | None, errors: dict[int, str]
    ) -> tuple[pl.DataFrame, dict[int, str]]:
        """Carriers to what they carry, and what is wrong by row."""
        wrong: dict[int, str] = {}
        columns = []
        for name, dtype in self._schema.items():
            column = frame.get_column(name)
            if self._carriers[name] != dtype:
                doubtful = rounded(column, dtype)
                if doubtful.any():
                    records = _records(data) if records is None else records
                    slots = np.flatnonzero(all_but(len(records), errors))
                    lines = [records.at(slot) for slot in slots[doubtful].tolist()]
                    column = reread(column, dtype, doubtful, lines)
                values, bad = carried(column, dtype)
                for row in np.flatnonzero(bad).tolist():
                    wrong.setdefault(row, _mismatch(name, dtype, _told(column[row])))
                column = values
            columns.append(column.alias(name))
        return pl.DataFrame(columns), wrong


def _records(data: bytes) -> Records:
    """Those that are slots: lines with more than blanks."""
    records = Records.of(data)
    records = records.take(records.ends > records.starts)
    blank_first = np.isin(_first_bytes(records), np.frombuffer(_BLANKS, np.uint8))
    empty = [index for index in np.flatnonzero(blank_first).tolist() if not records.at(index).strip(_BLANKS)]
    return records.take(all_but(len(records), empty)) if empty else records


def _no_objects(records: Records, errors: dict[int, str]) -> None:
    """Add the records that do not begin and end as an object does."""
    lasts = np.frombuffer(records.data, np.uint8)[records.ends - 1]
    suspects = np.flatnonzero((_first_bytes(records) != _OBJECT_BEGIN) | (lasts != _OBJECT_END))
    for slot in suspects.tolist():
        record = records.at(slot).strip(_BLANKS)
        if not (record.startswith(b"{") and record.endswith(b"}")):
            errors.setdefault(slot, _complaint(record))


def _first_bytes(records: Records) -> np.ndarray[Any, Any]:
    first: np.ndarray[Any, Any] = np.frombuffer(records.data, np.uint8)[records.starts]
    return first


def _has_half_pair(data: bytes) -> bool:
    if _SURROGATE.search(data) is None:
        return False
    return _SURROGATE.search(_NO_HALF.sub(b"", data)) is not None


def _with_half_pair(records: Records) -> dict[int, str]:
    view = records.data
    places = np.fromiter((found.start() for found in _SURROGATE.finditer(view)), np.int64)
    suspects = np.unique(np.searchsorted(records.starts, places, side="right") - 1)
    return {slot: HALF_PAIR for slot in suspects.tolist() if slot >= 0 and _has_half_pair(records.at(slot))}


def _mismatch(name: str, dtype: pl.DataType, told: str) -> str:
    return f"{shown(told)} in column '{name}' is no {dtype}"


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _complaint(record: bytes) -> str:
    """What is wrong with a record that Polars refuses."""
    try:
        value = json.loads(record.decode())
    except UnicodeDecodeError:
        return "no UTF-8"
    except json.JSONDecodeError as error:
        return f"no JSON: {error.msg} at character {error.pos + 1}"
    except (ValueError, RecursionError):
        return NO_REASON
    return NO_REASON if isinstance(value, dict) else NO_OBJECT
