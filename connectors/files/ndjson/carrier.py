"""Types that Polars does not read from JSON exactly, in those that it does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from arrowstream.connectors.files.ndjson.inference import first_wins
from arrowstream.connectors.files.text import converted, inner_types

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

_EXPONENT, _NO_DIGITS = "[eE].*$", "+-0 \t"
_EXACT = (pl.Decimal, pl.Int128, pl.UInt128)
_ROUNDED_DIGITS_MIN, _ROUNDED_DIGITS_MAX = 16, 17
"""Fewer digits survive a float64, and its text never has more."""


def carrier(dtype: Any) -> pl.DataType:
    """The type that it is read as."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return pl.List(carrier(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: carrier(field.dtype) for field in dtype.fields})
    if isinstance(dtype, (pl.Boolean, pl.Int64, pl.UInt64, pl.Float64)):
        return dtype
    if isinstance(dtype, (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32)):
        return pl.Int64()
    return pl.Float64() if isinstance(dtype, pl.Float32) else pl.String()


def carried(column: pl.Series, dtype: Any) -> tuple[pl.Series, np.ndarray[Any, Any]]:
    """A column of `carrier(dtype)` as `dtype`, and in which rows it cannot be: they are null.

    Shape   column: [n]; returns [n], bool[n]
    """
    if column.dtype == dtype:
        return column, np.zeros(len(column), np.bool_)
    if isinstance(dtype, (pl.List, pl.Array)):
        return _carried_list(column, dtype)
    if isinstance(dtype, pl.Struct):
        return _carried_struct(column, dtype)
    if column.dtype == pl.String:
        return converted(column, dtype, empty_is_null=False)
    values = column.cast(dtype, strict=False)
    return values, (values.is_null() & column.is_not_null()).to_numpy()


def _carried_list(column: pl.Series, dtype: pl.List | pl.Array) -> tuple[pl.Series, np.ndarray[Any, Any]]:
    elements, lengths = _elements(column)
    values, wrong = carried(elements, dtype.inner)
    offsets = _offsets(lengths)
    bad = _any_between(wrong, offsets)
    null = column.is_null().to_numpy()
    if isinstance(dtype, pl.Array):
        bad |= ~null & (lengths != dtype.size)
        keep = np.repeat(~(bad | null), lengths)
        values, lengths = values.filter(pl.Series(keep)), np.where(bad | null, 0, lengths)
        offsets, null = _offsets(lengths), null | bad
    array = pa.LargeListArray.from_arrays(
        pa.array(offsets, pa.int64()),
        values.to_arrow(compat_level=pl.CompatLevel.oldest()),
        mask=pa.array(null),
    )
    return pl.Series(array).cast(dtype), bad


def _carried_struct(column: pl.Series, dtype: pl.Struct) -> tuple[pl.Series, np.ndarray[Any, Any]]:
    bad = np.zeros(len(column), np.bool_)
    fields = []
    for field in dtype.fields:
        values, wrong = carried(column.struct.field(field.name), field.dtype)
        fields.append(values.alias(field.name))
        bad |= wrong
    value = pl.when(pl.lit(column.is_not_null())).then(pl.struct(fields))
    return pl.select(value.alias("")).to_series(), bad


def rounded(column: pl.Series, dtype: Any) -> np.ndarray[Any, Any]:
    """Rows in which a decimal or a wide integer may have been a number that Polars has rounded.

    Shape   column: [n] of `carrier(dtype)`; returns bool[n]
    """
    if not any(isinstance(inner, _EXACT) for inner in inner_types(dtype)):
        return np.zeros(len(column), np.bool_)
    if isinstance(dtype, (pl.List, pl.Array)):
        elements, lengths = _elements(column)
        return _any_between(rounded(elements, dtype.inner), _offsets(lengths))
    if isinstance(dtype, pl.Struct):
        inner = [rounded(column.struct.field(field.name), field.dtype) for field in dtype.fields]
        any_inside: np.ndarray[Any, Any] = np.logical_or.reduce(inner)
        return any_inside
    mantissa = (
        column.str.replace(_EXPONENT, "").str.replace(".", "", literal=True).str.strip_chars(_NO_DIGITS)
    )
    return (
        mantissa.str.len_bytes()
        .is_between(_ROUNDED_DIGITS_MIN, _ROUNDED_DIGITS_MAX)
        .fill_null(value=False)
        .to_numpy()
    )


