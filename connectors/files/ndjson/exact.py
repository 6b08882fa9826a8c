"""Rare records to rows, slowly: Polars parses them together, and what is bad among them is singled out.

What is accepted here, and what it is read as, defines the format; `decode` gives the same for what is common.

Polars reads few types exactly. All others are read as one that it does (`carrier`) and converted. If it
refuses the records, those that are no objects are taken out, it reads the rest with null for values of
another type, and the rows with nulls are looked at again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from arrowstream.connectors.files.errors import LIBRARY_ERRORS
from arrowstream.connectors.files.lines import Records, all_but, first_failing, shown
from arrowstream.connectors.files.ndjson.carrier import (
    carried,
    carrier,
    fits,
    has_null,
    reread,
    rounded,
)
from arrowstream.connectors.files.ndjson.inference import first_wins
from arrowstream.connectors.files.ndjson.surrogates import SURROGATE, has_half_pair
from arrowstream.connectors.files.text import decoded

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_OBJECT = "no JSON object, which begins with { and ends with }"
NO_REASON = "no JSON that can be read"
HALF_PAIR = "half of a surrogate pair is no character"

_BLANKS = b" \t\r\n"
_OBJECT_BEGIN, _OBJECT_END = 123, 125


class ExactDecoder:
    """Rows of any records, judged one by one where Polars does not take all of them; used by several threads.

    Parameters
    ----------
    schema
        The columns to read.
    """

    def __init__(self, schema: pl.Schema) -> None:
        self._schema = schema
        self._carriers = pl.Schema({name: carrier(dtype) for name, dtype in schema.items()})

    def rows(self, records: Records) -> tuple[pl.DataFrame, np.ndarray[Any, Any], dict[int, str]]:
        """Rows, of which of the records each one is, and what is wrong with some.

        Records of the errors have no row, or one that is worth nothing.

        Cost    about 0.3 us a value, and 10 us for each error
        """
        data = records.joined()
        records = Records.of(data)
        errors: dict[int, str] = {}
        frame: pl.DataFrame | None = None
        if b"\\" in data and has_half_pair(data):
            errors = _with_half_pair(records)
        else:
            frame = self._parsed(data)
        if frame is not None:
            slots = np.arange(frame.height)
        else:
            frame, slots = self._singled_out(records, errors)
        return self._converted(frame, slots, records, errors), slots, errors

    def _parsed(self, data: bytes, *, ignore_errors: bool = False) -> pl.DataFrame | None:
        """None if Polars refuses it."""
        try:
            return pl.read_ndjson(data, schema=self._carriers, ignore_errors=ignore_errors)
        except LIBRARY_ERRORS:
            return None

    def _singled_out(
        self, records: Records, errors: dict[int, str]
    ) -> tuple[pl.DataFrame, np.ndarray[Any, Any]]:
        """Rows of the records that are JSON, and their slots; what is wrong with any is added to `errors`."""
        _add_no_objects(records, errors)
        frame = self._lenient(records, errors)
        if frame is None:
            self._add_no_json(records, errors)
            frame = self._lenient(records, errors)
        if frame is None:
            self._add_refused(records, np.flatnonzero(all_but(len(records), errors)), errors)
            frame = self._lenient(records, errors)
        assert frame is not None, "each record has been parsed alone"
        slots = np.flatnonzero(all_but(len(records), errors))
        assert len(slots) == frame.height, "a record is a row"
        self._add_mismatched(frame, records, slots, errors)
        return frame, slots

    def _lenient(self, records: Records, errors: dict[int, str]) -> pl.DataFrame | None:
        good = records.take(all_but(len(records), errors)).joined()
        return self._parsed(good, ignore_errors=True) if good else self._carriers.to_frame()

    def _add_no_json(self, records: Records, errors: dict[int, str]) -> None:
        """Records that other parsers refuse; Polars is asked about what they do not agree on."""
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

    def _add_refused(self, records: Records, slots: np.ndarray[Any, Any], errors: dict[int, str]) -> None:
        def works(part: Sequence[int]) -> bool:
            content = records.take(np.array(part, np.int64)).joined()
            return self._parsed(content, ignore_errors=True) is not None

        found = first_failing(slots.tolist(), works)
        errors.update((slot, _complaint(records.at(slot))) for slot in slots[list(found)].tolist())

    def _add_mismatched(
        self, frame: pl.DataFrame, records: Records, slots: np.ndarray[Any, Any], errors: dict[int, str]
    ) -> None:
        """Rows in which a value of another type has become a null."""
        flat = [
            name for name, dtype in self._carriers.items() if not (dtype.is_nested() or dtype == pl.String)
        ]
        if flat:
            self._add_mismatched_flat(frame.select(flat), records, slots, errors)
        for name, dtype in self._carriers.items():
            if dtype.is_nested():
                for slot in slots[has_null(frame.get_column(name))].tolist():
                    value = json.loads(records.at(slot), object_pairs_hook=first_wins).get(name)
                    if not fits(value, dtype):
                        errors.setdefault(slot, shown(json.dumps(value)) + self._told(name))

    def _add_mismatched_flat(
        self, frame: pl.DataFrame, records: Records, slots: np.ndarray[Any, Any], errors: dict[int, str]
    ) -> None:
        """Those that are not null when they are read as text."""
        has_null_value = frame.select(pl.any_horizontal(pl.all().is_null())).to_series()
        asked = slots[has_null_value.to_numpy()]
        if not len(asked):
            return
        texts = pl.read_ndjson(records.take(asked).joined(), schema=dict.fromkeys(frame.columns, pl.String))
        for column in frame.filter(has_null_value).iter_columns():
            text = texts.get_column(column.name)
            bad = column.is_null() & text.is_not_null()
            told = self._told(column.name)
            for slot, value in zip(asked[bad.to_numpy()].tolist(), text.filter(bad).to_list(), strict=True):
                errors.setdefault(slot, shown(value) + told)

    def _converted(
        self, frame: pl.DataFrame, slots: np.ndarray[Any, Any], records: Records, errors: dict[int, str]
    ) -> pl.DataFrame:
        """Carriers to what they carry; what cannot be is added to `errors`."""
        columns = []
        for name, dtype in self._schema.items():
            column = frame.get_column(name)
            if self._carriers[name] != dtype:
                doubtful = rounded(column, dtype)
                if doubtful.any():
                    column = reread(
                        column, dtype, doubtful, [records.at(slot) for slot in slots[doubtful].tolist()]
                    )
                carrying, (column, bad) = column, carried(column, dtype)
                if bad.any():
                    told = self._told(name)
                    values = carrying.filter(pl.Series(bad)).to_list()
                    for slot, value in zip(slots[bad].tolist(), values, strict=True):
                        text = value if isinstance(value, str) else json.dumps(value, default=str)
                        errors.setdefault(slot, shown(text) + told)
            columns.append(column.alias(name))
        return pl.DataFrame(columns)

    def _told(self, name: str) -> str:
        return told(name, self._schema[name])


def told(name: str, dtype: pl.DataType) -> str:
    """The end of a sentence about a value."""
    return f" in column '{name}' is no {dtype}"


def complaint(record: bytes) -> str:
    """What is wrong with a record that is no JSON; NO_REASON if Python's parser reads it."""
    if b"\\" in record and has_half_pair(record):
        return HALF_PAIR
    stripped = record.strip(_BLANKS)
    if not (stripped.startswith(b"{") and stripped.endswith(b"}")):
        return NO_OBJECT
    return _complaint(record)


