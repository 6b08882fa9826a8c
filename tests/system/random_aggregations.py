"""Random aggregations that fit a schema, foldable and holistic, and how to compare their results."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import polars as pl
import polars.selectors as cs
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from system.random_rows import bits

_FOLDED = ["len()", "count()", "sum()", "min()", "max()", "mean()", "var()", "std()", "std(2)"]
_FOLDED += ["first()", "last()"]
_KEPT = ["median()", "n_unique()", "implode()", "arg_max()", "quantile(0.3)", "null_count()", "product()"]
_KEPT += ["sort().first()", "drop_nulls().first()", "unique(maintain_order=True).len()", "reverse().first()"]
_KEPT += [
    "is_null().sum()",
    "top_k(2).implode()",
    "head(2)",
    "sort_by('t', maintain_order=True).last()",
    "mode().len()",
    "nan_max()",
]
_KEPT += ["bitwise_or()", "value_counts(sort=True).len()", "shift(1).last()", "cum_count().max()"]
_KEPT += [
    "first(ignore_nulls=True)",
    "last(ignore_nulls=True)",
    "is_in([1, 2]).sum()",
    "filter(pl.len() > 1)",
]
_KEPT += ["replace({1: 2}).first()", "get(0)", "item()", "rank().sum()", "diff().last()", "has_nulls()"]


def _unfit(dtype: pl.DataType) -> tuple[str, ...]:
    """What Polars itself computes differently from one context to another."""
    if dtype.is_temporal():  # the last digit
        return ("mean()", "median()", "quantile(0.3)")
    return ("arg_max()",) if dtype.is_nested() else ()


def _texts(schema: pl.Schema, keys: list[str]) -> list[str]:
    names = [name for name in schema if name != "t"]
    values = [name for name in names if name not in keys]
    found = ["pl.len().alias('rows')", "(pl.len() * 2).alias('twice')", "pl.col('t').max().alias('newest')"]
    found += ["pl.col('t').first().alias('oldest')", "pl.lit(3).alias('l')"]
    for name in names:
        dtype, col = schema[name], f"pl.col({name!r})"
        kinds = [kind for kind in _FOLDED * 2 + _KEPT if kind not in _unfit(dtype)]
        found += [f"{col}.{kind}.alias({f'{name}.{kind}'!r})" for kind in kinds]
        if dtype == pl.Boolean:
            flags = ["any()", "all()", "any(ignore_nulls=False)", "all(ignore_nulls=False)", "not_().any()"]
            found += [f"{col}.{kind}.alias({f'{name}.{kind}'!r})" for kind in flags * 2]
        if dtype.is_numeric() and not dtype.is_decimal():
            texts = [f"({col} / 7).sum()", f"({col} * 2).max()", f"{col}.filter({col} > 0).sum()"]
            texts += [f"{col}.sum() / pl.len()", f"{col}.max() - {col}.min()", f"{col}.fill_null(0).mean()"]
            texts += [f"({col} > 0).any()", f"({col} > 0).sum()", f"{col}.cast(pl.Float32).sum()"]
            texts += [
                f"pl.when({col} > 0).then({col}).first()",
                f"{col}.abs().last()",
                f"({col} % 3).n_unique()",
            ]
            found += [f"({text}).alias({f'{name}: {text}'!r})" for text in texts]
    found += ["cs.numeric().sum().name.suffix('_sum')", "cs.boolean().any().name.prefix('any_')"]
    found += ["(cs.by_dtype(pl.String) | cs.float()).first()", "pl.all().count().name.suffix('_n')"]
    found += [
        f"pl.col({values[:2]}).last().name.suffix('_l')",
        "(cs.float() - cs.float().mean()).abs().max()",
    ]
    return found


@st.composite
def aggregations(draw, schema: pl.Schema, keys: list[str], *, most: int = 5) -> list[pl.Expr]:
    """Some aggregations that Polars has for these columns, with distinct names; their texts are code."""
    chosen = draw(st.lists(st.sampled_from(_texts(schema, keys)), min_size=0, max_size=3 * most))
    found: list[pl.Expr] = []
    taken = {*keys, "t"}
    empty = pl.LazyFrame(schema=schema)
    for text in chosen:
        expr = eval(text, {"pl": pl, "cs": cs})
        try:
            grouped = empty.group_by(*keys or [pl.lit(0).alias("t")])
            names = [name for name in grouped.agg(expr).collect().columns if name not in keys]
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            continue
        names = [name for name in names if keys or name != "t"]
        if not taken & {*names} and len(found) < most:
            taken |= {*names}
            found.append(expr)
    return found


def assert_close(result: pl.DataFrame, oracle: pl.DataFrame, scale: float) -> None:
    """Equal but for the last digits of floats; `scale` is the size of the values that were summed.

    Polars' own sums are not compensated, and it adds up float32 in float32.
    """
    assert result.schema == oracle.schema
    assert result.height == oracle.height
    small = cs.float() | cs.by_dtype(pl.List(pl.Float64), pl.List(pl.Float32))
    exact = [name for name in result.columns if name not in cs.expand_selector(result, small)]
    assert_frame_equal(result.select(exact), oracle.select(exact))
    singles = [name for name, dtype in result.schema.items() if dtype == pl.Float32]
    others = [name for name in result.columns if name not in {*exact, *singles}]
    slack = 1e-12 * min(max(scale, 1.0), 1e150) ** 2
    assert_frame_equal(result.select(others), oracle.select(others), rel_tol=1e-9, abs_tol=slack)
    assert_frame_equal(result.select(singles), oracle.select(singles), rel_tol=1e-4, abs_tol=1e6 * slack)


def assert_same(result: pl.DataFrame, reference: pl.DataFrame) -> None:
    """Equal to the last bit."""
    if bits(result) != bits(reference):
        assert_frame_equal(result, reference, check_exact=True)
        raise AssertionError("the frames differ in a bit that == does not see")


def scale_of(frame: pl.DataFrame) -> float:
    """The largest finite number in a frame."""
    numbers = frame.select(cs.numeric().cast(pl.Float64, strict=False).abs())
    finite = [value for column in numbers.get_columns() for value in column if value is not None]
    return max((value for value in finite if math.isfinite(value)), default=1.0)


def exact_sum(values: list[float]) -> float:
    """The sum of floats, rounded once; infinities and NaN as floats have them."""
    if any(not math.isfinite(value) for value in values):
        return sum(values)
    try:
        return math.fsum(values)
    except OverflowError:
        return math.inf if sum(map(Fraction, values)) > 0 else -math.inf


def exact_variance(values: list[float], ddof: int) -> float | None:
    """The variance of floats, rounded once; None for too few."""
    if len(values) <= ddof:
        return None
    if any(not math.isfinite(value) for value in values):
        return math.nan
    fractions: list[Any] = [Fraction(value) for value in values]
    mean = sum(fractions) / len(fractions)
    return float(sum((value - mean) ** 2 for value in fractions) / (len(fractions) - ddof))
