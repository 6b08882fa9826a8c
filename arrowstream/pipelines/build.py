"""From models to streams and jobs, through the same calls that a Python program would make."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

import arrowstream as ars
from arrowstream.errors import ArrowStreamError, JobNeverRunWarning, PlanError
from arrowstream.pipelines.aggregates import split
from arrowstream.pipelines.letters import TEXT_FORMATS, as_text
from arrowstream.pipelines.models import OPTIONS, SCANS, SINKS, STEPS
from arrowstream.pipelines.signatures import Strict
from arrowstream.pipelines.sql import Query
from arrowstream.plan.schema import out_schema
from arrowstream.runtime.options import run_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from arrowstream.pipelines.blame import Blame
    from arrowstream.pipelines.mistakes import Path
    from arrowstream.pipelines.telling import Checked

_SAME_COLUMNS = frozenset(
    {"filter", "filter_file", "remove", "drop_nulls", "limit", "fill_null", "validate", "with_event_time"}
)
"""Steps after which the columns are those before: if one is wrong, those after it can still be checked."""

_INPUT_HINT = "paths begin at the folder of this file; lint can do without the input: --no-input"


@dataclass(slots=True)
class Builder:
    """Makes the jobs of a file, and goes on after a mistake as far as that tells anything.

    Attributes
    ----------
    stream
        As far as it has been built.
    jobs
        One for each output.
    """

    checked: Checked
    blame: Blame
    stream: ars.Stream | None = None
    jobs: list[ars.Job] = field(default_factory=list)
    _known: bool = True
    _timeless: bool = False
    _folders: dict[str, Path] = field(default_factory=dict)

    def build(self, *, read_input: bool = True) -> None:
        """Build all; what is wrong is added to the mistakes of `checked`."""
        self._check_run()
        source = self.checked.source
        if source is None:
            return
        self._timeless = ("source",) in self.checked.partial and "event_time" not in source.given()
        self.stream = self._scanned(source) if read_input else self._promised(source)
        for path, step in self.checked.steps:
            if self.stream is None or not self._known:
                return
            self._apply(path, step)
        if self.stream is not None and self._known:
            self._add_outputs(self.stream)

    # Sources

    def _scanned(self, source: Strict) -> ars.Stream | None:
        """The input's stream; options that are wrong are left out, so that the columns are known."""
        format_, options = _taken(source, SCANS)
        files = options.pop(format_)
        scan: Callable[..., ars.Stream] = SCANS[format_]
        while True:
            try:
                return scan(files, **options)
            except ArrowStreamError as error:
                about = self.blame.about(("source",), format_, options, error)
                wrong = about[1] if len(about) > 1 else format_
                self.blame.add(about, error, hint=_INPUT_HINT if wrong == format_ else None)
                if wrong not in options:
                    return None
                left_out = ("event_time", "lateness") if wrong in ("event_time", "lateness") else (wrong,)
                self._timeless = self._timeless or "event_time" in left_out
                for name in left_out:
                    options.pop(name, None)

    def _promised(self, source: Strict) -> ars.Stream | None:
        """Without the input: the columns that the file promises, if it does."""
        format_, options = _taken(source, SCANS)
        schema = options.get("schema")
        if schema is None:
            return None
        kept: dict[str, Any] = {name: options[name] for name in ("event_time", "lateness") if name in options}
        bounded = not options.get("follow")
        return self.blame.tried(
            ("source",),
            format_,
            kept,
            lambda: ars.from_batches(list, schema=schema, bounded=bounded, **kept),
        )

    # Steps

    def _apply(self, path: Path, step: Strict | None) -> None:
        if step is None:
            self._know_less(self._verb_at(path))
            return
        verb, options = _taken(step, STEPS)
        main = options.pop(verb)
        stream = self.stream
        assert stream is not None
        if isinstance(main, Query):
            found = self._query(path, stream, main)
        elif verb == "group_by_dynamic":
            found = self._windows(path, stream, main, options)
        elif verb in ("filter", "remove", "select", "with_columns"):
            found = self._expressions(path, stream, verb, main)
        else:
            method: Callable[..., ars.Stream] = getattr(stream, verb)
            positional: tuple[Any, ...] = (tuple(main) if isinstance(main, list) else main,)
            if isinstance(main, Strict):  # a verb that has options only
                positional, options = (), main.given()
            found = self.blame.tried(path, verb, options, lambda: method(*positional, **options))
        if found is None:
            self._know_less(verb)
        else:
            self.stream = found

    def _query(self, path: Path, stream: ars.Stream, query: Query) -> ars.Stream | None:
        kept = stream
        if query.where is not None:
            where = query.where
            filtered = self.blame.tried(path, "sql", {}, lambda: stream.filter(where))
            kept = stream if filtered is None else filtered
        return self.blame.tried(path, "sql", {}, lambda: kept.select(*query.items))

    def _expressions(self, path: Path, stream: ars.Stream, verb: str, main: Any) -> ars.Stream | None:
        """One call with all expressions; if it fails, one with each, to find the one that is wrong."""
        exprs = {(*path, verb, key): _named(key, expr) for key, expr in _entries(main)}
        method = getattr(stream, verb)
        try:
            made: ars.Stream = method(*exprs.values())
        except ArrowStreamError as error:
            good: dict[Path, pl.Expr] = {}
            for place, expr in exprs.items():
                try:
                    method(expr)
                except ArrowStreamError as one:
                    self.blame.add(place, one)
                    self.blame.lost.add(str(expr.meta.output_name(raise_if_undetermined=False)))
                else:
                    good[place] = expr
            if len(good) == len(exprs):
                self.blame.add((*path, verb), error)
            return self._best(method, list(good.values()))
        return made

    @staticmethod
    def _best(method: Callable[..., ars.Stream], exprs: list[pl.Expr]) -> ars.Stream | None:
        """With what is right of a step the next ones can still be checked."""
        try:
            return method(*exprs)
        except ArrowStreamError:
            return None

    def _windows(
        self, path: Path, stream: ars.Stream, index: str, options: dict[str, Any]
    ) -> ars.Stream | None:
        named: dict[str, pl.Expr] = {}
        places: dict[str, Path] = {}
        for key, expr in _entries(options.pop("agg")):
            name = str(key) if isinstance(key, str) else expr.meta.output_name(raise_if_undetermined=False)
            if name is None:
                error = PlanError(
                    f"agg: {expr} has no name", hint="write it as name: expression, or … AS name"
                )
                self.blame.add((*path, "agg", key), error)
                continue
            if name in named:
                error = PlanError(
                    f'agg: two columns would be called "{name}"', hint="give one another name: … AS name"
                )
                self.blame.add((*path, "agg", key), error)
                continue
            named[name], places[name] = expr, (*path, "agg", key)
        windows: ars.DynamicGroupBy | None = None
        if not self._timeless:
            windows = self.blame.tried(
                path, "group_by_dynamic", options, lambda: stream.group_by_dynamic(index, **options)
            )
        if windows is not None and named:
            try:
                return aggregated(windows, named)
            except ArrowStreamError as error:
                if not self._add_each(stream, named, places):
                    self.blame.add((*path, "agg"), error)
                return None
        self._add_each(stream, named, places)
        return None

    def _add_each(self, stream: ars.Stream, named: dict[str, pl.Expr], places: dict[str, Path]) -> bool:
        """Whether an aggregation is wrong even by itself; these are noted."""
        found = False
        for name, expr in named.items():
            try:
                out_schema("agg", stream.schema, lambda rows, expr=expr: rows.select(expr))  # type: ignore[misc]
            except ArrowStreamError as error:
                self.blame.add(places[name], error)
                found = True
        return found

    def _know_less(self, verb: str) -> None:
        self._known = self._known and verb in _SAME_COLUMNS

    def _verb_at(self, path: Path) -> str:
        value = self.checked.document.at(path)
        return next((str(key) for key in value if key in STEPS), "") if isinstance(value, dict) else ""

    # Outputs

    def _add_outputs(self, stream: ars.Stream) -> None:
        streams: dict[str, Callable[[], ars.Stream]] = {
            "sinks": lambda: stream,
            "late": stream.late,
            "dead_letters": stream.dead_letters,
        }
        for kind, outputs in self.checked.outputs.items():
            rows = self.blame.tried((), kind, {}, streams[kind]) if outputs else None
            for path, output in outputs:
                if output is not None and rows is not None:
                    self._add_output(path, rows, output)

    def _add_output(self, path: Path, rows: ars.Stream, output: Strict) -> None:
        format_, options = _taken(output, SINKS)
        if path[0] == "dead_letters" and format_ in TEXT_FORMATS:
            rows = as_text(rows)
        folder: Any = options.pop(format_)
        first = self._folders.setdefault(str(folder).rstrip("/"), path)
        if first != path:
            line = self.checked.document.place_of(first).line
            self.blame.add((*path, format_), PlanError(f"the output of line {line} has this folder already"))
            return
        partition_by = options.pop("partition_by", None)
        if partition_by is not None:
            try:
                folder = pl.PartitionBy(folder, **partition_by.given())
            except (TypeError, ValueError) as error:
                self.blame.add((*path, "partition_by"), PlanError(f"partition_by: {error}"))
                return
        sink: Callable[..., ars.Job] = getattr(rows, f"sink_{format_}")
        job = self.blame.tried(path, format_, options, lambda: sink(folder, **options))
        if job is not None:
            self.jobs.append(job)

    def _check_run(self) -> None:
        """Each option by itself, also beside one that is wrong."""
        run: Any = self.checked.run
        value: Any = self.checked.document.value
        given = run.given() if run is not None else value.get("run") if isinstance(value, dict) else None
        seen = {mistake.place for mistake in self.checked.mistakes}
        for name, option in given.items() if isinstance(given, dict) else ():
            if name in OPTIONS and self.checked.document.place_of(("run", name)) not in seen:
                one: dict[str, Any] = {name: option}
                self.blame.tried(("run",), name, {}, lambda one=one: run_options(**one, environment={}))  # type: ignore[misc]


def aggregated(windows: ars.DynamicGroupBy, named: dict[str, pl.Expr]) -> ars.Stream:
    """SQL aggregations of windows: folded ones first, then what is computed with them."""
    parts = split(named)
    stream = windows.agg(**parts.aggregates)
    if parts.results is None:
        return stream
    kept = [name for name in stream.schema if name not in parts.aggregates]
    return stream.select(*kept, **parts.results)


def _taken(made: Strict, known: Any) -> tuple[str, dict[str, Any]]:
    """The key that says what it is, and everything that is given."""
    given = made.given()
    return next(key for key in given if key in known), given


def _entries(main: Any) -> list[tuple[str | int, pl.Expr]]:
    return list(main.items()) if isinstance(main, dict) else list(enumerate(main))


def _named(key: str | int, expr: pl.Expr) -> pl.Expr:
    return expr.alias(key) if isinstance(key, str) else expr


def forget(jobs: list[ars.Job]) -> None:
    """Empty the list without the warning that a job was never run: they were made to be looked at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", JobNeverRunWarning)
        jobs.clear()
