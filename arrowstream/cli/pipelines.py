"""`arrowstream run`, `lint` and `schema` for pipelines that are files in YAML or TOML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.text import Text

from arrowstream.cli import console
from arrowstream.cli.signals import sigterm_as_interrupt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from arrowstream.pipelines import Mistake

FORMATS = ("text", "json", "github")


def run_pipeline(file: Path, options: dict[str, Any]) -> bool:
    """Run a pipeline file and print the report; or what is wrong with it, and False."""
    from arrowstream.pipelines import read
    from arrowstream.pipelines.build import forget
    from arrowstream.pipelines.words import text_in_file

    with sigterm_as_interrupt():
        pipeline, mistakes = read(file)
        if pipeline is None:
            for mistake in mistakes:
                console.err.print(_text(mistake))
            console.err.print(_summary(mistakes, 1))
            return False
        hidden = pipeline.environment.hidden
        with console.own_warnings(lambda text: hidden(text_in_file(text))):
            try:
                report = pipeline.run(**options)
            finally:
                forget(pipeline.jobs)  # an option that is wrong is told, and no further warning
        console.out.print(hidden(text_in_file(str(report))))
    return True


def lint_files(files: Sequence[Path], *, form: str, read_input: bool) -> bool:
    """Print every mistake in the files; whether there is none.

    Raises
    ------
    PlanError
        There is no such format.
    """
    from arrowstream.errors import PlanError
    from arrowstream.pipelines import lint

    if form not in FORMATS:
        raise PlanError(f"--format {form} does not exist", choices=FORMATS)
    mistakes = [mistake for file in files for mistake in lint(file, read_input=read_input)]
    if form == "json":
        console.out.print(json.dumps([_record(mistake) for mistake in mistakes], indent=2), markup=False)
    elif form == "github":
        for mistake in mistakes:
            console.out.print(_github(mistake), markup=False)
    else:
        for mistake in mistakes:
            console.out.print(_text(mistake))
        console.err.print(_summary(mistakes, len(files)))
    return not mistakes


def print_schema() -> None:
    """Print the JSON Schema of pipeline files."""
    from arrowstream.pipelines import json_schema

    console.out.print(json_schema(), end="", markup=False)


def _text(mistake: Mistake) -> Text:
    place, _, message = str(mistake).partition(": ")
    fact, _, rest = message.partition("\n")
    return Text.assemble((f"{place}: ", "bold"), (fact, "red"), f"\n{rest}" if rest else "")


def _summary(mistakes: Sequence[Mistake], files: int) -> str:
    where = "1 file" if files == 1 else f"{files} files"
    if not mistakes:
        return f"{where}: nothing is wrong"
    return f"{len(mistakes)} {'mistake' if len(mistakes) == 1 else 'mistakes'} in {where}"


def _record(mistake: Mistake) -> dict[str, Any]:
    return {
        "file": mistake.file,
        "line": mistake.place.line,
        "column": mistake.place.column,
        "message": mistake.message,
        "choices": list(mistake.choices),
        "hint": mistake.hint,
    }


def _github(mistake: Mistake) -> str:
    """A workflow command: GitHub shows it beside the line of the pull request."""
    _, _, message = str(mistake).partition(": ")
    escaped = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    file = mistake.file.replace("%", "%25").replace(",", "%2C").replace(":", "%3A")
    return f"::error file={file},line={mistake.place.line},col={mistake.place.column}::{escaped}"
