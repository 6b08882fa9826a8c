"""The columns of one file made those of the scan, by the rules of Polars' `scan_parquet`."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from arrowstream.errors import DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from arrowstream.types import ExtraColumns, MissingColumns

_logger = logging.getLogger("arrowstream.files")

_UNIT_NAMES = {"ms": "millisecond", "us": "microsecond", "ns": "nanosecond"}
_UNITS = ("ms", "us", "ns")  # coarse to fine
_REWRITE = "one scan reads files of one schema: scan the others apart, or rewrite them"


@dataclass(frozen=True, slots=True)
class Rules:
    """What may differ between a file and the scan. Casts are those of `pl.ScanCastOptions`.

    Where the columns were chosen (`schema=`), a file that has others too is as it should be.
    """

    missing_columns: MissingColumns = "raise"
    extra_columns: ExtraColumns = "raise"
    cast_options: pl.ScanCastOptions | None = None
    columns_are_chosen: bool = False


@dataclass(frozen=True, slots=True)
class Fit:
    """How frames of one file become frames of the scan.

    `reads` are the columns to read of the file: at least one, as it carries the number of rows. `changes`
    are the expressions that make of them what was asked for, None if that is what they are.
    """

    reads: tuple[str, ...]
    changes: tuple[pl.Expr, ...] | None

    def __call__(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The columns asked for, of a frame of the columns `reads` and perhaps others, which are kept."""
        if self.changes is None:
            return frame
        kept = [name for name in frame.columns if name not in self.reads]
        return frame.select(*self.changes, *kept)


def fit(path: str, written: pl.Schema, expected: pl.Schema, columns: Sequence[str], rules: Rules) -> Fit:
    """How the file `path` with the columns `written` gives `columns` of the scan, which has `expected`.

    What does not match but may, is logged, once: call it once a file. Of chosen columns only those are
    spoken of.

    Raises
    ------
    DataError
        A column is missing, is too many, or has another type, and the rules do not allow it.
    """
    notes = [
        note
        for name, note in _differences(path, written, expected, rules)
        if name in expected or not rules.columns_are_chosen
    ]
    if notes:
        _logger.warning("%s does not have the schema of the scan: %s", path, "; ".join(notes))
    reads = tuple(name for name in columns if name in written) or tuple(written.names()[:1])
    if reads == tuple(columns) and all(written[name] == expected[name] for name in columns):
        return Fit(reads, None)
    changes = []
    for name in columns:
        if name not in written:
            changes.append(pl.repeat(None, pl.len(), dtype=expected[name]).alias(name))
        else:
            changes.append(_converted(pl.col(name), written[name], expected[name]).alias(name))
    return Fit(reads, tuple(changes))


def differences(path: str, written: pl.Schema, expected: pl.Schema, rules: Rules) -> list[str]:
    """What differs and may, in words. The order of columns does not count.

    Raises
    ------
    DataError
        As `fit`.
    """
    return [note for _, note in _differences(path, written, expected, rules)]


def common_schema(schemas: Sequence[pl.Schema]) -> pl.Schema:
    """All columns, in the order in which they first come, each of a type that holds what all schemas have.

    Raises
    ------
    DataError
        There is no such type.
    """
    merged = pl.Schema(schemas[0]) if schemas else pl.Schema()
    for schema in schemas[1:]:
        if schema == merged:
            continue
        try:
            both = pl.concat(
                [pl.DataFrame(schema=merged), pl.DataFrame(schema=schema)], how="diagonal_relaxed"
            )
        except pl.exceptions.PolarsError as error:
            raise DataError(
                f"the first rows of the files have no schema in common: {error}", hint="give schema="
            ) from error
        merged = both.schema
    return merged


def _differences(
    path: str, written: pl.Schema, expected: pl.Schema, rules: Rules
) -> Iterator[tuple[str, str]]:
    """Columns that differ, each with what is to be said of it."""
    for name, dtype in expected.items():
        if name in written:
            if (reason := _refusal(written[name], dtype, rules.cast_options)) is not None:
                raise DataError(
                    f"column '{name}' of {path} is {written[name]}, but {dtype} in the scan{reason[0]}",
                    hint=reason[1],
                )
            if written[name] != dtype:
                yield name, f"column '{name}' is {written[name]}, not {dtype}"
        elif rules.missing_columns == "raise":
            similar = nearest(name, written)
            raise DataError(
                f"{path} has no column '{name}', which the scan has",
                choices=written.names(),
                hint=(f"is it '{similar}'? " if similar else "")
                + "missing_columns='insert' fills it with nulls",
            )
        else:
            yield name, f"column '{name}' is missing"
    for name in written:
        if name not in expected:
            if rules.extra_columns == "raise":
                raise DataError(
                    f"{path} has a column '{name}', which the scan does not have",
                    choices=expected.names(),
                    hint="extra_columns='ignore' leaves it out; schema= says which columns there are",
                )
            yield name, f"column '{name}' is left out"


