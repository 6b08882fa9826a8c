from __future__ import annotations

import polars as pl
import pytest

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
