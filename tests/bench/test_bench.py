"""The benchmark itself: it runs, and all contenders give the same rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "bench" / "run.py"


@pytest.mark.parametrize(
    "question",
    ["tumbling", "hopping", "string_key", "two_keys", "high_cardinality", "read_csv", "write_avro"],
)
def test_contenders_agree(tmp_path: Path, question: str) -> None:
    command = [sys.executable, str(RUN), question, "--rows", "20000", "--rounds", "1", "--no-write"]
    found = subprocess.run([*command, "--data", str(tmp_path)], capture_output=True, text=True, check=False)

    assert found.returncode == 0, found.stderr
    assert "could not run" not in found.stdout
    assert "arrowstream: " in found.stdout  # a verdict, whichever


def test_an_unknown_question_is_named() -> None:
    found = subprocess.run([sys.executable, str(RUN), "tumblng"], capture_output=True, text=True, check=False)

    assert found.returncode == 2
    assert "no question named tumblng; choices: tumbling, hopping" in found.stderr
