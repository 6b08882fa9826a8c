"""Reading JSON lines of which one in a hundred is bad."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from formats import ROWS_FACTORS, SCHEMA
from question import Question, Target

if TYPE_CHECKING:
    from typing import Literal

    from question import Input, Result

_BAD_EVERY = 100


def _read(data: Input, damage: str, on_error: Literal["raise", "skip", "dead_letter"]) -> Result:
    import arrowstream as ars

    path = Path(data.files) if damage == "none" else _damaged(Path(data.files), damage)
    return ars.scan_ndjson(path, schema=SCHEMA, on_error=on_error).collect(progress=False)


def _damaged(path: Path, damage: str) -> Path:
    """The file with some bad lines: cut off, or with a text for a number."""
    damaged = path.with_suffix(f".{damage}.ndjson")
    if not damaged.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        for index in range(0, len(lines), _BAD_EVERY):
            line = lines[index]
            if damage == "cut":
                lines[index] = line[: len(line) // 2] + b"\n"
            else:
                lines[index] = line.replace(b'"price":', b'"price":"no number","was":')
        unfinished = damaged.with_suffix(".partial")
        unfinished.write_bytes(b"".join(lines))
        unfinished.rename(damaged)
    return damaged


CONTENDERS = {
    "good lines": partial(_read, damage="none", on_error="raise"),
    "cut lines, skip": partial(_read, damage="cut", on_error="skip"),
    "cut lines, dead_letter": partial(_read, damage="cut", on_error="dead_letter"),
    "wrong types, skip": partial(_read, damage="type", on_error="skip"),
    "wrong types, dead_letter": partial(_read, damage="type", on_error="dead_letter"),
}

QUESTION = Question(
    title="Bad lines of JSON",
    asks="one file of JSON lines into memory; in others, one line in a hundred is cut off, or has a text for "
    "a number. The slowest kind should lose no more than a fifth",
    contenders=CONTENDERS,
    targets=[Target(name, ["good lines"], at_least=0.8) for name in CONTENDERS if name != "good lines"],
    rows_factor=dict.fromkeys(CONTENDERS, ROWS_FACTORS["ndjson"]),
    input="ndjson",
)
