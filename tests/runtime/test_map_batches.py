from __future__ import annotations

import polars as pl
import pytest

import arrowstream as ars
from arrowstream.config import CLOCK, PARTITION
from arrowstream.errors import DataError
from arrowstream.runtime.operators.map_batches import MapBatchesOperator

SCHEMA = pl.Schema({"a": pl.Int64, "b": pl.String})


def result_of(function):
    frame = pl.DataFrame({"a": [1], CLOCK: [0], PARTITION: [0]})
    return MapBatchesOperator("map-batches-1", function, SCHEMA).process(frame)[0]


def test_the_function_sees_no_hidden_columns():
    assert result_of(lambda frame: frame.with_columns(b=pl.lit(",".join(frame.columns))))["b"].to_list() == [
        "a"
    ]


def test_columns_are_put_in_order_and_a_column_of_nulls_gets_its_type():
    frame = result_of(lambda frame: frame.select(b=None, a="a"))
    assert frame.schema == SCHEMA
    assert frame.rows() == [(1, None)]


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda _: [1], "returned list, not a pl.DataFrame"),
        (lambda frame: frame, "does not keep to its schema (b: String declared, absent returned)"),
        (
            lambda frame: frame.with_columns(b=pl.lit(1, pl.Int32), c=1),
            "(b: String declared, Int32 returned; c: absent declared, Int32 returned)",
        ),
        (lambda frame: frame.with_columns(b=pl.lit(1.5)), "(b: String declared, Float64 returned)"),
    ],
)
def test_what_does_not_keep_to_the_schema_is_an_error(function, text):
    with pytest.raises(DataError) as caught:
        result_of(function)
    assert text in str(caught.value)
    assert caught.value.operator_id == "map-batches-1"


def counting(bad, calls):
    def function(frame):
        calls.append(frame.height)
        if frame["a"].is_in(bad).any():
            raise ValueError(f"cannot take {frame['a'].to_list()[0]}")
        return frame.select("a", b=pl.col("a").cast(pl.String))

    return function


@pytest.mark.parametrize("batch_rows", [1, 3, 1_000])
def test_one_bad_row_costs_only_itself(batch_rows):
    frame = pl.DataFrame({"a": range(1_000)})
    calls: list[int] = []
    mapped = ars.from_polars(frame).map_batches(
        counting([5, 700, 701], calls), schema=SCHEMA, on_error="dead_letter"
    )
    job = mapped.sink_batches(lambda _: None)
    with pytest.warns(ars.DeadLettersWarning):
        report = job.run(batch_rows=batch_rows, progress=False)
    assert (report.rows_out, report.dead_letters) == (997, 3)
    if batch_rows == 1_000:
        assert len(calls) < 60
    letters = mapped.dead_letters().collect(batch_rows=batch_rows, progress=False)
    assert letters["original"].to_list() == [b'{"a":5}', b'{"a":700}', b'{"a":701}']
    assert letters["error"].to_list() == [f"ValueError: cannot take {n}" for n in (5, 700, 701)]
    assert letters["position"].to_list() == ["row 5", "row 700", "row 701"]


def test_rows_on_which_it_raises_are_skipped_and_counted():
    frame = pl.DataFrame({"a": range(10)})
    mapped = ars.from_polars(frame).map_batches(counting([1, 2], []), schema=SCHEMA, on_error="skip")
    assert mapped.collect(progress=False)["a"].to_list() == [0, *range(3, 10)]
    assert mapped.sink_batches(lambda _: None).run(progress=False).skipped_rows == 2


def test_all_rows_may_be_bad():
    frame = pl.DataFrame({"a": range(20)})
    mapped = ars.from_polars(frame).map_batches(counting(range(20), []), schema=SCHEMA, on_error="skip")
    assert mapped.collect(progress=False).height == 0


def test_a_function_that_does_not_look_at_each_row_alone_is_found_out():
    def pairs_only(frame):
        if frame.height > 1:
            raise ValueError("too many")
        return frame

    mapped = ars.from_polars(pl.DataFrame({"a": [1, 2]})).map_batches(pairs_only, on_error="skip")
    with pytest.raises(DataError, match="the function given to map_batches failed: ValueError: too many"):
        mapped.collect(progress=False)


def test_a_result_of_the_wrong_type_is_no_bad_row():
    mapped = ars.from_polars(pl.DataFrame({"a": [1, 2]})).map_batches(lambda _: 1, on_error="skip")
    with pytest.raises(DataError, match="returned int, not a"):
        mapped.collect(progress=False)
