"""Texts that PyArrow is not asked about, as it surely does not take them: it is asked here."""

from __future__ import annotations

import itertools
from decimal import Context, Decimal

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.connectors.files import text as module
from arrowstream.connectors.files.text import converted, decoded

TYPES = [
    pl.Int8(),
    pl.Int64(),
    pl.UInt8(),
    pl.UInt64(),
    pl.Float32(),
    pl.Float64(),
    pl.Decimal(38, 2),
    pl.Decimal(5, 0),
    pl.Date(),
    pl.Datetime("ms"),
    pl.Datetime("us"),
    pl.Datetime("ns"),
    pl.Datetime("us", "UTC"),
]
PIECES = [
    *("", "0", "1", "9", "12", "128", "255", "99999999999999999999", "-", "+", ".", "e", "E", "nan", "inf"),
    *(
        "2020",
        "0000",
        "9999",
        "-01",
        "-02",
        "-12",
        "-13",
        "-29",
        "-30",
        "-31",
        "-00",
        "T",
        " ",
        "_",
        "01",
        "23",
    ),
    *(
        "24",
        ":00",
        ":59",
        ":60",
        ".5",
        ".123456",
        ".123456789",
        "Z",
        "z",
        "+01",
        "+0100",
        "-01:00",
        "+99",
        "x",
    ),
    *("é", "\uff11", "\n", "2020-02-29", "2019-02-29", "2020-01-01T00:00:00", "1.25", "1.250", "1e-2"),
]
texts = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)


def arrow(text):
    return text.to_arrow(compat_level=pl.CompatLevel.oldest())


def taken(text, dtype):
    """Whether PyArrow takes each text, asked about it alone."""
    target = pa.decimal128(38, dtype.scale) if isinstance(dtype, pl.Decimal) else module.arrow_type(dtype)
    return np.array([module._casts(pa.array([value], pa.large_string()), target) for value in text])


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(TYPES), st.lists(texts, min_size=1, max_size=30))
def test_what_is_refused_without_asking_is_refused(dtype, found):
    text = pl.Series(found)
    refused = module._is_refused(text, arrow(text), dtype)
    assert not (refused & taken(text, dtype)).any()


@pytest.mark.parametrize("dtype", [pl.Date(), pl.Datetime("us")], ids=str)
def test_days_are_those_of_pyarrow(dtype):
    days = itertools.product(("0000", "1900", "2000", "2023", "2024", "9999"), range(14), range(33))
    text = pl.Series([f"{year}-{month:02}-{day:02}" for year, month, day in days])
    assert (module._is_refused(text, arrow(text), dtype) == ~taken(text, dtype)).all()


DIGITS = Context(prec=1_000)
numbers = st.builds(
    lambda sign, digits, point, exponent: f"{sign}{digits[:point]}.{digits[point:]}{exponent}",
    st.sampled_from(["", "-", "+"]),
    st.integers(0, 60).flatmap(lambda size: st.text("0123456789", min_size=size, max_size=size))
    | st.sampled_from(["9" * 38, "1" + "0" * 38, "9" * 39, "1" + "0" * 399]),
    st.integers(0, 60),
    st.just("") | st.integers(-80, 80).map("e{}".format),
)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 38), st.data(), st.lists(numbers, min_size=1, max_size=20))
def test_a_decimal_is_what_is_written_or_refused(precision, data, found):
    """Also where PyArrow takes a number that does not fit for another one."""
    scale = data.draw(st.integers(0, precision))
    values, wrong = converted(pl.Series(found), pl.Decimal(precision, scale), empty_is_null=False)
    for text, value, is_wrong in zip(found, values.to_list(), wrong.tolist(), strict=True):
        exact = Decimal(text).scaleb(scale, DIGITS) if any(map(str.isdigit, text.partition("e")[0])) else None
        if exact is not None and exact == int(exact) and abs(exact) < 10**precision:
            assert (value, is_wrong) == (Decimal(text), False)
        else:
            assert (value, is_wrong) == (None, True)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(TYPES[:-1]), st.lists(st.none() | texts, max_size=30), st.integers(0, 5))
def test_values_do_not_depend_on_their_neighbours(dtype, found, first):
    text = pl.Series(found, dtype=pl.String)[first:]
    values, wrong = converted(text, dtype, empty_is_null=True)
    for index in range(len(text)):
        alone, is_wrong = converted(text[index : index + 1], dtype, empty_is_null=True)
        assert bool(is_wrong[0]) == bool(wrong[index])
        assert alone.equals(values[index : index + 1])


def test_many_bad_values_of_every_form():
    good = pl.Series(range(2_000)).cast(pl.Datetime("us")).dt.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_list()
    bad = [
        "x",
        "2020-02-30",
        "2020-01-01_00:00:00",
        "",
        "2020-01-01T25:00:00",
        "1-1-1",
        "2020-01-01T00:00:00Z",
    ]
    text = pl.Series([bad[row % 7] if row % 3 == 0 else value for row, value in enumerate(good)])
    values, wrong = converted(text, pl.Datetime("us"), empty_is_null=False)
    assert wrong.tolist() == [row % 3 == 0 for row in range(2_000)]
    assert values.drop_nulls().cast(pl.Int64).to_list() == [row for row in range(2_000) if row % 3]


@given(st.lists(st.none() | st.binary(max_size=6) | st.text(max_size=3).map(str.encode), max_size=20))
def test_bytes_that_are_no_text(found):
    text, bad = decoded(pl.Series(found, dtype=pl.Binary))
    for content, value, is_bad in zip(found, text, bad.tolist(), strict=True):
        try:
            expected = None if content is None else content.decode()
            assert (value, is_bad) == (expected, False)
        except UnicodeDecodeError:
            assert (value, is_bad) == (None, True)
