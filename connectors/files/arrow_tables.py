"""Frames as tables of Arrow whose bytes, once written, depend on the rows alone."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa

from arrowstream.config import ARROW_LEVEL
from arrowstream.errors import PlanError


def canonical(frame: pl.DataFrame, *, keep_categories: bool) -> pa.Table:
    """One chunk a column, and categories in the order of their first row, or as text.

    The same rows in one chunk or two give different bytes, and so do the categories that other rows had.
    """
    table = frame.to_arrow(compat_level=ARROW_LEVEL)
    columns = []
    fields = []
    for field, column in zip(table.schema, table.columns, strict=True):
        plain = _without_categories(field.type)
        if plain != field.type:
            column = column.cast(plain)  # noqa: PLW2901 — the same column, made canonical
            if keep_categories:
                column = _one_chunk(column).cast(field.type)  # noqa: PLW2901 — as above
            else:
                field = pa.field(field.name, plain, field.nullable)  # noqa: PLW2901 — as above
        columns.append(_one_chunk(column))
        fields.append(field)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _one_chunk(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if column.num_chunks == 1:
        return column
    return pa.chunked_array([column.combine_chunks()], type=column.type)


def _without_categories(dtype: pa.DataType) -> pa.DataType:
    """The type with text in place of Polars' Categorical; an Enum has its categories in the type."""
    if pa.types.is_dictionary(dtype):
        return dtype if dtype.ordered else dtype.value_type
    if pa.types.is_large_list(dtype):
        return pa.large_list(dtype.value_field.with_type(_without_categories(dtype.value_type)))
    if pa.types.is_fixed_size_list(dtype):
        value = dtype.value_field.with_type(_without_categories(dtype.value_type))
        return pa.list_(value, dtype.list_size)
    if pa.types.is_struct(dtype):
        return pa.struct([field.with_type(_without_categories(field.type)) for field in dtype])
    return dtype


def check_schema(schema: pl.Schema, format_name: str) -> None:
    """Raise PlanError naming the first column whose type the format cannot hold."""
    for column, dtype in schema.items():
        reason = _cannot_hold(dtype, format_name)
        if reason is not None:
            inside = "" if reason[0] == str(dtype) else f" ({dtype})"
            raise PlanError(
                f"column '{column}'{inside} is {reason[0]}, which {format_name} cannot hold", hint=reason[1]
            )


def _cannot_hold(dtype: Any, format_name: str) -> tuple[str, str] | None:
    """The type inside `dtype` that cannot be written, and what to do."""
    if isinstance(dtype, (pl.Int128, pl.UInt128)):
        return str(dtype), "cast it: to pl.Int64 if the values fit, else to pl.Decimal(38, 0) or pl.String"
    if isinstance(dtype, (pl.Object, pl.Unknown)):
        return str(dtype), "drop the column, or cast it to a type of its own"
    if isinstance(dtype, pl.Array) and dtype.size == 0:
        return str(dtype), "drop the column: it holds no values"
    if isinstance(dtype, (pl.List, pl.Array)):
        return _cannot_hold(dtype.inner, format_name)
    if isinstance(dtype, pl.Struct):
        if not dtype.fields and format_name == "Parquet":
            return str(dtype), "drop the column, or give the struct a field"
        inner = (_cannot_hold(field.dtype, format_name) for field in dtype.fields)
        return next((reason for reason in inner if reason is not None), None)
    return None
