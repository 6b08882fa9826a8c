"""Reading CSV in which one line of a hundred is bad: what singling them out costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from formats import ROWS_FACTORS, SCHEMA
from question import Question, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from question import Input, Result

EVERY = 100


def too_few_fields(line: bytes) -> bytes:
    """The last one is missing."""
    return line[: line.rindex(b",")]


def no_number(line: bytes) -> bytes:
    """Its second value is none."""
    return line.replace(b",", b",n/a ", 1)


def no_time(line: bytes) -> bytes:
    """Its last value is none."""
    return line[: line.rindex(b",")] + b",n/a"


def not_utf8(line: bytes) -> bytes:
    """Its channel has a letter in Latin-1."""
    behind = line.rindex(b",")
    return line[:behind] + b"\xf6" + line[behind:]


KINDS: dict[str, Callable[[bytes], bytes]] = {
    "too few fields": too_few_fields,
    "no number": no_number,
    "no time": no_time,
    "not UTF-8": not_utf8,
}


def read(data: Input, kind: str | None) -> Result:
    """All good lines."""
    import arrowstream as ars

    if kind is None:
        return ars.scan_csv(data.files, schema=SCHEMA, on_error="skip").collect(progress=False)
    path = damaged(Path(data.files), kind)
    return ars.scan_csv(path, schema=SCHEMA, on_error="skip").collect(progress=False)


def damaged(path: Path, kind: str) -> Path:
    """The file with bad lines; written unless it is there: in the run that warms up."""
    found = path.with_suffix(f".{kind.replace(' ', '-')}.csv")
    if not found.exists():
        partial = found.with_suffix(".partial")
        with path.open("rb") as good, partial.open("wb") as file:
            for number, line in enumerate(good):
                file.write(KINDS[kind](line[:-1]) + b"\n" if number % EVERY == EVERY // 2 else line)
        partial.rename(found)
    return found


CONTENDERS = {"no bad line": None, **{kind: kind for kind in KINDS}}

QUESTION = Question(
    title="Bad lines in CSV",
    asks='one file of CSV in which one line of a hundred is bad, with on_error="skip", into memory',
    contenders={name: lambda data, kind=kind: read(data, kind) for name, kind in CONTENDERS.items()},
    targets=[Target(kind, ["no bad line"], at_least=0.8) for kind in KINDS],
    rows_factor=dict.fromkeys(CONTENDERS, ROWS_FACTORS["csv"]),
    input="csv",
)