def reread(column: pl.Series, dtype: Any, rows: np.ndarray[Any, Any], records: Sequence[bytes]) -> pl.Series:
    """The column with some rows read again from their records, decimals as they are written.

    Shape   column: [n] of `carrier(dtype)`; rows: bool[n]; records: one for each of them
    Cost    a few microseconds a record
    """
    texts = []
    for record in records:
        value = json.loads(record, object_pairs_hook=first_wins, parse_float=_Digits)[column.name]
        texts.append(json.dumps({column.name: _with_decimals_quoted(value, dtype)}))
    again = pl.read_ndjson("\n".join(texts).encode(), schema={column.name: carrier(dtype)})
    where = np.arange(len(column))
    where[rows] = len(column) + np.arange(len(records))
    return pl.concat([column, again.to_series()])[where]


class _Digits(float):
    """A number that remembers how it was written."""

    digits: str

    def __new__(cls, digits: str) -> Self:
        number = super().__new__(cls, digits)
        number.digits = digits
        return number


def _with_decimals_quoted(value: Any, dtype: Any) -> Any:
    if isinstance(value, list) and isinstance(dtype, (pl.List, pl.Array)):
        return [_with_decimals_quoted(element, dtype.inner) for element in value]
    if isinstance(value, dict) and isinstance(dtype, pl.Struct):
        types = {field.name: field.dtype for field in dtype.fields}
        return {key: _with_decimals_quoted(inner, types.get(key)) for key, inner in value.items()}
    if isinstance(dtype, _EXACT) and isinstance(value, _Digits):
        return value.digits
    return value


def has_null(column: pl.Series) -> np.ndarray[Any, Any]:
    """Rows that are null, or have a null somewhere inside.

    Shape   column: [n]; returns bool[n]
    """
    null: np.ndarray[Any, Any] = column.is_null().to_numpy(writable=True)
    if isinstance(column.dtype, pl.List):
        elements, lengths = _elements(column)
        null |= _any_between(has_null(elements), _offsets(lengths))
    if isinstance(column.dtype, pl.Struct):
        inner = [has_null(column.struct.field(field.name)) for field in column.dtype.fields]
        null = np.logical_or.reduce([null, *inner])
    return null


def fits(value: Any, dtype: Any) -> bool:  # noqa: PLR0911 - a case for each type
    """Whether Polars reads a JSON value, as `json` gives it, as a carrier without a loss."""
    if value is None or isinstance(dtype, pl.String):
        return True
    match value, dtype:
        case bool(), pl.Boolean():
            return True
        case bool(), _:
            return False
        case int(), pl.Int64():
            return -(2**63) <= value < 2**63
        case int(), pl.UInt64():
            return 0 <= value < 2**64
        case ((int() | float()), pl.Float64()):
            return True
        case list(), pl.List():
            return all(fits(element, dtype.inner) for element in value)
        case dict(), pl.Struct():
            return all(fits(value.get(field.name), field.dtype) for field in dtype.fields)
    return False


def _elements(column: pl.Series) -> tuple[pl.Series, np.ndarray[Any, Any]]:
    """All elements of a list column behind one another, and how many each row has."""
    lengths = column.list.len().fill_null(0).to_numpy()
    return pl.Series(column.to_arrow(compat_level=pl.CompatLevel.oldest()).flatten()), lengths


def _any_between(marks: np.ndarray[Any, Any], offsets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Whether one of the marks between two offsets is set."""
    total = _offsets(marks)
    marked: np.ndarray[Any, Any] = total[offsets[1:]] > total[offsets[:-1]]
    return marked


def _offsets(lengths: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Where each of some neighbours begins, and the last one ends."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
