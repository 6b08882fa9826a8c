"""A job over damaged, compressed files, killed at any instant: no row or dead letter is lost or repeated."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from system import harness, killed_files

from arrowstream import failpoints

JOB = Path(__file__).with_name("killed_files.py")
ROWS = 12_000
EPOCH_ROWS = 900
KILLS = 4
SEED = 20_261_124


class Golden(harness.Golden):
    """The outputs of one undisturbed run over the same bids as text."""

    def __init__(self, root):
        super().__init__(root, "files", rows=ROWS, epoch_rows=EPOCH_ROWS)

    def start(self, root, *, fail=""):
        if not (self.root / "text").exists():
            write_text(self.root)
        return subprocess.Popen(
            [sys.executable, str(JOB), str(root), str(self.epoch_rows)],
            env=os.environ | {failpoints.ENVIRONMENT: fail},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def fresh(self):
        root = super().fresh()
        (root / "data").unlink()
        (root / "data").symlink_to(self.root / "text")
        return root

    def published(self, root):
        files = [path for name in killed_files.OUTPUTS for path in (root / name).glob("*")]
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def write_text(root: Path) -> None:
    """The bids as CSV: whole, in two gzip members with bad lines, cut short, and no CSV at all."""
    (root / "text").mkdir()
    bids = [
        pl.read_parquet(path).select(list(killed_files.SCHEMA)) for path in sorted((root / "data").iterdir())
    ]
    texts = [frame.write_csv().encode() for frame in bids]
    lines = texts[1].splitlines(keepends=True)
    lines[100:100] = [b"neither, this\n", b"\xff\n"]
    half = b"".join(lines[:500]), b"".join([*lines[500:], b"1,2,3,4"])
    cut = pa.compress(texts[2], "zstd", asbytes=True)
    for name, content in (
        ("1.csv", texts[0]),
        ("2.csv.gz", gzip.compress(half[0]) + gzip.compress(half[1])),
        ("3.csv.zst", cut[: len(cut) * 2 // 3]),
        ("4.csv.gz", gzip.compress(texts[3])),
        ("5.csv", b"\x00\x01\x02"),
    ):
        (root / "text" / name).write_bytes(content)


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    return Golden(tmp_path_factory.mktemp("killed-files"))


def test_an_undisturbed_run_reads_what_can_be_read(golden, tmp_path):
    root = golden.fresh()
    process = golden.start(root)
    assert harness.finish(process)[:2] == (0, "ready\nfinished\n")
    assert golden.differences(root) == []
    letters = pl.concat([pl.read_ipc(path) for path in sorted((root / "bad").glob("*"))])
    assert sorted(letters["position"]) == sorted(["line 101", "line 102", last_line(golden), "file", "file"])
    whole = [path for path in sorted((golden.root / "data").iterdir()) if path.name != cut_short(golden)]
    expected = pl.read_parquet(whole).filter(pl.col("price") > 5_000)
    rows = pl.concat([pl.read_csv(path) for path in sorted((root / "rows").glob("*"))])
    assert rows["price"].sum() == expected["price"].sum()
    assert rows.height == expected.height


def cut_short(golden):
    return sorted(path.name for path in (golden.root / "data").iterdir())[2]


def last_line(golden):
    content = gzip.decompress((golden.root / "text" / "2.csv.gz").read_bytes())
    return f"line {content.count(bytes([10])) + 1}"


def test_killed_at_random_instants(golden):
    tally = harness.kill_at_random(golden, kills=KILLS, seed=SEED)
    assert tally.differing == []
