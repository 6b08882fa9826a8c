"""`make bench`: arrowstream beside Polars and DuckDB on the same files, in the same run."""

from __future__ import annotations

import argparse
import importlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import dataset
import report
from measure import UnequalResultsError, measure

if TYPE_CHECKING:
    from question import Question

WINDOWS = ("tumbling", "hopping", "string_key", "two_keys", "high_cardinality", "checkpoint", "scale")
FORMATS = ("parquet", "ipc", "csv", "ndjson", "avro")
QUESTIONS = (
    *WINDOWS,
    *(f"read_{name}" for name in FORMATS),
    *(f"write_{name}" for name in FORMATS),
    "bad_csv",
    "bad_ndjson",
)
ROWS = 20_000_000


def main() -> int:
    """Run the questions asked for; 1 if two contenders disagree."""
    options = _arguments()
    options.data.mkdir(exist_ok=True)
    facts = report.machine()
    print(" · ".join(f"{name} {value}" for name, value in facts.items()))
    sections, results = {}, {}
    for name in options.questions:
        question: Question = importlib.import_module(f"questions.{name}").QUESTION
        if question.input is not None:
            for factor in {question.rows_factor.get(contender, 1) for contender in question.contenders}:
                size = dataset.files(options.data, round(options.rows * factor), question.input)[1]
                kind = dataset.NAMES[question.input]
                print(f"\n{options.rows * factor:,.0f} bids, {size / 1e6:,.0f} MB of {kind}")
        try:
            measured, failures = measure(
                name,
                question,
                rows=options.rows,
                rounds=options.rounds,
                data=options.data,
                only=options.only,
                say=_say,
            )
        except UnequalResultsError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        _say("")
        sections[name] = report.section(question, measured, failures)
        results[name] = {
            "commit": facts["commit"],
            "measured": {contender: asdict(result) for contender, result in measured.items()},
        }
        print("\n" + sections[name])
    if options.write:
        report.write(sections, results, facts=facts, order=QUESTIONS)
    return 0


def _say(text: str) -> None:
    """What is running, on one line that is written over."""
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", nargs="*", help=f"some of: {', '.join(QUESTIONS)} (default: all)")
    parser.add_argument("--rows", type=int, default=ROWS, help="bids to replay (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="timed runs of each contender (default: 5)")
    parser.add_argument(
        "--data", type=Path, default=Path(__file__).parent / "data", help="where the input is kept"
    )
    parser.add_argument("--only", nargs="*", default=[], metavar="CONTENDER", help="these contenders alone")
    parser.add_argument(
        "--write",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="put the results of these questions into results.json and README.md (default: with all rows)",
    )
    options = parser.parse_args()
    unknown = sorted(set(options.questions) - set(QUESTIONS))
    if unknown:
        parser.error(f"no question named {', '.join(unknown)}; choices: {', '.join(QUESTIONS)}")
    if options.write is None:
        options.write = options.rows == ROWS and not options.only
    options.questions = options.questions or QUESTIONS
    return options


if __name__ == "__main__":
    sys.exit(main())
