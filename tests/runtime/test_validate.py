from __future__ import annotations

import json
from base64 import b64decode

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arrowstream as ars
from arrowstream.config import SLOT
from arrowstream.errors import DataError, PlanError
from arrowstream.runtime.operators.rejects import Rejects
from arrowstream.runtime.operators.validate import ValidateOperator

FRAME = pl.DataFrame({"x": [1, 2, None, 40], "s": ["a", None, "c", "d"]})


def stream(**options):
    return ars.from_polars(FRAME, **options)


def test_a_rule_that_gives_null_has_failed():
    valid = stream().validate({"small": pl.col("x") < 10, "named": "s IS NOT NULL"}, on_error="skip")
    assert valid.collect(progress=False).rows() == [(1, "a")]


def test_letters_name_every_rule_that_failed():
    valid = stream().validate({"small": pl.col("x") < 10, "named": "s <> ''"}, on_error="dead_letter")
    letters = valid.dead_letters().collect(progress=False)
    assert letters["error"].to_list() == ["failed: named", "failed: small", "failed: small"]
    assert [json.loads(row)["s"] for row in letters["original"]] == [None, "c", "d"]


@pytest.mark.parametrize("batch_rows", [1, 2, 100])
def test_raising_names_rules_values_and_the_row_whatever_the_batches(batch_rows):
    rules = {"small": pl.col("x") < 10, "named": pl.col("s").is_not_null()}
    valid = stream().filter(pl.col("x") > 1).validate(rules)
    with pytest.raises(DataError) as caught:
        valid.collect(batch_rows=batch_rows, progress=False)
    assert str(caught.value) == (
        "a row does not keep the rules (failed: named): x: 2, s: None\n"
        "  at: operator validate-3, partition scan, row 1\n"
        '  hint: on_error="skip" drops such rows, "dead_letter" hands them on: .dead_letters()'
    )


@pytest.mark.parametrize("batch_rows", [1, 2, 100])
def test_raising_names_the_file_and_the_row_in_it(batch_rows, tmp_path):
    (tmp_path / "1.ndjson").write_text('{"x": 1}\n{"x": 2}\n')
    (tmp_path / "2.ndjson").write_text('{"x": 3}\n{"x": 40}\n')
    valid = ars.scan_ndjson(tmp_path).filter(pl.col("x") != 2).validate({"small": "x < 10"})
    with pytest.raises(DataError) as caught:
        valid.collect(batch_rows=batch_rows, progress=False)
    assert str(caught.value).splitlines()[:2] == [
        "a row does not keep the rules (failed: small): x: 40",
        f"  at: operator validate-3, file {tmp_path / '2.ndjson'}, row 1",
    ]
    named = ars.scan_ndjson(tmp_path).with_metadata(file="of").validate({"small": "x < 10"})
    with pytest.raises(DataError, match=r"partition scan, file .*2\.ndjson, row 3"):
        named.collect(batch_rows=batch_rows, progress=False)


def test_a_row_is_judged_as_in_company():
    """Polars divides a single row otherwise than several: the judgement must not depend on that."""
    frame = pl.DataFrame({"x": [float(n) for n in range(1, 2_000)]})
    rule = {"exact": pl.col("x") / 7 * 7 == pl.col("x")}
    kept = [
        ars.from_polars(frame).validate(rule, on_error="skip").collect(batch_rows=rows, progress=False)
        for rows in (1, 2, 4_000)
    ]
    assert 0 < kept[0].height < frame.height
    assert kept[0].equals(kept[1])
    assert kept[0].equals(kept[2])


def test_rules_that_are_the_same_for_all_rows():
    assert stream().validate({"yes": pl.lit(True)}).collect(progress=False).equals(FRAME)
    assert stream().validate({"no": "1 > 2"}, on_error="skip").collect(progress=False).height == 0
    assert stream().validate({"null": pl.lit(None)}, on_error="skip").collect(progress=False).height == 0


def test_counts_survive_a_snapshot():
    operator = ValidateOperator(
        "v", [("small", pl.col("x") < 10)], on_error="dead_letter", letters_read=False
    )
    assert operator.process(FRAME)[0].height == 2
    assert operator.rejects.take() == []
    again = ValidateOperator("v", [("small", pl.col("x") < 10)], on_error="dead_letter", letters_read=False)
    again.restore(operator.snapshot().values, [])
    assert again.rejects.dead_letters == 2
    assert again.snapshot() == operator.snapshot()


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({}, "validate: {} has no rules"),
        (["x > 1"], r"has no rules\n  hint: write {"),
        ({"": "x > 1"}, "'' is no name of a rule"),
        ({"one": 1}, 'rule "one" is int'),
        ({"one": "y > 1"}, 'rule "one": there is no column "y"'),
        ({"one": "x +"}, "is no SQL expression"),
        ({"one": pl.col("x")}, 'rule "one" is Int64, not boolean'),
        ({"one": pl.col("x") > pl.col("x").mean()}, r"mean\(\) looks at other rows"),
        ({"one": pl.all().is_null()}, 'rule "one" gives 2 columns'),
    ],
)
def test_mistakes_are_told_where_they_are_written(rules, told):
    with pytest.raises(PlanError, match=told):
        stream().validate(rules)


def test_on_error_has_three_words():
    with pytest.raises(PlanError, match='validate: on_error="drop" does not exist\n  choices: raise, skip'):
        stream().validate({"a": "x > 1"}, on_error="drop")


nested = st.recursive(
    st.one_of(
        st.tuples(st.just(pl.Int64), st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))),
        st.tuples(st.just(pl.String), st.one_of(st.none(), st.text(max_size=3))),
        st.tuples(st.just(pl.Binary), st.one_of(st.none(), st.binary(max_size=3))),
    ),
    lambda inner: st.one_of(
        inner.map(lambda pair: (pl.List(pair[0]), [pair[1], None])),
        inner.map(lambda pair: (pl.Struct({"f": pair[0], "g": pl.Int8}), {"f": pair[1], "g": 1})),
        inner.map(lambda pair: (pl.List(pair[0]), None)),
        inner.map(lambda pair: (pl.Struct({"f": pair[0]}), None)),
    ),
    max_leaves=3,
)


def from_json(value, dtype):
    """The value that was written: bytes are base64."""
    if value is None:
        return None
    if isinstance(dtype, pl.List):
        return [from_json(item, dtype.inner) for item in value]
    if isinstance(dtype, pl.Struct):
        return {field.name: from_json(value[field.name], field.dtype) for field in dtype.fields}
    return b64decode(value) if dtype == pl.Binary else value


@settings(max_examples=150, deadline=None)
@given(pair=nested)
def test_a_row_is_a_json_object_whatever_its_types(pair):
    dtype, value = pair
    rows = pl.DataFrame({"v": [value, None]}, schema={"v": dtype}).with_columns(
        pl.Series(SLOT, [3, 5], dtype=pl.UInt32)
    )
    rejects = Rejects("dead_letter", are_read=True)
    rejects.add(rows, "bad")
    (letters,) = rejects.take()
    assert letters.columns == ["original", "error", SLOT]
    written = [json.loads(original) for original in letters["original"]]
    assert [from_json(row["v"], rows.schema["v"]) for row in written] == rows["v"].to_list()
