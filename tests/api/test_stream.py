"""The verbs of a stream: Polars' names, arguments and results."""

from __future__ import annotations

import inspect
from datetime import datetime, timedelta

import polars as pl
import polars.selectors as cs
import pytest
from polars.testing import assert_frame_equal

import arrowstream as ars

FRAME = pl.DataFrame(
    {
        "t": [datetime(2026, 1, 1, 0, 0, second) for second in (1, 4, 11, 12)],
        "key": ["a", "b", "a", None],
        "price": [90, 120, None, 150],
        "tags": [[1, 2], [], None, [3]],
        "box": [{"x": 1, "y": "p"}, {"x": 2, "y": "q"}, {"x": 3, "y": "r"}, {"x": 4, "y": "s"}],
    }
)

SAME_ARGUMENTS = (
    "filter",
    "remove",
    "select",
    "with_columns",
    "drop",
    "rename",
    "cast",
    "explode",
    "unnest",
    "unpivot",
    "drop_nulls",
    "fill_null",
    "limit",
    "head",
    "pipe",
    "group_by_dynamic",
)
SOME_ARGUMENTS = (
    "map_batches",
    "show",
    "show_graph",
    "collect_schema",
    "sink_parquet",
    "sink_ipc",
    "sink_batches",
)


FILES = {"max_rows_per_file", "approximate_bytes_per_file", "rotate_every"}
OWN_ARGUMENTS = {"map_batches": {"on_error"}, "sink_parquet": FILES, "sink_ipc": {*FILES, "format"}}
"""What Polars' verb of the same name does not have."""


def stream(**options) -> ars.Stream:
    return ars.from_polars(FRAME, **options)


def _parameters(function):
    return [
        (p.name, p.kind, p.default)
        for p in inspect.signature(function).parameters.values()
        if p.name != "self"
    ]


@pytest.mark.parametrize("verb", SAME_ARGUMENTS)
def test_arguments_are_those_of_lazyframe(verb) -> None:
    assert _parameters(getattr(ars.Stream, verb)) == _parameters(getattr(pl.LazyFrame, verb))


@pytest.mark.parametrize("verb", SOME_ARGUMENTS)
def test_arguments_are_among_those_of_lazyframe(verb) -> None:
    own = [(name, kind) for name, kind, _ in _parameters(getattr(ars.Stream, verb))]
    polars = [(name, kind) for name, kind, _ in _parameters(getattr(pl.LazyFrame, verb))]
    own = [argument for argument in own if argument[0] not in OWN_ARGUMENTS.get(verb, ())]
    assert set(own) <= set(polars)


@pytest.mark.parametrize(
    "query",
    [
        lambda s: s.filter(pl.col("price") > 100),
        lambda s: s.filter(key="a"),
        lambda s: s.filter(pl.col("price") > 10, [pl.col("price") < 130], key="a"),
        lambda s: s.remove(pl.col("price") > 100),
        lambda s: s.remove(key="a"),
        lambda s: s.select("price", double=pl.col("price") * 2),
        lambda s: s.select(pl.all().exclude("box")),
        lambda s: s.select(cs.numeric(), ["key"]),
        lambda s: s.with_columns(pl.col("price").fill_null(0), year=pl.col("t").dt.year()),
        lambda s: s.with_columns(self_=1, node=pl.lit("x"), verb="key"),
        lambda s: s.drop("price", cs.temporal()),
        lambda s: s.drop("nothing", strict=False),
        lambda s: s.rename({"price": "cents", "key": "price"}),
        lambda s: s.rename(str.upper),
        lambda s: s.cast({"price": pl.Float64, cs.temporal(): pl.Datetime("ms")}),
        lambda s: s.select("price").cast(pl.String),
        lambda s: s.explode("tags"),
        lambda s: s.explode("tags", empty_as_null=True, keep_nulls=False),
        lambda s: s.unnest("box"),
        lambda s: s.unnest(separator="."),
        lambda s: s.drop_nulls(),
        lambda s: s.drop_nulls("key"),
        lambda s: s.drop_nulls(["key", "price"]),
        lambda s: s.fill_null(0),
        lambda s: s.select("key").fill_null(pl.lit("none")),
        lambda s: s.select("price", "key").fill_null(strategy="zero"),
        lambda s: s.limit(3),
        lambda s: s.head(2),
        lambda s: s.head(),
        lambda s: s.limit(0),
        lambda s: s.pipe(lambda self, n: self.limit(n), n=1),
        lambda s: s.map_batches(lambda frame: frame.with_columns(pl.col("price") + 1)),
        lambda s: s.filter(pl.lit(value=False)),
        lambda s: s.filter(pl.col("price") > 100).with_columns(one=1).drop("box").limit(1),
    ],
)
@pytest.mark.parametrize("batch_rows", ["auto", 1])
def test_the_result_is_that_of_polars(query, batch_rows) -> None:
    made = query(stream())
    expected = query(FRAME.lazy()).collect()
    assert_frame_equal(made.collect(batch_rows=batch_rows), expected)
    assert made.schema == made.collect_schema() == expected.schema
    assert made.columns == expected.columns
    assert made.dtypes == expected.dtypes
    assert made.width == expected.width


