"""The pages of the documentation: their programs run as they stand, block after block."""

from __future__ import annotations

import re
import runpy
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

DOCS = Path(__file__).parents[2] / "docs"
BIDS = pl.DataFrame(
    {
        "date_time": [datetime(2026, 1, 1, 0, 0, second) for second in (1, 2, 12)],
        "auction": [1, 1, 2],
        "price": [120, 150, 101],
    }
)
PROGRAMS = ["index.md", "bad-input.md", "formats/avro.md", "extending.md", "recipes.md"]


@pytest.mark.parametrize("page", PROGRAMS)
def test_the_program_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "bid").mkdir(parents=True)
    BIDS.write_parquet(tmp_path / "data" / "bid" / "1.parquet")
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    program = tmp_path / "page.py"
    program.write_text("\n\n".join(blocks), encoding="utf-8")
    runpy.run_path(str(program))
