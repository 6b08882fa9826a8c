"""A pipeline file has every verb and every option that Python has, under the same name."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import jsonschema
import polars as pl
import pytest

import arrowstream as ars
from arrowstream.api.rows import RowVerbs
from arrowstream.pipelines import json_schema
from arrowstream.pipelines.files import parse
from arrowstream.pipelines.models import (
    ONLY_IN_PYTHON,
    OPTIONS,
    SCANS,
    SINK_MODELS,
    SINKS,
    SOURCE_MODELS,
    STEP_MODELS,
    STEPS,
    PipelineFile,
)

ROOT = Path(__file__).parents[2]


def parameters(function):
    """Names of a function's parameters; those that take any number are one main argument."""
    found = inspect.signature(function).parameters.values()
    named = (each for each in found if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD))
    return [each.name for each in named if each.name != "self" and not each.name.startswith("_")]


def keys(made):
    return [info.alias or name for name, info in made.model_fields.items()]


def test_every_verb_is_a_step_or_only_in_python():
    verbs = {
        name
        for name, verb in inspect.getmembers(ars.Stream, inspect.isfunction)
        if not name.startswith("_") and inspect.signature(verb).return_annotation in ("Self", "Stream", "T")
    }
    verbs |= {name for name in vars(RowVerbs) if not name.startswith("_")}
    windows = {"group_by_dynamic"}
    assert verbs | windows == (set(STEPS) - {"sql"}) | set(ONLY_IN_PYTHON)


@pytest.mark.parametrize("verb", [verb for verb, form in STEPS.items() if form.function is not None])
def test_a_step_has_the_options_of_its_verb(verb):
    form = STEPS[verb]
    options = [name for name in parameters(form.function) if name not in (*form.parameters, *form.left_out)]
    extra = [option.name for option in form.extra]
    assert keys(STEP_MODELS[verb]) == [verb, *options, *extra]


@pytest.mark.parametrize("format_", SCANS)
def test_a_source_has_the_options_of_its_scan(format_):
    assert keys(SOURCE_MODELS[format_]) == [format_, *parameters(SCANS[format_])[1:]]


@pytest.mark.parametrize("format_", SINKS)
def test_an_output_has_the_options_of_its_sink(format_):
    options = parameters(SINKS[format_])[1:]
    assert keys(SINK_MODELS[format_]) in ([format_, *options], [format_, *options, "partition_by"])


def test_run_has_the_options_of_run():
    assert list(OPTIONS) == parameters(ars.run)[1:]
    assert parameters(ars.run)[1:] == parameters(ars.Job.run)


def test_every_scan_and_every_sink_of_files_is_there():
    assert {f"scan_{name}" for name in SCANS} == {name for name in ars.__all__ if name.startswith("scan_")}
    assert {f"sink_{name}" for name in SINKS} == {
        name for name in dir(ars.Stream) if name.startswith("sink_") and name != "sink_batches"
    }


def models():
    made = {**SOURCE_MODELS, **STEP_MODELS, **SINK_MODELS, "run": PipelineFile}
    return [(name, field, info) for name, each in made.items() for field, info in each.model_fields.items()]


@pytest.mark.parametrize(
    ("name", "field", "info"), models(), ids=[f"{name}-{field}" for name, field, _ in models()]
)
def test_every_option_is_described(name, field, info):
    assert info.description, f"{name}: {field}"


@pytest.mark.parametrize(
    ("made", "function"),
    [
        *((SOURCE_MODELS[name], scan) for name, scan in SCANS.items()),
        *((SINK_MODELS[name], sink) for name, sink in SINKS.items()),
        *((STEP_MODELS[verb], form.function) for verb, form in STEPS.items() if form.function),
    ],
)
def test_defaults_are_those_of_python(made, function):
    defaults = {name: each.default for name, each in inspect.signature(function).parameters.items()}
    for field, info in made.model_fields.items():
        name = info.alias or field
        if not info.is_required() and name in defaults:
            assert info.default == defaults[name]


def test_partition_by_has_the_options_of_polars():
    made = [SINK_MODELS[name].model_fields.get("partition_by") for name in SINK_MODELS]
    wanted = set(parameters(pl.PartitionBy)) - {"base_path", "file_path_provider"}
    for field in filter(None, made):
        (inner,) = [each for each in field.annotation.__args__ if each is not type(None)]
        assert set(keys(inner)) == wanted


def documents():
    for path in sorted((ROOT / "examples").iterdir()):
        if path.suffix in {".yaml", ".toml"}:
            yield pytest.param(parse(path).value, id=path.name)


@pytest.mark.parametrize("document", list(documents()))
def test_the_examples_are_right_by_the_schema(document):
    jsonschema.validate(document, json.loads(json_schema()))


@pytest.mark.parametrize(
    "change",
    [
        {"sink": {"parquet": "out"}},
        {"source": {"parquet": "in", "on_error": "skp"}},
        {"source": {"parkuet": "in"}},
        {"steps": [{"fliter": "a > 1"}]},
        {"steps": [{"group_by_dynamic": "t", "every": "10 s", "agg": {"n": "COUNT(*)"}}]},
        {"steps": [{"limit": "many"}]},
        {"run": {"threads": "all"}},
    ],
)
def test_the_schema_refuses_what_lint_refuses(change):
    document = {"source": {"parquet": "in"}, "sinks": {"parquet": "out"}}
    schema = json.loads(json_schema())
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | change, schema)


def test_the_committed_schema_is_current():
    committed = (ROOT / "examples" / "pipeline.schema.json").read_text()
    assert committed == json_schema(), "run: arrowstream schema > examples/pipeline.schema.json"
