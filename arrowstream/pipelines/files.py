"""Pipeline files: checked, loaded, run."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import arrowstream as ars
from arrowstream.errors import PlanError, nearest
from arrowstream.pipelines.blame import Blame
from arrowstream.pipelines.build import Builder, forget
from arrowstream.pipelines.checks import check
from arrowstream.pipelines.environment import Environment
from arrowstream.pipelines.mistakes import Document, MalformedError, Mistake, Place
from arrowstream.pipelines.toml_text import parse_toml
from arrowstream.pipelines.words import hint_in_file
from arrowstream.pipelines.yaml_text import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SUFFIXES = (".yaml", ".yml", ".toml")

FILE_BYTES_MAX = 4 * 2**20
"""Somebody who gives a larger file has given the wrong one."""

_PARSERS: dict[str, Callable[[str], Document]] = {
    ".yaml": parse_yaml,
    ".yml": parse_yaml,
    ".toml": parse_toml,
}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline file, ready to run.

    Attributes
    ----------
    path
        The file.
    stream
        Its rows, before the outputs.
    jobs
        One for each output.
    options
        What it says under `run`.
    """

    path: Path
    stream: ars.Stream = field(repr=False)  # these may hold what the environment's variables stand for
    jobs: list[ars.Job] = field(repr=False)
    options: dict[str, Any] = field(repr=False)
    environment: Environment = field(repr=False)

    def run(self, **options: Any) -> ars.Report:
        """Run it to the end of its input; options given here go before those of the file.

        Raises
        ------
        ArrowStreamError
            What `ars.run` raises, with the names of environment variables for their values.
        """
        try:
            return ars.run(self.jobs, **{**self.options, **options})
        except ars.ArrowStreamError as error:
            self._told(error)
            raise

    def start(self, **options: Any) -> ars.RunningJob:
        """Run it in the background; options given here go before those of the file."""
        return ars.start(self.jobs, **{**self.options, **options})

    def _told(self, error: ars.ArrowStreamError) -> None:
        """Say an error in the words of the file, without the values of the environment."""
        hidden = self.environment.hidden
        cause: BaseException | None = error
        while cause is not None:
            if cause is not error and hidden(str(cause)) != str(cause):
                error.__cause__, error.__suppress_context__ = None, True
                break
            cause = cause.__cause__ or cause.__context__
        hint = hint_in_file(error.hint, error.fact)
        error.fact = hidden(error.fact)
        error.choices = tuple(map(hidden, error.choices))
        error.hint = None if hint is None else hidden(hint)
        for place in ("operator_id", "partition", "file"):
            if (said := getattr(error, place)) is not None:
                setattr(error, place, hidden(said))
        error.args = (error.fact,)


def load(path: str | os.PathLike[str], *, environment: Mapping[str, str] | None = None) -> Pipeline:
    """Read a pipeline file.

    Parameters
    ----------
    path
        YAML or TOML.
    environment
        For `${NAME}`; `os.environ` by default.

    Raises
    ------
    PlanError
        All that is wrong with it, each with line and column.

    Examples
    --------
    >>> import polars as pl, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> pl.DataFrame({"price": [90, 120]}).write_parquet(folder / "bids.parquet")
    >>> text = "{source: {parquet: bids.parquet}, steps: [filter: price > 100], sinks: {parquet: out}}"
    >>> _ = (folder / "dear.yaml").write_text(text)
    >>> load(folder / "dear.yaml").run().rows_out
    1
    """
    pipeline, mistakes = read(path, environment=environment)
    if pipeline is None:
        raise PlanError("\n".join(map(str, mistakes)))
    return pipeline


def read(
    path: str | os.PathLike[str], *, environment: Mapping[str, str] | None = None
) -> tuple[Pipeline | None, list[Mistake]]:
    """A pipeline file, or all that is wrong with it."""
    builder, mistakes = _built(Path(path), os.environ if environment is None else environment)
    if builder is None:
        return None, mistakes
    if mistakes or builder.stream is None:
        forget(builder.jobs)
        return None, mistakes
    run = builder.checked.run
    options = {} if run is None else run.given()
    return Pipeline(Path(path), builder.stream, builder.jobs, options, builder.blame.environment), []


def lint(
    path: str | os.PathLike[str], *, read_input: bool = True, environment: Mapping[str, str] | None = None
) -> list[Mistake]:
    """All that is wrong with a pipeline file, in the order of the file. Nothing runs.

    Parameters
    ----------
    path
        YAML or TOML.
    read_input
        Look at the columns of the input, so that expressions can be checked against them. Without it they
        are checked if the source says `schema:`, and else only for their syntax.
    environment
        For `${NAME}`; `os.environ` by default.
    """
    builder, mistakes = _built(
        Path(path), os.environ if environment is None else environment, read_input=read_input
    )
    if builder is not None:
        forget(builder.jobs)
    return mistakes


def _built(
    path: Path, variables: Mapping[str, str], *, read_input: bool = True
) -> tuple[Builder | None, list[Mistake]]:
    file = str(path)
    try:
        document = parse(path)
    except MalformedError as error:
        return None, [Mistake(file, error.place, error.message, hint=error.hint)]
    environment = Environment(variables)
    document, unset = environment.applied(document, file)
    checked = check(document, file, folder=path.absolute().parent, environment=environment)
    builder = Builder(checked, Blame(checked, environment, set(checked.lost)))
    builder.build(read_input=read_input)
    return builder, sorted([*unset, *checked.mistakes], key=lambda mistake: mistake.place)


def parse(path: Path) -> Document:
    """The values of a YAML or TOML file, and their places.

    Raises
    ------
    MalformedError
        It is not there, or neither.
    """
    parser = _PARSERS.get(path.suffix.lower())
    start = Place(1, 1)
    if parser is None:
        near = nearest(path.suffix.lower(), SUFFIXES)
        hint = f"its name has to end in {near or ' or '.join(SUFFIXES)}"
        raise MalformedError("this is no pipeline file", start, hint)
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise MalformedError(f"the file is larger than {FILE_BYTES_MAX:,} bytes", start)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise MalformedError(f"the file cannot be read: {error.strerror or error}", start) from error
    except UnicodeDecodeError as error:
        raise MalformedError("the file is not UTF-8", start) from error
    return parser(text)
