"""Runs the contenders of a question in shuffled rounds, and checks that their results are equal."""

from __future__ import annotations

import random
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import dataset
import polars as pl
from contender import ContenderError, ContenderProcess, Measured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from question import Question


HOPELESS = 10
"""A contender that takes so many times as long as the fastest is timed once only."""


WARM_UP_ROWS = 200_000
"""Run by a process that is timed once, before it is: enough to import and compile everything."""


class UnequalResultsError(Exception):
    """Two contenders gave different results: their times mean nothing."""


def measure(
    name: str,
    question: Question,
    *,
    rows: int,
    rounds: int,
    data: Path,
    only: Sequence[str],
    say: Callable[[str], None],
) -> tuple[dict[str, Measured], dict[str, str]]:
    """What each contender took, and why the missing ones are missing."""
    wanted = [contender for contender in question.contenders if not only or contender in only]
    measured = {
        contender: Measured(round(rows * question.rows_factor.get(contender, 1))) for contender in wanted
    }
    failures: dict[str, str] = {}
    shuffled = random.Random(0)  # noqa: S311  (an order, not a secret)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=data)))

        def start(contender: str) -> ContenderProcess:
            count = measured[contender].rows
            files = dataset.files(data, count, question.input)[0] if question.input else ""
            return ContenderProcess(
                name, contender, measured[contender], files, folder / contender.replace(" ", "-")
            )

        processes: dict[str, ContenderProcess] = {}
        first: Path | None = None
        for contender in wanted if not question.fresh_process else ():
            process = stack.enter_context(start(contender))
            saved = folder / f"{contender}.arrow" if question.keys else None
            say(f"warming up {contender}")
            try:
                process.run(save=saved, counts=False)
            except ContenderError as error:
                failures[contender] = str(error)
                continue
            processes[contender] = process
            if saved is not None:
                first = _check_equal(first, saved)
        for number in range(rounds):
            order = list(wanted if question.fresh_process else processes)
            shuffled.shuffle(order)
            for contender in order:
                if _hopeless(contender, measured):
                    continue
                say(f"round {number + 1} of {rounds}: {contender}")
                try:
                    if question.fresh_process:
                        with start(contender) as process:
                            process.run(warm_up_rows=WARM_UP_ROWS)
                    else:
                        processes[contender].run()
                except ContenderError as error:
                    failures[contender] = str(error)
    return {contender: result for contender, result in measured.items() if result.seconds}, failures


def _hopeless(contender: str, measured: Mapping[str, Measured]) -> bool:
    """Whether more rounds can tell nothing new of this contender."""
    times = {name: result.seconds_per_million for name, result in measured.items() if result.seconds}
    return contender in times and times[contender] > HOPELESS * min(times.values())


def _check_equal(first: Path | None, saved: Path) -> Path:
    """Compare a saved result with the first one, and remove it."""
    if first is None:
        return saved
    expected, found = pl.read_ipc(first), pl.read_ipc(saved)
    if not found.equals(expected):
        raise UnequalResultsError(
            f"{saved.stem} gives another result than {first.stem}: {found.height} and {expected.height} rows"
        )
    saved.unlink()
    return first
