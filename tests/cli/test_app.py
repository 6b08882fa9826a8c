"""The command line: what is printed, where, and with which exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from typer.testing import CliRunner

import arrowstream as ars
from arrowstream.cli import app

if TYPE_CHECKING:
    from pathlib import Path

runner = CliRunner()


def test_version_is_the_packages() -> None:
    result = runner.invoke(app, ["--version"])

    assert (result.exit_code, result.stdout) == (0, f"arrowstream {ars.__version__}\n")


def test_help_names_all_commands() -> None:
    result = runner.invoke(app, ["--help"])

    assert result.exit_code == 0
    for command in ("demo", "run", "lint", "schema", "convert", "inspect", "warmup", "checkpoints"):
        assert command in result.stdout


def test_an_error_is_its_fact_choices_and_hint() -> None:
    result = runner.invoke(app, ["inspect", "bids.xls"])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "error: bids.xls does not tell its format by its name\n"
        "  choices: .parquet, .arrow, .arrows, .feather, .ipc, .csv, .tsv, .ndjson, .jsonl, .avro\n"
        "  hint: a compressed file has a second suffix: .csv.gz; convert takes --from and --to\n"
    )


def test_debug_raises_the_error_itself() -> None:
    result = runner.invoke(app, ["--debug", "inspect", "bids.xls"])

    assert isinstance(result.exception, ars.PlanError)


def test_unknown_option_is_a_usage_error() -> None:
    assert runner.invoke(app, ["demo", "--evnets", "5"]).exit_code == 2


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv", "ndjson", "avro"])
def test_inspect_shows_schema_count_and_first_rows(tmp_path: Path, suffix: str) -> None:
    frame = pl.DataFrame({"auction": [1000, 1001, 1002], "channel": ["Apple", None, "Google"]})
    path = tmp_path / f"bids.{suffix}"
    write = frame.write_ipc if suffix == "arrow" else getattr(frame, f"write_{suffix}")
    write(path)

    for place in (path, tmp_path, tmp_path / f"*.{suffix}"):
        result = runner.invoke(app, ["inspect", str(place), "--rows", "2"])
        assert result.exit_code == 0
        lines = [line.split() for line in result.stdout.splitlines()]
        assert lines[0] == ["3", "rows,", "2", "columns"]
        assert ["│", "auction", "│", "Int64", "│"] in lines
        assert ["│", "1,000", "│", "Apple", "│"] in lines
        assert ["│", "1,001", "│", "null", "│"] in lines
        assert "1,002" not in result.stdout


def test_inspect_of_a_mixed_folder_asks_for_a_glob(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({"a": [1]}).write_ipc(tmp_path / "1.arrow")
    result = runner.invoke(app, ["inspect", str(tmp_path)])

    assert result.stderr == (
        f"error: {tmp_path} holds several kinds of files: .arrow, .parquet\n"
        f"  hint: give a glob, such as '{tmp_path}/*.arrow'\n"
    )


def test_warmup_says_how_many_kernels_are_ready() -> None:
    result = runner.invoke(app, ["warmup"])

    assert result.exit_code == 0
    assert "kernels are ready" in result.stdout


def test_demo_replays_its_own_files_and_agrees_with_polars(tmp_path: Path) -> None:
    result = runner.invoke(app, ["demo", "--events", "50000", "--every", "1s", "--folder", str(tmp_path)])

    assert result.exit_code == 0, result.output
    assert "wrote 50,000 Nexmark events" in result.stdout
    assert "replayed 46,000 bids" in result.stdout
    assert "the first results were out after" in result.stdout
    assert "The busiest 10 of" in result.stdout
    assert "same result" in result.stdout.splitlines()[-1]
    assert pl.scan_parquet(tmp_path / "bid" / "*.parquet").select(pl.len()).collect().item() == 46_000


def test_verify_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    result = runner.invoke(app, ["checkpoints", "verify", str(tmp_path / "state")])

    assert result.exit_code == 1
    assert result.stderr == (
        f"error: there is no checkpoint {tmp_path / 'state'}\n"
        "  hint: give the folder that a job ran with: its checkpoint\n"
    )
