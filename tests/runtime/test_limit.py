from __future__ import annotations

import polars as pl

from arrowstream.runtime.operators.limit import LimitOperator


def test_the_first_rows_pass_and_no_more_even_after_a_restart():
    op = LimitOperator("limit-1", 3)
    assert op.process(pl.DataFrame({"a": [1, 2]}))[0]["a"].to_list() == [1, 2]
    assert not op.satisfied
    again = LimitOperator("limit-1", 3)
    again.restore(op.snapshot().values, [])
    assert again.process(pl.DataFrame({"a": [3, 4]}))[0]["a"].to_list() == [3]
    assert again.satisfied
    assert again.process(pl.DataFrame({"a": [5]})) == []


def test_no_rows_at_all():
    assert LimitOperator("limit-1", 0).satisfied
