"""Random frames, plans and aggregations, for comparing with Polars."""

from __future__ import annotations

from datetime import date, time, timedelta
from decimal import Decimal

import polars as pl
from hypothesis import strategies as st

ENUM = pl.Enum(["red", "green", "blue"])
TEXTS = st.sampled_from(["", "a", "b", "exactly 12 b", "thirteen byte", "a text of some length", "ä€𝄞"])
FLOATS = st.sampled_from(
    [0.0, -0.0, 0.1, 1.5, -2.25, 1e300, -1e300, float("inf"), float("-inf"), float("nan")]
)

VALUES: list[tuple[pl.DataType, st.SearchStrategy]] = [
    (pl.Int8(), st.integers(-128, 127)),
    (pl.Int16(), st.integers(-(2**15), 2**15 - 1)),
    (pl.Int32(), st.integers(-(2**31), 2**31 - 1)),
    (pl.Int64(), st.integers(-(2**63), 2**63 - 1)),
    (pl.UInt8(), st.integers(0, 255)),
    (pl.UInt16(), st.integers(0, 2**16 - 1)),
    (pl.UInt32(), st.integers(0, 2**32 - 1)),
    (pl.UInt64(), st.integers(0, 2**64 - 1)),
    (pl.Float32(), FLOATS),
    (pl.Float64(), FLOATS),
    (pl.Boolean(), st.booleans()),
    (pl.String(), TEXTS),
    (pl.Binary(), TEXTS.map(str.encode)),
    (pl.Categorical(), TEXTS),
    (ENUM, st.sampled_from(["red", "green", "blue"])),
    (pl.Date(), st.dates(date(1900, 1, 1), date(2100, 1, 1))),
    (pl.Time(), st.times(time(0), time(23, 59))),
    (pl.Duration("ms"), st.timedeltas(timedelta(-100), timedelta(100))),
    (pl.Datetime("us", "Europe/Berlin"), st.integers(0, 2**50)),
    (pl.Datetime("ns"), st.integers(-(2**60), 2**60)),
    (pl.Decimal(20, 3), st.integers(-(10**9), 10**9).map(lambda n: Decimal(n) / 1000)),
    (pl.List(pl.Int64), st.lists(st.one_of(st.none(), st.integers(-5, 5)), max_size=3)),
    (
        pl.Struct({"x": pl.Int64, "y": pl.String}),
        st.fixed_dictionaries({"x": st.integers(-5, 5), "y": TEXTS}),
    ),
]
"""Every kind of column, with values for it."""

FOLDABLE = ("len", "count", "sum", "min", "max", "mean", "var", "std", "first", "last")
HOLISTIC = ("median", "n_unique", "implode", "arg_max")


@st.composite
def column(draw, name: str, rows: int) -> pl.Series:
    """A column of a random type, a third of its values null."""
    dtype, values = draw(st.sampled_from(VALUES))
    nullable = st.one_of(st.none(), values, values)
    drawn = draw(st.lists(nullable, min_size=rows, max_size=rows))
    if isinstance(dtype, pl.Datetime):
        return pl.Series(name, drawn, dtype=pl.Int64).cast(dtype)
    return pl.Series(name, drawn, dtype=dtype, strict=False)


@st.composite
def frames(draw, *, rows_max: int = 40, disorder: int = 300) -> pl.DataFrame:
    """Rows with a time "t" in some disorder, a small number "n", and columns "a" and "b" of any type."""
    rows = draw(st.integers(0, rows_max))
    jitter = draw(st.lists(st.integers(-disorder, disorder), min_size=rows, max_size=rows))
    unit = draw(st.sampled_from(["ms", "us", "ns"]))
    zone = draw(st.sampled_from([None, None, "UTC"]))
    times = [20 * row + moved for row, moved in enumerate(jitter)]
    numbers = draw(st.lists(st.one_of(st.none(), st.integers(-9, 9)), min_size=rows, max_size=rows))
    return pl.DataFrame(
        [
            pl.Series("t", times, dtype=pl.Int64).cast(pl.Datetime(unit, zone)),
            pl.Series("n", numbers, dtype=pl.Int32),
            draw(column("a", rows)),
            draw(column("b", rows)),
        ]
    )


def aggregations_of(dtype: pl.DataType, name: str) -> list[pl.Expr]:
    """The aggregations of a column that Polars has for its type."""
    found = []
    for kind in (*FOLDABLE, *HOLISTIC):
        if kind == "arg_max" and dtype.is_nested():  # Polars itself answers otherwise from context to context
            continue
        expr = getattr(pl.col(name), kind)().alias(f"{name}_{kind}")
        try:
            pl.LazyFrame(schema={name: dtype}).group_by(pl.lit(1)).agg(expr).collect()
        except pl.exceptions.PolarsError:
            continue
        found.append(expr)
    if dtype == pl.Boolean:
        found += [getattr(pl.col(name), kind)().alias(f"{name}_{kind}") for kind in ("any", "all")]
    return found


@st.composite
def aggregations(draw, schema: pl.Schema) -> list[pl.Expr]:
    """Some aggregations, foldable and not."""
    pool = [e for name in ("n", "a", "b") for e in aggregations_of(schema[name], name)]
    pool += [
        pl.len().alias("rows"),
        pl.col("n").filter(pl.col("n") > 0).sum().alias("positive"),
        (pl.col("n").sum() / pl.len()).alias("per_row"),
        (pl.col("n") * 2).max().alias("doubled"),
    ]
    return draw(
        st.lists(st.sampled_from(pool), min_size=1, max_size=5, unique_by=lambda e: e.meta.output_name())
    )


STEPS = [
    lambda s: s.filter(pl.col("n") > 0),
    lambda s: s.remove(pl.col("n") == 1),
    lambda s: s.with_columns(m=pl.col("n") * 2 + 1),
    lambda s: s.with_columns(pl.col("n").cast(pl.Float64).alias("r")),
    lambda s: s.select("t", "n", pl.col("a").alias("c"), "b", a=pl.col("a")),
    lambda s: s.drop("b").with_columns(b=pl.col("a")),
    lambda s: s.rename({"b": "z"}).rename({"z": "b"}),
    lambda s: s.cast({"n": pl.Int64}).cast({"n": pl.Int32}),
    lambda s: s.drop_nulls("n"),
    lambda s: s.with_columns(pl.col("n").fill_null(0)),
    lambda s: s.with_columns(l=pl.concat_list("n", "n")).explode("l").drop("l"),
    lambda s: s.with_columns(q=pl.struct(u="n", v="n")).unnest("q").drop("u", "v"),
    lambda s: s.filter(pl.col("n").is_between(-5, 5), pl.col("a").is_not_null() | pl.col("b").is_null()),
    lambda s: s.with_columns(
        pl.when(pl.col("n") > 3).then(pl.lit("high")).otherwise(pl.lit("low")).alias("w")
    ),
]
"""Steps that a LazyFrame and a Stream both have; each leaves the columns t, n, a and b."""

plans = st.lists(st.sampled_from(STEPS), max_size=4)
