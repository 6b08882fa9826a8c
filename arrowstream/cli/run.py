"""`arrowstream run`: the jobs of a Python file."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from typing import TYPE_CHECKING, Any

import arrowstream as ars
from arrowstream.cli import console
from arrowstream.cli.signals import sigterm_as_interrupt
from arrowstream.errors import ArrowStreamError, PlanError

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

_MODULE = "__arrowstream__"
_WHAT_RUNS = (
    "arrowstream run takes a pipeline (.yaml, .toml) or a Python file (.py) that defines jobs; "
    "arrowstream inspect looks at data"
)


def run_file(file: Path, options: dict[str, Any]) -> None:
    """Execute `file`, run the jobs it has defined, and print the report.

    Parameters
    ----------
    file
        A Python file. Its `if __name__ == "__main__":` part is not executed; jobs that it has run itself are
        not run again.
    options
        Those of `ars.run`.

    Raises
    ------
    PlanError
        No such file, or it defines no job.
    """
    if not file.is_file():
        raise PlanError(f"there is no file {file}", hint=_WHAT_RUNS)
    with sigterm_as_interrupt():
        jobs = jobs_of(load(file))
        if jobs is None:
            raise PlanError(
                f"{file} defines no job",
                hint='give a stream an output, in a variable of the file: job = stream.sink_parquet("out/")',
            )
        if jobs:
            console.out.print(str(ars.run(jobs, **options)))


def load(file: Path) -> ModuleType:
    """Execute a Python file as a module of its own, which can import its neighbours."""
    spec = importlib.util.spec_from_file_location(_MODULE, file)
    if spec is None or spec.loader is None:
        raise PlanError(f"{file} is no pipeline and no Python file", hint=_WHAT_RUNS)
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module  # dataclasses and pickles look their module up
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except ArrowStreamError as error:
        line = _line_in(file, error)
        if line is not None:
            console.err.print(f"{file}, line {line}:")
        raise
    except Exception as error:
        below = error.__traceback__  # of it only what the file has called, not how the file came to run
        while below is not None and below.tb_frame.f_code.co_filename != str(file):
            below = below.tb_next
        traceback.print_exception(error.with_traceback(below))
        raise SystemExit(1) from error
    finally:
        sys.path.remove(str(file.resolve().parent))
    return module


def jobs_of(module: ModuleType) -> list[ars.Job] | None:
    """The jobs of a module that have not run yet, in the order of definition; None if it has none at all."""
    named = getattr(module, "jobs", None)
    candidates = named if isinstance(named, list | tuple) else vars(module).values()
    found = {id(value): value for value in candidates if isinstance(value, ars.Job)}
    return [job for job in found.values() if not job.has_run] if found else None


def _line_in(file: Path, error: BaseException) -> int | None:
    """The line of the file at which the error came up."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)
    ]
    return lines[-1] if lines else None
