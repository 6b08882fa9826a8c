"""Text to values of a type, as PyArrow converts them in CSV files, with a mark at each text that is none.

What PyArrow's converter accepts is the definition, here as well as where it reads a column by itself: a value
does not depend on what else is in its block. Polars only guesses which texts are bad, to ask about fewer.
Decimals are the exception: for those that may have no room in 38 digits the definition is their value.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from arrowstream.connectors.files.lines import first_failing
from arrowstream.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterator

TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")

EXACT_INTEGER_MAX = 2**53
"""Integers up to this are floats without rounding."""

_ASCII_END = 128
_DECIMAL_DIGITS = 38
_BLANKS = " \t"  # that PyArrow takes off numbers, dates and times
_HEXADECIMAL = "[xX]"  # PyArrow reads 0xFF… as a negative number
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_HOUR, _SIXTIETH = "([01][0-9]|2[0-3])", "[0-5][0-9]"
_ZONE = "(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
_SUBSECOND_DIGITS = {"ms": 3, "us": 6, "ns": 9}
_DATE, _DATE_CHARACTERS = "%Y-%m-%d", 10
_TIME = r"^\d\d:\d\d(:\d\d(\.\d{1,9})?)?$"
_INTEGER = r"^\s*-?\d+\s*$"
_EPOCH = "1970-01-01T"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_NUMBER_PARTS = "^(?<sign>[+-]?)(?<whole>[0-9]*)[.]?(?<fraction>[0-9]*)([eE](?<exponent>[+-]?[0-9]+))?$"
_EXPONENT, _EXPONENT_MAX = "[eE]", 1 << 40
_INTEGER_FORM = "^-?[0-9]+$"
_FLOAT_FORM = rf"{_NUMBER}|^[+-]?[nNiI]"  # nan and inf are written in several ways

_UNREADABLE = {
    pl.Duration: "read it as pl.Int64 or pl.String",
    pl.Binary: "read it as pl.String",
    pl.Object: "read it as pl.String",
    pl.Unknown: "read it as pl.String",
}


def check_readable(schema: pl.Schema, format_name: str, *, nested: bool) -> None:
    """Raise PlanError naming the first column whose type no text of the format can be."""
    for column, dtype in schema.items():
        for inner in inner_types(dtype):
            hint = next((hint for kind, hint in _UNREADABLE.items() if inner == kind), None)
            if inner.is_nested() and not nested:
                hint = "read it as pl.String, and decode the text"
            if isinstance(inner, pl.Array) and inner.size == 0:
                hint = "leave the column out: it holds no values"
            if hint is not None:
                raise PlanError(f"column '{column}' cannot be {inner}: {format_name} has none", hint=hint)


def inner_types(dtype: Any) -> Iterator[pl.DataType]:
    """The type, and those inside it; also of a type that was given as its class."""
    dtype = dtype() if isinstance(dtype, type) else dtype
    yield dtype
    if isinstance(dtype, (pl.List, pl.Array)):
        yield from inner_types(dtype.inner)
    elif isinstance(dtype, pl.Struct):
        for field in dtype.fields:
            yield from inner_types(field.dtype)


def arrow_type(dtype: pl.DataType) -> pa.DataType | None:
    """Which type PyArrow's CSV reader has for it; None: it is made from text afterwards."""
    if isinstance(dtype, (pl.Int128, pl.UInt128, pl.Decimal, pl.Categorical, pl.Enum, pl.Null, pl.Time)):
        return None
    if isinstance(dtype, pl.String):
        return pa.string()
    field = pl.DataFrame(schema={"": dtype}).to_arrow(compat_level=pl.CompatLevel.oldest()).schema.field(0)
    return field.type


def converted(
    text: pl.Series, dtype: pl.DataType, *, empty_is_null: bool
) -> tuple[pl.Series, np.ndarray[Any, Any]]:
    """Text to another type, and which of it cannot be: it is null.

    With `empty_is_null` an empty text is null too, unless it is a value of the type.

    Shape   text: [n]; returns [n], bool[n]
    Null    kept
    """
    if dtype == pl.String:
        return text, np.zeros(len(text), np.bool_)
    if empty_is_null and not _has_empty(dtype) and (text == "").any():
        text = text.set(text == "", None)
    values, wrong = _typed(text, dtype)
    return values.alias(text.name), wrong