@pytest.mark.parametrize("batch_rows", ["auto", 1, 3])
def test_unpivot_gives_the_rows_of_polars_in_an_order_that_no_batch_decides(batch_rows) -> None:
    made = stream().unpivot(["price"], index="t").collect(batch_rows=batch_rows)
    assert_frame_equal(made, FRAME.lazy().unpivot(["price"], index="t").collect())
    wide = ars.from_polars(pl.DataFrame({"k": ["x", "y"], "a": [1, 3], "b": [2, 4]}))
    assert (
        wide.unpivot(index="k").collect(batch_rows=batch_rows).rows()
        == wide.unpivot(index="k").collect().rows()
    )


def test_windows_are_those_of_polars() -> None:
    def query(s):
        return (
            s.drop("box", "tags")
            .group_by_dynamic("t", every="10s", group_by="key")
            .agg(n=pl.len(), top=pl.col("price").max())
        )

    made = query(stream(event_time="t")).collect()
    assert_frame_equal(made, query(FRAME.lazy()).collect(), check_row_order=False)
    assert made.columns == ["key", "t", "n", "top"]


def test_windows_take_timedeltas_and_have_boundaries() -> None:
    grouped = stream(event_time="t").group_by_dynamic(
        "t", every=timedelta(seconds=10), period="20s", include_boundaries=True, label="right"
    )
    made = grouped.agg(pl.col("price").sum()).collect()
    assert made.columns == ["_lower_boundary", "_upper_boundary", "t", "price"]
    assert made["price"].to_list() == [210, 360, 150]
    assert made["t"].to_list() == made["_upper_boundary"].to_list()


def test_a_stream_of_windows_is_a_stream_again() -> None:
    def by(seconds):
        return lambda s: s.group_by_dynamic("t", every=f"{seconds}s").agg(pl.col("price").sum())

    made = stream(event_time="t").pipe(by(2)).pipe(by(20)).collect()
    assert made["price"].to_list() == [360]


LATE = pl.DataFrame(
    {"t": [datetime(2026, 1, 1, 0, 0, second) for second in (1, 30, 2, 31)], "n": [1, 2, 3, 4]}
)


@pytest.mark.filterwarnings("ignore::arrowstream.LateRowsWarning")
def test_late_rows_have_the_columns_they_came_with() -> None:
    rows = ars.from_polars(LATE, event_time="t", lateness="5s").filter(pl.col("n") > 0)
    grouped = rows.group_by_dynamic("t", every="10s")
    counted = grouped.agg(n=pl.len())
    assert counted.collect()["n"].to_list() == [1, 2]
    assert grouped.late().collect().rows() == LATE[2:3].rows()
    assert counted.late().collect().rows() == LATE[2:3].rows()
    assert counted.filter(pl.col("n") > 1).late().columns == ["t", "n"]


def test_with_event_time_says_what_scan_may_say() -> None:
    late = ars.from_polars(LATE).with_event_time("t", lateness="5s").group_by_dynamic("t", every="10s").late()
    assert late.collect()["n"].to_list() == [3]


def test_without_lateness_nothing_is_late() -> None:
    assert (
        ars.from_polars(LATE, event_time="t").group_by_dynamic("t", every="10s").late().collect().height == 0
    )


