"""Row verbs: the text of every error, and what is known about the result."""

from __future__ import annotations

import polars as pl
import pytest
from polars import col
from polars import selectors as cs

from arrowstream.errors import PlanError
from arrowstream.plan.build import row_step

COLUMNS = "  choices: t, auction, price, channel"


def refused(node, verb, *args, **kwargs):
    with pytest.raises(PlanError) as caught:
        row_step(node, verb, *args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize(
    ("verb", "args", "kwargs"),
    [
        ("filter", (col("prize") > 1,), {}),
        ("remove", (), {"prize": 1}),
        ("select", ("prize",), {}),
        ("with_columns", (), {"x": col("prize") + 1}),
        ("drop", ("prize",), {"strict": True}),
        ("rename", ({"prize": "x"},), {"strict": True}),
        ("cast", ({"prize": pl.Int64},), {}),
        ("explode", ("prize",), {}),
        ("unnest", ("prize",), {}),
        ("unpivot", (["prize"],), {}),
        ("unpivot", (), {"index": "prize"}),
        ("drop_nulls", (["prize"],), {}),
        ("fill_null", (col("prize"),), {}),
    ],
)
def test_unknown_column(bids, verb, args, kwargs):
    assert refused(bids, verb, *args, **kwargs) == (
        f'{verb}: there is no column "prize"\n{COLUMNS}\n  hint: did you mean "price"?'
    )


def test_unknown_column_like_no_other(bids):
    assert refused(bids, "select", "zzz") == f'select: there is no column "zzz"\n{COLUMNS}'


def test_the_error_of_polars_is_the_cause(bids):
    with pytest.raises(PlanError) as caught:
        row_step(bids, "select", "prize")
    assert isinstance(caught.value.__cause__, pl.exceptions.ColumnNotFoundError)


@pytest.mark.parametrize(
    ("verb", "expr", "text"),
    [
        (
            "filter",
            col("price"),
            (
                "filter: filter predicate must be of type `Boolean`, got `Float64`\n"
                "  hint: compare: pl.col(…) > 0, or name=value for equality"
            ),
        ),
        (
            "filter",
            col("channel") > 1,
            (
                "filter: cannot compare string with numeric type (i32) "
                '(in [(col("channel")) > (dyn int: 1)])\n'
                "  hint: cast one of the two first: .cast(…)"
            ),
        ),
        (
            "select",
            col("price").dt.hour(),
            (
                'select: `hour` operation not supported for dtype `f64` (in col("price").dt.hour())\n'
                "  hint: cast the column first, or leave it out"
            ),
        ),
        (
            "with_columns",
            col("t") + col("t"),
            (
                "with_columns: + not allowed on datetime[μs] and datetime[μs]\n"
                "  hint: cast one of the two first: .cast(…)"
            ),
        ),
        (
            "with_columns",
            col("price").struct.field("x"),
            'with_columns: there is no struct field "x"',
        ),
    ],
)
def test_ill_typed(bids, verb, expr, text):
    assert refused(bids, verb, expr) == text


def test_unknown_struct_field(scan):
    stream = scan(s=pl.Struct({"x": pl.Int64}))
    assert refused(stream, "select", col("s").struct.field("y")) == 'select: there is no struct field "y"'


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("select", ("price", col("auction").alias("price"))),
        ("with_columns", (col("auction").alias("price"), col("price"))),
        ("rename", ({"auction": "price"},)),
    ],
)
def test_two_columns_of_one_name(bids, verb, args):
    assert refused(bids, verb, *args) == (
        f'{verb}: two columns would be called "price"\n  hint: give one of them another name with .alias("…")'
    )


@pytest.mark.parametrize(
    ("verb", "args", "kwargs"),
    [
        ("with_columns", (), {"__arrowstream_x": 1}),
        ("select", (col("price").alias("__arrowstream_x"),), {}),
        ("rename", ({"price": "__arrowstream_x"},), {}),
    ],
)
def test_hidden_names_are_taken(bids, verb, args, kwargs):
    assert refused(bids, verb, *args, **kwargs) == (
        f'{verb}: column names that begin with "__arrowstream_" are taken: "__arrowstream_x"\n'
        "  hint: rename it"
    )