def decoded(content: pl.Series) -> tuple[pl.Series, np.ndarray[Any, Any]]:
    """Binary to String, and which are no UTF-8: they are null.

    Shape   content: [n]; returns [n], bool[n]
    """
    bad = np.zeros(len(content), np.bool_)
    array = content.to_arrow(compat_level=pl.CompatLevel.oldest())
    try:
        text = array.cast(pa.large_string())
    except pa.ArrowInvalid:
        rows = _not_ascii(array)
        bad[rows] = [not _is_utf8(value) for value in content.gather(rows).to_list()]
        text = _masked(array, bad).cast(pa.large_string())
    return pl.Series(content.name, text, pl.String), bad


def inferred(text: pl.Series, *, dates: bool) -> pl.DataType:
    """The narrowest type that takes all of the texts; integers that no float holds stay exact."""
    some = text.drop_nulls()
    some = some.filter(some != "")
    if some.is_empty():
        return pl.String()
    for dtype in (pl.Int64(), pl.Boolean(), pl.UInt64()):
        if _takes(some, dtype):
            return dtype
    if _takes(some, pl.Float64()):
        integers = some.filter(some.str.contains(_INTEGER)).str.strip_chars(_BLANKS)
        exact = integers.cast(pl.Int128, strict=False).abs() <= EXACT_INTEGER_MAX
        return pl.Float64() if exact.fill_null(value=False).all() else pl.String()
    temporal = (pl.Date(), pl.Datetime("us"), pl.Datetime("us", "UTC"), pl.Datetime("ns"), pl.Time())
    return next((dtype for dtype in temporal if dates and _takes(some, dtype)), pl.String())


def _has_empty(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.Categorical) or (isinstance(dtype, pl.Enum) and "" in dtype.categories)


def _takes(text: pl.Series, dtype: pl.DataType) -> bool:
    return not converted(text, dtype, empty_is_null=True)[1].any()


def _typed(text: pl.Series, dtype: pl.DataType) -> tuple[pl.Series, np.ndarray[Any, Any]]:
    if isinstance(dtype, pl.Null):
        return pl.Series([None] * len(text), dtype=pl.Null), text.is_not_null().to_numpy()
    if isinstance(dtype, pl.Boolean):
        values = pl.select(
            pl.when(text.is_in(TRUE)).then(statement=True).when(text.is_in(FALSE)).then(statement=False)
        ).to_series()
        return values, _lost(text, values)
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        values = text.cast(dtype, strict=False)
        return values, _lost(text, values)
    if isinstance(dtype, (pl.Int128, pl.UInt128)):
        values = text.str.strip_chars(_BLANKS)
        values = values.set(values.str.starts_with("+"), None).cast(dtype, strict=False)
        return values, _lost(text, values)
    if isinstance(dtype, pl.Time):
        return _times(text.str.strip_chars(_BLANKS))
    if isinstance(dtype, pl.Decimal):
        return _decimals(text, dtype)
    return _integers(text, dtype) if dtype.is_integer() else _cast(text, dtype)


def _times(text: pl.Series) -> tuple[pl.Series, np.ndarray[Any, Any]]:
    """Times of day, which PyArrow's cast does not know."""
    no_time = (~text.str.contains(_TIME)).fill_null(value=False)
    moments, wrong = _cast(_EPOCH + text.set(no_time, None), pl.Datetime("ns"))
    return moments.dt.time(), wrong | no_time.to_numpy()


def _integers(text: pl.Series, dtype: pl.DataType) -> tuple[pl.Series, np.ndarray[Any, Any]]:
    """Polars is quick and does not care for blanks: PyArrow is asked about what Polars does not take."""
    values = text.cast(dtype, strict=False)
    asked = (values.is_null() & text.is_not_null()) | text.str.starts_with("+").fill_null(value=False)
    wrong = asked.to_numpy(writable=True)
    if asked.any():
        some = text.filter(asked)
        hexadecimal = some.str.contains(_HEXADECIMAL)
        again, refused = _cast(some.set(hexadecimal, None), dtype)
        values = values.scatter(asked.arg_true(), again)
        wrong[asked.to_numpy()] = refused | hexadecimal.to_numpy()
    return values, wrong


def _decimals(text: pl.Series, dtype: pl.Decimal) -> tuple[pl.Series, np.ndarray[Any, Any]]:
    """PyArrow takes numbers for which there is no room as others, without a word: it gets those that fit."""
    text = text.str.strip_chars(_BLANKS)
    fits = (text.str.len_bytes() <= _DECIMAL_DIGITS - dtype.scale) & ~text.str.contains(_EXPONENT)
    long = (~fits).fill_null(value=False)
    typed, wrong = _cast(text.set(long, None) if long.any() else text, dtype)
    if long.any():
        some = text.filter(long)
        again = _exact_decimals(some, dtype)
        typed = typed.scatter(long.arg_true(), again)
        wrong[long.to_numpy()] = _lost(some, again)
    return typed, wrong