def records_of(data: bytes) -> Records:
    """Those that are slots: lines with more than blanks."""
    records = Records.of(data)
    records = records.take(records.ends > records.starts)
    blank_first = np.isin(_first_bytes(records), np.frombuffer(_BLANKS, np.uint8))
    empty = [index for index in np.flatnonzero(blank_first).tolist() if not records.at(index).strip(_BLANKS)]
    return records.take(all_but(len(records), empty)) if empty else records


def _add_no_objects(records: Records, errors: dict[int, str]) -> None:
    """Records that do not begin and end as an object does."""
    lasts = np.frombuffer(records.data, np.uint8)[records.ends - 1]
    suspects = np.flatnonzero((_first_bytes(records) != _OBJECT_BEGIN) | (lasts != _OBJECT_END))
    for slot in suspects.tolist():
        record = records.at(slot).strip(_BLANKS)
        if not (record.startswith(b"{") and record.endswith(b"}")):
            errors.setdefault(slot, NO_OBJECT)


def _first_bytes(records: Records) -> np.ndarray[Any, Any]:
    first: np.ndarray[Any, Any] = np.frombuffer(records.data, np.uint8)[records.starts]
    return first


def _with_half_pair(records: Records) -> dict[int, str]:
    view = records.data
    places = np.fromiter((found.start() for found in SURROGATE.finditer(view)), np.int64)
    suspects = np.unique(np.searchsorted(records.starts, places, side="right") - 1)
    return {slot: HALF_PAIR for slot in suspects.tolist() if slot >= 0 and has_half_pair(records.at(slot))}


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