def test_late_needs_exactly_one_window() -> None:
    rows = ars.from_polars(LATE, event_time="t")
    with pytest.raises(
        ars.PlanError, match=r"there is no window upstream, and so no late rows\n  hint: call \.late"
    ):
        rows.late()
    twice = (
        rows.group_by_dynamic("t", every="2s").agg(pl.len()).group_by_dynamic("t", every="4s").agg(pl.len())
    )
    with pytest.raises(ars.PlanError, match="2 windows are upstream, and each has late rows of its own"):
        twice.late()


def test_a_group_says_what_it_is_and_what_it_needs() -> None:
    grouped = stream(event_time="t").group_by_dynamic("t", every="10s", group_by="key")
    assert repr(grouped) == "<DynamicGroupBy on t, every 10s, period 10s, by key: give it to .agg(...)>"
    with pytest.raises(
        AttributeError, match=r"'DynamicGroupBy' has no 'sum'\n  hint: use \.agg\(pl\.all\(\)\.sum"
    ):
        grouped.sum()
    with pytest.raises(AttributeError, match=r"hint: use \.agg\(pl\.len\(\)\)"):
        grouped.len()
    with pytest.raises(
        AttributeError, match=r"has no 'collect'\n  hint: use \.agg\(\.\.\.\), which gives a Stream"
    ):
        grouped.collect()


def test_an_error_points_at_the_line_that_wrote_it() -> None:
    rows = stream()
    with pytest.raises(ars.PlanError) as caught:
        rows.filter(pl.col("prize") > 1)
    assert "prize" in str(caught.value)
    assert 'did you mean "price"?' in str(caught.value)
    here = [entry for entry in caught.traceback if str(entry.path) == __file__]
    assert 'rows.filter(pl.col("prize") > 1)' in str(here[-1].statement)


@pytest.mark.parametrize("setting", [{"closed": "right"}, {"start_by": "datapoint"}, {"label": "datapoint"}])
def test_settings_that_a_stream_cannot_have_are_refused_at_group_by(setting) -> None:
    with pytest.raises(ars.PlanError, match="hint"):
        stream(event_time="t").group_by_dynamic("t", every="10s", **setting)


def test_a_stream_can_be_used_any_number_of_times() -> None:
    rows = stream()
    dear = rows.filter(pl.col("price") > 100)
    assert dear.collect().height == 2
    assert rows.collect().height == 4
    assert dear.collect().height == 2


@pytest.mark.parametrize(
    "option", [{"batch_rows": 0}, {"threads": 0}, {"runner": "ray"}, {"progress": "maybe"}]
)
def test_options_are_checked_at_the_call(option) -> None:
    for call in (stream().collect, stream().iter_batches, stream().iter_batches_async):
        with pytest.raises(ars.PlanError):
            call(**option)


def test_show_prints_the_first_rows(capsys) -> None:
    stream().select("price").show(limit=2)
    printed = capsys.readouterr().out
    assert "shape: (2, 1)" in printed
    assert "120" in printed
    assert "150" not in printed


def never_read():
    raise AssertionError("the query has run")
    yield


def test_looking_never_runs_the_query(tmp_path) -> None:
    rows = ars.from_batches(never_read, schema={"t": pl.Datetime("us"), "<b>": pl.Int64}, event_time="t")
    query = rows.filter(pl.col("<b>") > 1).group_by_dynamic("t", every="10s").agg(pl.col("<b>").sum())
    assert repr(query) == "<Stream {t: Datetime('us'), <b>: Int64}, event time t, bounded>"
    html = query._repr_html_()
    assert html.count("<svg") == 1
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "event time" in html
    assert "FILTER" in query.explain()
    assert query.show_graph(raw_output=True).startswith("<svg")
    assert query.show_graph() == query.show_graph(raw_output=True)
    assert query.show_graph(output_path=tmp_path / "plan.svg") is None
    assert (tmp_path / "plan.svg").read_text(encoding="utf-8") == query.show_graph(raw_output=True)
    query.__arrow_c_stream__()
    query.iter_batches()


def test_a_wide_stream_shows_its_first_columns() -> None:
    wide = ars.from_polars(pl.DataFrame({f"c{number}": [1] for number in range(50)}))
    assert "… 10 more" in wide._repr_html_()
    assert ", …}" in repr(wide)