def _exact_decimals(text: pl.Series, dtype: pl.Decimal) -> pl.Series:
    """Digits moved to where the point is in the type; null for what is no number or has no room."""
    parts = text.set(~text.str.contains(_NUMBER), None).str.extract_groups(_NUMBER_PARTS).struct
    fraction = parts.field("fraction")
    exponent = parts.field("exponent").fill_null("0").cast(pl.Int64, strict=False)
    digits = (parts.field("whole") + fraction).str.strip_chars_start("0")
    written = fraction.str.len_bytes().cast(pl.Int64)
    moved = exponent.clip(-_EXPONENT_MAX, _EXPONENT_MAX) - written + dtype.scale
    zeros = (digits.str.len_bytes() - digits.str.strip_chars_end("0").str.len_bytes()).cast(pl.Int64)
    is_exact = (moved + zeros >= 0) | (digits == "")
    frame = pl.DataFrame({"digits": digits, "moved": moved.clip(None, _DECIMAL_DIGITS + 1)})
    kept = (pl.col("digits").str.len_bytes().cast(pl.Int64) + pl.col("moved").clip(None, 0)).clip(0, None)
    more = pl.lit("0" * (_DECIMAL_DIGITS + 1)).str.slice(0, pl.col("moved").clip(0, None))
    shifted = frame.select(pl.lit("0") + pl.col("digits").str.slice(0, kept) + more).to_series()
    integers = (parts.field("sign").str.strip_chars("+") + shifted).cast(pl.Int128, strict=False)
    largest = 10**dtype.precision - 1
    fits = integers.is_between(-largest, largest) & is_exact
    array = integers.set(~fits, None).cast(pl.Decimal(_DECIMAL_DIGITS, 0)).to_arrow()
    target = pa.decimal128(_DECIMAL_DIGITS, dtype.scale)
    return pl.Series(pa.Array.from_buffers(target, len(array), array.buffers(), offset=array.offset)).cast(
        dtype
    )


def _cast(text: pl.Series, dtype: pl.DataType) -> tuple[pl.Series, np.ndarray[Any, Any]]:
    """As PyArrow does it."""
    if isinstance(dtype, pl.Decimal):
        target = pa.decimal128(_DECIMAL_DIGITS, dtype.scale)
    else:
        target = arrow_type(dtype)
    assert target is not None, "the other types are converted by Polars"
    array = text.to_arrow(compat_level=pl.CompatLevel.oldest())
    try:
        typed, wrong = pl.Series(array.cast(target)), np.zeros(len(text), np.bool_)
    except pa.ArrowInvalid:
        if not isinstance(dtype, pl.Datetime):
            text = text.str.strip_chars(_BLANKS)
            array = text.to_arrow(compat_level=pl.CompatLevel.oldest())
        typed, wrong = _cast_some(text, array, dtype, target)
    if isinstance(dtype, pl.Decimal) and dtype.precision < _DECIMAL_DIGITS:
        # PyArrow takes integers for which there is no room in front of the point.
        # Not a power of ten: that has an exponent from 28 digits on, which Polars does not understand.
        bound = Decimal("1" + "0" * (dtype.precision - dtype.scale))
        too_large = typed.abs() >= bound
        wrong |= too_large.fill_null(value=False).to_numpy()
        typed = typed.set(too_large, None)
    return typed.cast(dtype), wrong


def _cast_some(
    text: pl.Series, array: pa.LargeStringArray, dtype: pl.DataType, target: pa.DataType
) -> tuple[pl.Series, np.ndarray[Any, Any]]:
    """Cast what PyArrow takes. A guess says which texts it does not; it is asked about all others at once."""
    for guess in (_looks_bad, _is_refused):
        suspects = guess(text, array, dtype)
        try:
            values = pl.Series(_masked(array, suspects).cast(target))
            break
        except pa.ArrowInvalid:
            continue
    else:
        suspects, values = np.ones(len(text), np.bool_), pl.Series(pa.nulls(len(text), target))
    asked = np.flatnonzero(suspects)
    some = array.take(pa.array(asked))
    wrong = _is_refused(text.gather(asked), some, dtype)
    others = np.flatnonzero(~wrong)
    parts = some.take(pa.array(others))
    wrong[others[list(first_failing(parts, lambda part: _casts(part, target)))]] = True
    suspects[asked] = wrong
    if not wrong.all():
        values = values.scatter(asked, pl.Series(_masked(some, wrong).cast(target)))
    return values, suspects