@pytest.mark.parametrize(
    ("verb", "expr", "construct", "hint"),
    [
        (
            "with_columns",
            col("price") - col("price").mean(),
            "mean() looks at other rows than its own",
            "aggregate the rows of a window instead: .group_by_dynamic(…).agg(…)",
        ),
        (
            "filter",
            col("price") > col("price").shift(),
            "shift() looks at other rows than its own",
            "aggregate the rows of a window instead: .group_by_dynamic(…).agg(…)",
        ),
        (
            "select",
            pl.len(),
            "len() looks at other rows than its own",
            "aggregate the rows of a window instead: .group_by_dynamic(…).agg(…)",
        ),
        (
            "select",
            col("channel").str.to_datetime(),
            "str.to_datetime() without format= looks at other rows than its own",
            "give format=: without it, the format is guessed from other rows",
        ),
        (
            "with_columns",
            col("price").fill_null(strategy="forward"),
            "fill_null(strategy=…) looks at other rows than its own",
            "fill with a value",
        ),
        (
            "with_columns",
            pl.lit(pl.Series("x", [1, 2])),
            "a literal Series looks at other rows than its own",
            "a stream has no fixed length; compare with is_in, or take the values from a column",
        ),
        (
            "filter",
            col("price").is_in(col("auction")),
            "is_in() of a column looks at other rows than its own",
            "give it a list of values, or a column of lists",
        ),
        (
            "select",
            col("price").map_elements(str.upper, return_dtype=pl.String).shift(),
            "shift() around a Python function looks at other rows than its own",
            "give the Python function a step of its own: .with_columns(x=….map_elements(…))",
        ),
        (
            "select",
            col("price").filter(col("price") > 1),
            "filter() does not give one value for each row",
            "make it a step of its own: .filter(…)",
        ),
        (
            "with_columns",
            col("price").drop_nulls(),
            "drop_nulls() does not give one value for each row",
            "make it a step of its own: .drop_nulls(…)",
        ),
    ],
)
def test_not_row_by_row(bids, verb, expr, construct, hint):
    assert refused(bids, verb, expr) == f"{verb}: {construct}, in {expr}\n  hint: {hint}"


def test_select_of_literals_only(bids):
    expected = (
        "select: only literals are left, which give one row whatever the input\n"
        "  hint: keep a column beside them, or use with_columns"
    )
    assert refused(bids, "select", pl.lit(1)) == expected
    assert refused(bids, "select", pl.any_horizontal(cs.boolean() & (pl.lit(float("inf")) > 1))) == expected
    assert row_step(bids, "select", "price", one=1).schema == {"price": pl.Float64, "one": pl.Int32}


def test_no_column_left(bids):
    assert refused(bids, "drop", pl.all()) == f"drop: no column would be left\n{COLUMNS}"
    for nothing in ((), (cs.boolean(),), (cs.boolean().map_batches(lambda s: s),)):
        assert refused(bids, "select", *nothing) == f"select: no column would be left\n{COLUMNS}"


def test_dict_as_expression(bids):
    assert refused(bids, "select", {"x": col("price")}) == (
        "select: a dict is no expression\n  hint: unpack it: **{name: expression}"
    )


def test_filter_arguments(bids):
    assert refused(bids, "filter") == (
        'filter: no predicate was given\n  hint: write one, such as pl.col("price") > 100'
    )
    assert refused(bids, "filter", [True, False]) == (
        "filter: a mask of values does not fit a stream\n  hint: write an expression"
    )
    several = pl.col("auction", "price") > 1
    assert refused(bids, "filter", several) == (
        f"filter: {several} gives 2 columns\n"
        "  hint: join them with pl.all_horizontal(…) or pl.any_horizontal(…)"
    )
    step = row_step(bids, "filter", col("price") > 1, [True, col("auction") == 1], channel="x")
    assert len(step.args) == 4


def test_explode_needs_lists(bids):
    assert refused(bids, "explode", "price") == 'explode: column "price" is Float64, neither list nor array'


def test_unpivot_needs_one_type(scan):
    node = scan(event_time=None, a=pl.Int64, words=pl.List(pl.Int64))
    assert refused(node, "unpivot", ["a", "words"]) == (
        "unpivot: failed to determine supertype of i64 and list[i64]\n"
        "  hint: cast the columns to one type first: .cast({…})"
    )
    assert refused(node, "explode", "a") == (
        'explode: column "a" is Int64, neither list nor array\n  choices: words'
    )


@pytest.mark.parametrize("mapping", ["price", {"price": 1}, None])
def test_rename_needs_names(bids, mapping):
    assert refused(bids, "rename", mapping) == (
        f"rename: {mapping!r} does not say which name becomes which\n"
        '  hint: write rename({"old": "new"}), or give a function from the old name to the new'
    )


