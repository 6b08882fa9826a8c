from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

import arrowstream as ars
from arrowstream.errors import PlanError

FRAME = pl.DataFrame(
    {
        "host": ["a", None],
        "n": [1, 2],
        "user": [{"name": "x", "at": {"city": "B"}}, {"name": None, "at": None}],
        "t": [datetime(2026, 1, 2, 3, 4), None],
    }
)


def texts(text, **options):
    stream = ars.from_polars(FRAME).select(text=ars.template(text, **options), n="n")
    return stream.collect(progress=False)["text"].to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${host}-${n}", ["a-1", "-2"]),
        ("${user.name} in ${ user.at.city }", ["x in B", " in "]),
        ("${t:%Y/%m/%d %H:%M}", ["2026/01/02 03:04", ""]),
        ("$$${n} {} $${n}", ["$1 {} ${n}", "$2 {} ${n}"]),
        ("no place", ["no place", "no place"]),
        ("", ["", ""]),
    ],
)
def test_places_are_filled(text, expected):
    assert texts(text) == expected


def test_null_is_what_is_given():
    assert texts("${host}", null="-") == ["a", "-"]


@pytest.mark.parametrize("text", ["$n", "${}", "${a.}", "${n", "cost: 5$"])
def test_mistakes(text):
    with pytest.raises(PlanError, match="template: "):
        ars.template(text)


def test_an_unknown_column_is_told_where_it_is_used():
    with pytest.raises(
        PlanError, match=r'with_columns: there is no column "hots"\n.*\n  hint: did you mean "host"'
    ):
        ars.from_polars(FRAME).with_columns(x=ars.template("${hots}"))
