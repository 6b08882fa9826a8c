"""Random columns of every type that Polars and Arrow share, and frames of them."""

from __future__ import annotations

from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
from hypothesis import strategies as st

COLOURS = ["red", "green", "blue"]
TEXTS = st.sampled_from(["", "a", "b", "exactly 12 b", "thirteen byte", "thirteen bytf", "ä€𝄞", "a\0b", " a"])
ODD_FLOATS = [0.0, -0.0, 5e-324, 1e16, 1e300, -1e300, float("inf"), float("-inf"), float("nan")]
FLOATS = st.sampled_from([0.1, 0.2, 0.7, 1.0, 1.5, -2.25, *ODD_FLOATS])
TAME_FLOATS = st.floats(-1e6, 1e6, width=32)


def _ints(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    small = st.integers(max(low, -9), 9)
    return st.one_of(small, small, st.sampled_from([low, low + 1, high - 1, high]), st.integers(low, high))


def _physical(dtype: pl.DataType, values: st.SearchStrategy[int]) -> tuple[pl.DataType, Any]:
    return dtype, values


PLAIN: list[tuple[pl.DataType, st.SearchStrategy[Any]]] = [
    *((dtype(), _ints(bits, signed=True)) for dtype, bits in [
        (pl.Int8, 8), (pl.Int16, 16), (pl.Int32, 32), (pl.Int64, 64),
    ]),
    *((dtype(), _ints(bits, signed=False)) for dtype, bits in [
        (pl.UInt8, 8), (pl.UInt16, 16), (pl.UInt32, 32), (pl.UInt64, 64),
    ]),
    (pl.Float32(), FLOATS),
    (pl.Float64(), FLOATS),
    (pl.Float64(), TAME_FLOATS),
    (pl.Boolean(), st.booleans()),
    (pl.String(), TEXTS),
    (pl.Binary(), TEXTS.map(str.encode)),
    (pl.Categorical(), TEXTS),
    (pl.Enum(COLOURS), st.sampled_from(COLOURS)),
    (pl.Date(), st.dates(date(1900, 1, 1), date(2100, 1, 1))),
    (pl.Time(), st.times(time(0), time(23, 59))),
    (pl.Duration("ms"), st.timedeltas(timedelta(-100), timedelta(100))),
    (pl.Duration("us"), st.timedeltas(timedelta(-100), timedelta(100))),
    (pl.Duration("ns"), st.timedeltas(timedelta(-100), timedelta(100))),
    _physical(pl.Datetime("ms"), st.integers(-(2**40), 2**40)),
    _physical(pl.Datetime("us", "Europe/Berlin"), st.integers(0, 2**50)),
    _physical(pl.Datetime("ns", "UTC"), st.integers(-(2**60), 2**60)),
    (pl.Decimal(20, 3), st.integers(-(10**9), 10**9).map(lambda n: Decimal(n) / 1000)),
    (pl.Decimal(38, 0), st.integers(-(10**30), 10**30).map(Decimal)),
    (pl.Null(), st.none()),
]  # fmt: skip
"""Types that are not nested, with values for each."""


def _listed(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.one_of(st.none(), of, of), max_size=3)


NESTED: list[tuple[pl.DataType, st.SearchStrategy[Any]]] = [
    (pl.List(pl.Int64), _listed(st.integers(-5, 5))),
    (pl.List(pl.String), _listed(TEXTS)),
    (pl.List(pl.Categorical), _listed(TEXTS)),
    (pl.List(pl.List(pl.Int8)), _listed(_listed(st.integers(-5, 5)))),
    (pl.Array(pl.Float64, 2), st.lists(TAME_FLOATS, min_size=2, max_size=2)),
    (
        pl.Struct({"x": pl.Int64, "y": pl.String}),
        st.fixed_dictionaries({"x": st.one_of(st.none(), st.integers(-5, 5)), "y": TEXTS}),
    ),
    (
        pl.Struct({"in": pl.Struct({"z": pl.Boolean}), "list": pl.List(pl.UInt8)}),
        st.fixed_dictionaries(
            {"in": st.fixed_dictionaries({"z": st.booleans()}), "list": _listed(st.integers(0, 9))}
        ),
    ),
    (
        pl.List(pl.Struct({"k": pl.String, "v": pl.Float64})),
        _listed(st.fixed_dictionaries({"k": TEXTS, "v": TAME_FLOATS})),
    ),
]
"""Lists, arrays and structs, with values for each."""

KEYS = [(dtype, values) for dtype, values in PLAIN if dtype != pl.Null()]
"""Types of columns that one would group by."""


@st.composite
def columns(draw, name: str, rows: int, pool=None) -> pl.Series:
    """A column of a random type, with nulls in many cases."""
    dtype, values = draw(st.sampled_from(pool or [*PLAIN, *NESTED]), label=name)
    if draw(st.booleans()):
        values = st.one_of(st.none(), values, values)
    drawn = draw(st.lists(values, min_size=rows, max_size=rows))
    if isinstance(dtype, pl.Datetime):
        return pl.Series(name, drawn, dtype=pl.Int64).cast(dtype)
    return pl.Series(name, drawn, dtype=dtype, strict=False)


@st.composite
def times(draw, rows: int, *, disorder: int = 300, step: int = 20) -> pl.Series:
    """Event times in some disorder, before and after 1970, in any unit."""
    jitter = draw(st.lists(st.integers(-disorder, disorder), min_size=rows, max_size=rows))
    unit = draw(st.sampled_from(["ms", "us", "ns"]))
    zone = draw(st.sampled_from([None, None, "UTC"]))
    begin = draw(st.sampled_from([0, -500, 10**12]))
    values = [begin + step * row + moved for row, moved in enumerate(jitter)]
    return pl.Series("t", values, dtype=pl.Int64).cast(pl.Datetime(unit, zone))


@st.composite
def frames(draw, *, rows_max: int = 30, disorder: int = 300, columns_max: int = 4) -> pl.DataFrame:
    """Rows with an event time "t" and columns c0, c1, ... of any types."""
    rows = draw(st.integers(0, rows_max))
    count = draw(st.integers(1, columns_max))
    return pl.DataFrame(
        [draw(times(rows, disorder=disorder)), *(draw(columns(f"c{i}", rows)) for i in range(count))]
    )


def bits(frame: pl.DataFrame) -> bytes:
    """All of a frame, the sign of zero and the payload of NaN included: equal bytes, equal frames.

    Whether a column is one chunk or several, and what lies under its nulls, does not count.
    """
    rows = [frame.height, *(f"{name}: {dtype}" for name, dtype in frame.schema.items())]
    return repr(rows).encode() + b"".join(_bits_of(column) for column in frame.get_columns())


def _bits_of(column: pl.Series) -> bytes:
    dtype = column.dtype
    nulls = column.is_null().cast(pl.UInt8).to_numpy().tobytes()
    if isinstance(dtype, pl.Struct):
        return nulls + b"".join(_bits_of(column.struct.field(field.name)) for field in dtype.fields)
    if isinstance(dtype, pl.Array):
        return nulls + _bits_of(column.arr.to_list())
    if isinstance(dtype, pl.List):
        lengths = column.list.len().fill_null(0).to_numpy().tobytes()
        return nulls + lengths + _bits_of(column.drop_nulls().explode(empty_as_null=False))
    if dtype in (pl.Categorical, pl.Enum) or isinstance(dtype, pl.Decimal):
        return nulls + _bits_of(column.cast(pl.String))
    if dtype in (pl.String, pl.Binary):
        binary = column.cast(pl.Binary).fill_null(b"")
        return nulls + binary.bin.size().to_numpy().tobytes() + b"".join(binary.to_list())
    if dtype == pl.Null:
        return nulls
    if dtype == pl.Int128:
        return nulls + repr(column.to_list()).encode()
    physical = column.to_physical()
    zero = False if dtype == pl.Boolean else 0
    return nulls + physical.fill_null(zero).rechunk().to_numpy().tobytes()