def _looks_bad(text: pl.Series, array: pa.LargeStringArray, dtype: pl.DataType) -> np.ndarray[Any, Any]:
    """A quick guess.

    Shape   returns bool[n]
    Null    False
    """
    if isinstance(dtype, (pl.Date, pl.Datetime)):
        bad: np.ndarray[Any, Any] = text.is_not_null().to_numpy() & ~_has_form_of_date(array)
        return bad
    if isinstance(dtype, pl.Decimal):
        return _is_refused(text, array, dtype)
    return _lost(text, text.cast(dtype, strict=False))


def _has_form_of_date(array: pa.LargeStringArray) -> np.ndarray[Any, Any]:
    """Whether signs stand in the right places: of 0000-00-00, and T or a blank behind it."""
    _, offsets, content = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    starts, sizes = ends[:-1], np.diff(ends)
    letters = np.zeros(int(ends[-1]) + _DATE_CHARACTERS + 1, np.uint8)
    letters[: ends[-1]] = np.frombuffer(content or b"", np.uint8)[: ends[-1]]
    dashes = (letters[starts + 4] == ord("-")) & (letters[starts + 7] == ord("-"))
    behind = letters[starts + _DATE_CHARACTERS]
    is_day = sizes == _DATE_CHARACTERS
    is_longer = (sizes > _DATE_CHARACTERS) & ((behind == ord("T")) | (behind == ord(" ")))
    found: np.ndarray[Any, Any] = dashes & (is_day | is_longer)
    return found


def _is_refused(text: pl.Series, _: pa.LargeStringArray, dtype: pl.DataType) -> np.ndarray[Any, Any]:
    """Which texts PyArrow does not take for sure: they do not have the form that it reads.

    Shape   returns bool[n]
    Null    False
    """
    if isinstance(dtype, (pl.Date, pl.Datetime)):
        form = _timestamp_form(dtype) if isinstance(dtype, pl.Datetime) else _DAY
        day = text.str.slice(0, _DATE_CHARACTERS).str.to_date(_DATE, strict=False)
        bad = ~text.str.contains(f"^{form}$") | day.is_null()
    elif dtype.is_integer():
        low, high = pl.select(low=dtype.min(), high=dtype.max()).row(0)  # type: ignore[attr-defined]
        number = text.cast(pl.Int128, strict=False)
        bad = ~text.str.contains(_INTEGER_FORM) | ~number.is_between(low, high).fill_null(value=True)
    elif dtype.is_float():
        bad = ~text.str.contains(_FLOAT_FORM)
    else:
        assert isinstance(dtype, pl.Decimal)
        bad = ~text.str.contains(_NUMBER) | text.str.contains(rf"^[^eE]*\.[0-9]{{{dtype.scale}}}[0-9]*[1-9]$")
    return (bad & text.is_not_null()).to_numpy(writable=True)


def _timestamp_form(dtype: pl.Datetime) -> str:
    clock = rf"[T ]{_HOUR}(:{_SIXTIETH}(:{_SIXTIETH}(\.[0-9]{{1,{_SUBSECOND_DIGITS[dtype.time_unit]}}})?)?)?"
    return f"{_DAY}({clock})?" if dtype.time_zone is None else f"{_DAY}{clock}{_ZONE}"


def _casts(array: pa.Array, target: pa.DataType) -> bool:
    try:
        array.cast(target)
    except pa.ArrowInvalid:
        return False
    return True


def _lost(text: pl.Series, values: pl.Series) -> np.ndarray[Any, Any]:
    return (values.is_null() & text.is_not_null()).to_numpy()


def _not_ascii(array: pa.LargeBinaryArray) -> np.ndarray[Any, Any]:
    """Values with other bytes, by index."""
    _, offsets, content = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    places = np.flatnonzero(np.frombuffer(content, np.uint8)[ends[0] : ends[-1]] >= _ASCII_END) + ends[0]
    return np.unique(np.searchsorted(ends, places, side="right") - 1)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _masked(array: pa.Array, wrong: np.ndarray[Any, Any]) -> pa.Array:
    """The array with nulls in some places; what they hold is not copied."""
    valid = np.zeros(array.offset + len(array), np.bool_)
    valid[array.offset :] = ~wrong
    if array.null_count:
        valid[array.offset :] &= array.is_valid().to_numpy(zero_copy_only=False)
    buffers = [pa.py_buffer(np.packbits(valid, bitorder="little")), *array.buffers()[1:]]
    return pa.Array.from_buffers(array.type, len(array), buffers, offset=array.offset)
