"""A contender as the harness sees it: a process of its own, driven by requests."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self


@dataclass(slots=True)
class Measured:
    """What was measured of one contender."""

    rows: int
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    result_rows: int | None = None

    @property
    def seconds_per_million(self) -> float:
        """Median time for a million rows."""
        return median(self.seconds) / self.rows * 1e6

    @property
    def rows_per_second(self) -> float:
        """Rows a second, by the median time."""
        return self.rows / median(self.seconds)


class ContenderError(Exception):
    """A contender's process ended; its last words."""


class ContenderProcess:
    """A process that lives through all rounds.

    A process each, so that no contender works in memory that another has left behind, and peak memory is its
    own; one for all rounds, so that thread pools, allocators and compiled code are as warm as in a service.
    """

    def __init__(self, question: str, contender: str, measured: Measured, files: str, scratch: Path) -> None:
        self.measured = measured
        self._log = scratch.with_suffix(".log")
        command = [sys.executable, str(Path(__file__).with_name("worker.py"))]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*command, question, contender, str(measured.rows), files, str(scratch)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.close()

    def run(self, *, save: Path | None = None, counts: bool = True, warm_up_rows: int = 0) -> None:
        """Run the query once.

        Parameters
        ----------
        save
            Where to write the sorted result.
        counts
            Whether the time is kept.
        warm_up_rows
            Run it over so many generated rows before, for imports and compiled code.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(
            json.dumps({"save": save and str(save), "warm_up_rows": warm_up_rows}) + "\n"
        )
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            last = [text for text in self._log.read_text().splitlines() if text.strip()][-1:]
            raise ContenderError(last[0] if last else f"exit code {self._process.returncode}")
        answer = json.loads(line)
        self.measured.result_rows = answer.get("result_rows", self.measured.result_rows)
        self.measured.peak_bytes = max(self.measured.peak_bytes, answer["peak_bytes"])
        if counts:
            self.measured.seconds.append(answer["seconds"])
            self.measured.cpu_seconds.append(answer["cpu_seconds"])

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=60)
