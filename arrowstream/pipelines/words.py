"""What the API says in Python's words, said in those of a pipeline file."""

from __future__ import annotations

import re

_HINTS = (
    ("cannot compare 'date/datetime/time' to a string", "write the time as TIMESTAMP '2026-01-01 00:00:00'"),
    ("cast one of the two first", "cast one of the two first: CAST(… AS …)"),
    (
        "group_by_dynamic(…).agg(…)",
        "aggregate the rows of a window instead: a step group_by_dynamic, with agg",
    ),
    ("compare: pl.col(…)", "compare: price > 0"),
    (
        "convert it first: .with_columns(",
        "convert it in a step, and name it after that: a step with_event_time",
    ),
    ("call .late() on what", "late rows are those of windows: add a step group_by_dynamic"),
    ("such as limit(5)", "write 0 or more, such as limit: 5"),
    ("with_metadata(file=", "name the columns: file: path"),
    ("join them with pl.all_horizontal(", "write one condition: a > 1 AND b > 1"),
    ("on what scan_* gives", "make it the first step"),
    ("leave it at None for all", "leave it out for all cores"),
    (
        'give on_error="dead_letter" to',
        "say on_error: dead_letter in the source, or in the step that rejects rows",
    ),
    ('.alias("…")', "give one of them another name: … AS name"),
    (
        "run .dead_letters() beside the result",
        "add an output for them, under dead_letters; on_error: skip drops bad input without this warning",
    ),
    (
        "hands them on: .dead_letters()",
        "on_error: skip drops such rows, on_error: dead_letter gives them to the outputs under dead_letters",
    ),
)
"""Parts of facts or hints, and the hint to give in their place."""

_PHRASES = (
    (
        re.compile(r"declare it(?: first)?: \.with_event_time\([^)]*\)"),
        "say event_time: … in the source, or add a step with_event_time before",
    ),
    (re.compile(r"\.late\(\) gives the late rows"), "outputs under late take the late rows"),
    (re.compile(r"""\b([a-z_]+)=(["'])(.*?)\2"""), r"\1: \3"),
    (re.compile(r"\b([a-z_]+)=(True|False)\b"), lambda found: f"{found[1]}: {found[2].lower()}"),
    (re.compile(r"\b([a-z_]+)=(?=[\s;,)]|$)"), r"\1:"),
)
"""What is said otherwise in the middle of a text: arguments, above all."""


def hint_in_file(hint: str | None, fact: str = "") -> str | None:
    """A hint of the API for who has written a file.

    Parameters
    ----------
    hint
        As the API gives it.
    fact
        What it is the hint of: it may say which other one is better.

    Examples
    --------
    >>> hint_in_file('the output is of another job: mode="overwrite" begins anew')
    'the output is of another job: mode: overwrite begins anew'
    """
    for spoken, written in _HINTS:
        if spoken in fact or spoken in (hint or ""):
            return written
    return None if hint is None else _phrased(hint)


def text_in_file(text: str) -> str:
    r"""A warning or report, as it is printed, for who has written a file.

    Examples
    --------
    >>> print(text_in_file('3 rows too late\n  hint: lateness="5s" would have kept them'))
    3 rows too late
      hint: lateness: 5s would have kept them
    """
    fact, mark, hint = text.partition("\n  hint: ")
    return f"{fact}{mark}{hint_in_file(hint, fact)}" if mark else _phrased(text)


def _phrased(text: str) -> str:
    for spoken, written in _PHRASES:
        text = spoken.sub(written, text)
    return text