def _refusal(written: Any, expected: Any, casts: pl.ScanCastOptions | None) -> tuple[str, str] | None:
    """Why a column may not be cast (to add to the fact) and the way out; None if it may, or need not."""
    if written in {expected, pl.Null}:
        return None
    if isinstance(written, pl.Struct) and isinstance(expected, pl.Struct):
        return _struct_refusal(written, expected, casts)
    if isinstance(written, pl.List) and isinstance(expected, pl.List):
        return _refusal(written.inner, expected.inner, casts)
    if isinstance(written, pl.Array) and isinstance(expected, pl.Array) and written.size == expected.size:
        return _refusal(written.inner, expected.inner, casts)
    needed = _needed(written, expected)
    if needed is None:
        return "", _REWRITE
    for option, value in needed:
        allowed = "forbid" if casts is None else getattr(casts, option)
        allowed = {allowed} if isinstance(allowed, str) else set(allowed)
        if value not in allowed and value.rpartition("-")[2] not in allowed:
            return "", f"cast_options=pl.ScanCastOptions({option}='{value}') allows it"
    return None


def _struct_refusal(
    written: pl.Struct, expected: pl.Struct, casts: pl.ScanCastOptions | None
) -> tuple[str, str] | None:
    theirs = {field.name: field.dtype for field in written.fields}
    ours = {field.name: field.dtype for field in expected.fields}
    for name, dtype in ours.items():
        if name in theirs:
            if (reason := _refusal(theirs[name], dtype, casts)) is not None:
                return reason
        elif casts is None or casts.missing_struct_fields == "raise":
            allows = "cast_options=pl.ScanCastOptions(missing_struct_fields='insert') allows it"
            return f": field '{name}' is missing", allows
    for name in theirs:
        if name not in ours and (casts is None or casts.extra_struct_fields == "raise"):
            allows = "cast_options=pl.ScanCastOptions(extra_struct_fields='ignore') allows it"
            return f": field '{name}' is too many", allows
    return None


def _needed(written: Any, expected: Any) -> list[tuple[str, str]] | None:
    """The options of `pl.ScanCastOptions`, and their values, that allow a cast; None if none does."""
    if written.is_integer() and expected.is_integer():
        return [("integer_cast", "upcast")] if _is_wider(written, expected) else None
    if written.is_integer() and expected.is_float():
        return [("integer_cast", "allow-float")]
    if isinstance(written, pl.Decimal) and isinstance(expected, pl.Decimal):
        wider = written.scale == expected.scale and written.precision <= expected.precision
        return [("integer_cast", "upcast")] if wider else None
    if written.is_float() and expected.is_float():
        return [("float_cast", "upcast" if _bits(written) < _bits(expected) else "downcast")]
    if isinstance(written, pl.Datetime) and isinstance(expected, pl.Datetime):
        needed = []
        if written.time_unit != expected.time_unit:
            finer = _UNITS.index(expected.time_unit) > _UNITS.index(written.time_unit)
            way = "upcast" if finer else "downcast"
            needed.append(("datetime_cast", f"{_UNIT_NAMES[written.time_unit]}-{way}"))
        if (written.time_zone or "UTC") != (expected.time_zone or "UTC"):
            needed.append(("datetime_cast", "convert-timezone"))
        return needed
    if isinstance(written, pl.Categorical) and expected == pl.String:
        return [("categorical_to_string", "allow")]
    return None


def _is_wider(written: Any, expected: Any) -> bool:
    if written.is_signed_integer():
        return expected.is_signed_integer() and _bits(written) < _bits(expected)
    return _bits(written) < _bits(expected)


def _bits(dtype: Any) -> int:
    return int("".join(filter(str.isdigit, str(dtype))))


def _converted(value: pl.Expr, written: Any, expected: Any) -> pl.Expr:
    """The cast, field by field: Polars' own of structs goes by the order of the fields."""
    if written == expected:
        return value
    if isinstance(written, pl.Struct) and isinstance(expected, pl.Struct):
        theirs = {field.name: field.dtype for field in written.fields}
        fields = [
            _converted(value.struct.field(field.name), theirs[field.name], field.dtype).alias(field.name)
            if field.name in theirs
            else pl.lit(None, field.dtype).alias(field.name)
            for field in expected.fields
        ]
        return pl.when(value.is_not_null()).then(pl.struct(fields))
    if isinstance(written, pl.List) and isinstance(expected, pl.List):
        return value.list.eval(_converted(pl.element(), written.inner, expected.inner))
    if isinstance(written, pl.Array) and isinstance(expected, pl.Array):
        return value.arr.eval(_converted(pl.element(), written.inner, expected.inner))
    return value.cast(expected)