def test_a_value_that_is_no_expression(bids):
    assert refused(bids, "filter", sum) == (
        "<built-in function sum> is no expression: it is a builtin_function_or_method\n"
        '  hint: write an expression such as pl.col("price") * 2, the name of a column, or a value'
    )


def test_unnest_needs_structs(bids):
    assert refused(bids, "unnest", "price") == ('unnest: column "price" is Float64, not a struct')


def test_columns_are_names_or_selectors(bids):
    assert refused(bids, "drop_nulls", [col("price") + 1]) == (
        'drop_nulls: [(col("price")) + (dyn int: 1)] is neither a column nor a selector\n'
        '  hint: name columns: "price", pl.col("a", "b"), or selectors of polars.selectors'
    )


def test_fill_null_arguments(bids):
    assert refused(bids, "fill_null", None, "forward") == (
        'fill_null: strategy="forward" looks at other rows than its own\n'
        "  choices: zero, one\n  hint: fill with a value"
    )
    assert refused(bids, "fill_null", 0, None, 3) == (
        "fill_null: limit counts neighbouring rows\n  hint: leave limit out"
    )
    for arguments in ((), (0, "zero")):
        assert refused(bids, "fill_null", *arguments) == (
            "fill_null: give either a value or a strategy\n"
            '  hint: write fill_null(0), or fill_null(strategy="zero")'
        )
    assert "mean() looks at other rows" in refused(bids, "fill_null", col("price").mean())


WIDE = {
    "a": pl.Int64,
    "b": pl.Float32,
    "l": pl.List(pl.Int64),
    "m": pl.Array(pl.Int8, 2),
    "s": pl.Struct({"x": pl.Int64, "y": pl.String}),
    "d": pl.Decimal(10, 2),
    "c": pl.Categorical,
    "e": pl.Date,
}


@pytest.mark.parametrize(
    ("verb", "args", "kwargs"),
    [
        ("filter", (pl.all_horizontal(cs.numeric() > 0),), {}),
        ("remove", (col("a") > 1, col("b") < 2), {}),
        ("select", (cs.numeric(), "l"), {"z": "a"}),
        ("select", (pl.all().exclude("a"),), {}),
        ("select", (col("s").struct.field("*"),), {}),
        ("with_columns", ((cs.integer() * 2).name.suffix("_2"),), {"q": 1.5}),
        ("drop", ("a", cs.nested()), {}),
        ("drop", ("nothing",), {"strict": False}),
        ("rename", ({"a": "b", "b": "a"},), {}),
        ("rename", (str.upper,), {}),
        ("cast", (pl.String,), {"strict": False}),
        ("cast", ({cs.numeric(): pl.Float64, "e": pl.Datetime("us")},), {}),
        ("cast", ({pl.Date: pl.Datetime("ms")},), {}),
        ("explode", ("l",), {}),
        ("explode", (["l", "m"],), {"empty_as_null": True}),
        ("explode", (cs.list(), cs.array()), {}),
        ("unnest", (), {}),
        ("unnest", ("s",), {"separator": "."}),
        ("unpivot", (["a", "b"],), {"index": ["c", "e"]}),
        ("unpivot", (), {"index": ~cs.numeric(), "variable_name": "k", "value_name": "v"}),
        ("drop_nulls", (), {}),
        ("drop_nulls", (cs.numeric(),), {}),
        ("fill_null", (0,), {}),
        ("fill_null", (5.5,), {"matches_supertype": False}),
        ("fill_null", (), {"strategy": "zero"}),
        ("fill_null", ("x",), {}),
    ],
)
def test_schema_is_what_polars_gives(scan, verb, args, kwargs):
    stream = scan(**WIDE)
    expected = getattr(pl.DataFrame(schema=stream.schema).lazy(), verb)(*args, **kwargs).collect().schema
    assert row_step(stream, verb, *args, **kwargs).schema == expected


def test_arguments_become_explicit(bids):
    assert row_step(bids, "drop", cs.numeric()).args == ("auction", "price")
    assert row_step(bids, "rename", str.upper).args[0] == {
        "t": "T",
        "auction": "AUCTION",
        "price": "PRICE",
        "channel": "CHANNEL",
    }
    assert row_step(bids, "cast", pl.Float64).args[0] == {
        "t": pl.Float64,
        "auction": pl.Float64,
        "channel": pl.Float64,
    }
    assert row_step(bids, "drop_nulls", None).args == (("t", "auction", "price", "channel"),)
    assert [str(expr) for expr in row_step(bids, "select", cs.numeric() * 2).args] == [
        '[(col("auction")) * (dyn int: 2)]',
        '[(col("price")) * (dyn int: 2)]',
    ]
