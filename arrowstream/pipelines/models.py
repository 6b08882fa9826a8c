"""What a pipeline file can say, as pydantic models.

One rule for sources, steps and sinks: the first key says what it is and takes the main argument; the other
arguments stand beside it, under the names that they have in Python.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union

import polars as pl
from pydantic import BeforeValidator, Discriminator, Field, Tag

import arrowstream as ars
from arrowstream.pipelines.fields import (
    DTypes,
    DurationText,
    NamedSql,
    Names,
    OneOrMany,
    OrNames,
    PathText,
    PathTexts,
    Rules,
    SqlExpressions,
    SqlQuery,
    listed,
)
from arrowstream.pipelines.signatures import Option, Strict, model, options_of, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SCAN, _SINK = "scan_", "sink_"
_DTYPES_BY_NAME: tuple[str, ...] = ("schema", "hive_schema", "schema_overrides")
"""Parameters that map columns to types, where the annotation says only that they map."""

_DURATIONS_BY_NAME: tuple[str, ...] = ("rotate_every",)
"""Parameters that are durations, where the annotation says only that they are texts."""


@dataclass(frozen=True, slots=True)
class Form:
    """How one function of the API is written in a file.

    Attributes
    ----------
    function
        Of the API; None for a step that is made of several of its calls.
    main
        Type of what stands behind the key.
    parameters
        The names that it has in the signature.
    left_out
        Parameters that a file does not have.
    extra
        Fields that belong to another call.
    text
        What it does, if there is no docstring to say so.
    """

    function: Callable[..., Any] | None
    main: Any
    parameters: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    extra: tuple[Option, ...] = ()
    text: str = ""


_METADATA = model("Metadata", options_of(ars.Stream.with_metadata), text=summary(ars.Stream.with_metadata))
_AGG = Option("agg", NamedSql, ..., "SQL aggregations: `{bids: COUNT(*)}`, or a list of `COUNT(*) AS bids`.")

STEPS: dict[str, Form] = {
    "filter": Form(ars.Stream.filter, SqlExpressions),
    "filter_file": Form(ars.Stream.filter_file, PathText, ("path",)),
    "remove": Form(ars.Stream.remove, SqlExpressions),
    "select": Form(ars.Stream.select, NamedSql),
    "with_columns": Form(ars.Stream.with_columns, NamedSql),
    "drop": Form(ars.Stream.drop, Names),
    "rename": Form(ars.Stream.rename, dict[str, str], ("mapping",)),
    "cast": Form(ars.Stream.cast, DTypes, ("dtypes",)),
    "explode": Form(ars.Stream.explode, Names, ("columns",)),
    "unnest": Form(ars.Stream.unnest, Names | None, ("columns",)),
    "unpivot": Form(ars.Stream.unpivot, Names | None, ("on",)),
    "drop_nulls": Form(ars.Stream.drop_nulls, Names | None, ("subset",)),
    "fill_null": Form(ars.Stream.fill_null, bool | int | float | str | None, ("value",), left_out=("limit",)),
    "validate": Form(ars.Stream.validate, Rules, ("rules",)),
    "limit": Form(ars.Stream.limit, int, ("n",)),
    "sql": Form(None, SqlQuery, text="A query on each row: SELECT … FROM self, with WHERE … if wanted."),
    "with_metadata": Form(ars.Stream.with_metadata, _METADATA, ("file", "row", "processing_time")),
    "with_event_time": Form(ars.Stream.with_event_time, str, ("column",)),
    "group_by_dynamic": Form(ars.Stream.group_by_dynamic, str, ("index_column",), extra=(_AGG,)),
}
"""The verbs there are, in the order of the documentation."""

ONLY_IN_PYTHON = {
    "map_batches": "takes a function",
    "pipe": "takes a function",
    "head": "is `limit`",
    "late": "is `late:` at the top of the file",
    "dead_letters": "is `dead_letters:` at the top of the file",
}
"""Methods of a Stream that give one and that no step has, and why."""


def _scans() -> dict[str, Callable[..., Any]]:
    """The scans of files, by format."""
    return {name.removeprefix(_SCAN): getattr(ars, name) for name in ars.__all__ if name.startswith(_SCAN)}


def _sinks() -> dict[str, Callable[..., Any]]:
    """The sinks that write files, by format."""
    found = {name: getattr(ars.Stream, name) for name in dir(ars.Stream) if name.startswith(_SINK)}
    return {
        name.removeprefix(_SINK): sink
        for name, sink in found.items()
        if "path" in inspect.signature(sink).parameters
    }


SCANS = _scans()
SINKS = _sinks()


def _step_model(verb: str, form: Form) -> type[Strict]:
    options: list[Option] = []
    if form.function is not None:
        options = options_of(form.function, left_out=(*form.parameters, *form.left_out))
    text = form.text if form.function is None else summary(form.function)
    return model(
        f"{verb.title().replace('_', '')}Step",
        [Option(verb, form.main, ..., text), *options, *form.extra],
        text=text,
    )


def _source_model(format_: str) -> type[Strict]:
    scan = SCANS[format_]
    types: dict[str, Any] = dict.fromkeys(_DTYPES_BY_NAME, DTypes | None)
    options = options_of(scan, left_out=("source",), types=types, documented_by=(ars.scan_parquet,))
    text = summary(scan)
    main = Option(format_, PathTexts, ..., f"{text} A file, a glob, a folder, or several of them.")
    return model(f"{format_.title()}Source", [main, *options], text=text)


def _sink_model(format_: str) -> type[Strict]:
    sink = SINKS[format_]
    types: dict[str, Any] = dict.fromkeys(_DURATIONS_BY_NAME, DurationText | None)
    options = options_of(sink, left_out=("path",), types=types, documented_by=(ars.Stream.sink_parquet,))
    if "PartitionBy" in str(inspect.signature(sink).parameters["path"].annotation):
        options.append(_partition_by())
    text = summary(sink)
    return model(
        f"{format_.title()}Sink", [Option(format_, PathText, ..., f"{text} The folder."), *options], text=text
    )


def _partition_by() -> Option:
    text = "Several folders, by the values of columns: `partition_by: channel`."
    options = options_of(
        pl.PartitionBy, left_out=("base_path", "file_path_provider"), types={"key": Names | None}
    )
    made = model("PartitionBy", options, text=text)

    def expanded(value: Any) -> Any:
        return {"key": value} if isinstance(value, str | list) else value

    return Option("partition_by", Annotated[made | None, BeforeValidator(expanded), OrNames()], None, text)


def _one_of(models: Mapping[str, type[Strict]]) -> Any:
    """One of several models, chosen by the first key that names one."""

    def pick(value: Any) -> str | None:
        if isinstance(value, dict):
            return next((str(key) for key in value if key in models), None)
        return next((key for key, made in models.items() if isinstance(value, made)), None)

    members = [Annotated[made, Tag(key)] for key, made in models.items()]
    return Annotated[Union[tuple(members)], Discriminator(pick)]  # noqa: UP007 - of a list that is made


STEP_MODELS = {verb: _step_model(verb, form) for verb, form in STEPS.items()}
SOURCE_MODELS = {format_: _source_model(format_) for format_ in SCANS}
SINK_MODELS = {format_: _sink_model(format_) for format_ in SINKS}
RunSection = model(
    "RunOptions",
    options_of(ars.run, left_out=("jobs",), documented_by=(ars.Job.run, ars.Stream.collect)),
    text="How it runs. The command line goes before it, ARROWSTREAM_… in the environment after it.",
)
OPTIONS = tuple(info.alias or name for name, info in RunSection.model_fields.items())

if TYPE_CHECKING:
    Source: TypeAlias = Strict
    Step: TypeAlias = Strict
    Sink: TypeAlias = Strict
else:
    Source = _one_of(SOURCE_MODELS)
    Step = _one_of(STEP_MODELS)
    Sink = _one_of(SINK_MODELS)

Sinks: TypeAlias = Annotated[list[Sink], BeforeValidator(listed), OneOrMany()]


class PipelineFile(Strict):
    """A pipeline: where rows come from, what is done to them, and where they go."""

    source: Source = Field(description="Where rows come from: a format and its files.")
    steps: list[Step] = Field(default=[], description="What is done to the rows, one step after the other.")
    sinks: Sinks = Field(description="Where the rows go: formats and folders.")
    late: Sinks = Field(default=[], description="Where rows go that came too late for their windows.")
    dead_letters: Sinks = Field(default=[], description="Where goes what could not be read, and why.")
    run: RunSection = Field(default=RunSection(), description="How it runs.")  # type: ignore[valid-type]
