"""`${NAME}`: replaced, defaulted, escaped, missed; and never printed."""

from __future__ import annotations

import polars as pl
import pytest

import arrowstream as ars
from arrowstream.pipelines import load
from arrowstream.pipelines.environment import Environment
from arrowstream.pipelines.yaml_text import parse_yaml

SECRET = "canary-4711"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "one"),
        ("x-${A}-${B}-y", "x-one-two-y"),
        ("${C:-three}", "three"),
        ("${EMPTY:-three}", "three"),
        ("${EMPTY}", ""),
        ("${C:-}", ""),
        ("${C:-s3://b/x}", "s3://b/x"),
        ("$${A}", "${A}"),
        ("$${timestamp} ${A}", "${timestamp} one"),
        ("$A $$ $", "$A $$ $"),
    ],
)
def test_references(text, value):
    environment = Environment({"A": "one", "B": "two", "EMPTY": ""})
    document, mistakes = environment.applied(parse_yaml(f"x: [{{y: '{text}'}}]"), "f")
    assert not mistakes
    assert document.value == {"x": [{"y": value}]}


def test_what_a_variable_stands_for_is_not_looked_into():
    document, _ = Environment({"A": "${B}: [1]", "B": "two"}).applied(parse_yaml("x: ${A}"), "f")
    assert document.value == {"x": "${B}: [1]"}


def test_wrong_references_are_mistakes_at_their_place(mistakes):
    text = "source:\n  parquet: ${IN}\nsteps:\n  - filter: price > ${LOW\nsinks: {parquet: '${a b}'}\n"
    assert mistakes(text) == [
        (
            "pipeline.yaml:2:12: the environment variable IN is not set\n"
            "  hint: set it, or give a default: ${IN:-…}"
        ),
        (
            "pipeline.yaml:4:13: ${ is no reference to an environment variable\n"
            "  hint: write ${NAME} or ${NAME:-default}; $${ stands for ${ itself"
        ),
        (
            "pipeline.yaml:5:18: ${a b} is no reference to an environment variable\n"
            "  hint: write ${NAME} or ${NAME:-default}; $${ stands for ${ itself"
        ),
    ]


def test_numbers_and_truth_values_come_from_the_environment_too(write):
    path = write(
        "source: {parquet: bids.parquet}\nsteps: [limit: '${N}']\nsinks: {parquet: out}\n"
        "run: {batch_rows: '${N}', progress: '${SHOW:-false}', checkpoint_every: '${EVERY}'}\n"
    )
    pipeline = load(path, environment={"N": "7", "EVERY": "1000"})
    assert pipeline.options == {"batch_rows": 7, "progress": False, "checkpoint_every": 1000}
    assert pipeline.run().rows_out == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("source: {parquet: '${S}/x.parquet'}\nsinks: {parquet: out}", "${S}"),
        ("source: {parquet: bids.parquet, lateness: '${S}'}\nsinks: {parquet: out}", "lateness"),
        ("source: {parquet: bids.parquet, on_error: '${S}'}\nsinks: {parquet: out}", "${S} is not one of"),
        ("source: {parquet: bids.parquet, event_time: '${S}'}\nsinks: {parquet: out}", '"${S}"'),
        ("source: {parquet: bids.parquet}\nsteps: [filter: '${S} >']\nsinks: {parquet: out}", "${S} >"),
        ("source: {parquet: bids.parquet}\nsteps: [filter: '\"${S}\" > 3']\nsinks: {parquet: out}", '"${S}"'),
        ("source: {parquet: bids.parquet}\nsteps: [cast: {price: '${S}'}]\nsinks: {parquet: out}", "${S}"),
        ("source: {parquet: bids.parquet}\nsteps: [limit: '${S}']\nsinks: {parquet: out}", "${S} is not"),
        ("source: {parquet: bids.parquet}\nsinks: {parquet: out}\nrun: {memory_limit: '${S}'}", "${S}"),
    ],
)
def test_lint_prints_no_value_of_the_environment(mistakes, text, said):
    found = "\n".join(mistakes(text, environment={"S": SECRET}))
    assert said in found
    assert SECRET not in found


def test_an_error_of_a_run_prints_no_value_of_the_environment(write):
    path = write("source: {parquet: bids.parquet}\nsinks: {parquet: '${S}/out'}\n")
    folder = path.parent / SECRET
    pipeline = load(path, environment={"S": SECRET})
    (folder / "out").mkdir(parents=True)
    (folder / "out" / "theirs.txt").write_text("x")
    with pytest.raises(ars.StateError) as found:
        pipeline.run()
    cause = found.value
    while cause is not None:
        assert SECRET not in str(cause)
        assert SECRET not in repr(cause)
        cause = cause.__cause__
    assert "${S}/out" in str(found.value)
    assert SECRET not in repr(pipeline)


def test_a_default_is_no_secret(write):
    path = write("source: {parquet: bids.parquet}\nsinks: {parquet: '${S:-plain}/out'}\n")
    assert load(path, environment={}).run().rows_out == 60
    assert pl.read_parquet(path.parent / "plain" / "out").height == 60
