"""`arrowstream run`, `lint` and `schema` for pipeline files: what is printed, where, and the exit code."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time

import polars as pl
import pytest
from typer.testing import CliRunner

from arrowstream.cli import app

runner = CliRunner()

GOOD = "source: {parquet: bids.parquet}\nsteps: [filter: price > 100]\nsinks: {parquet: out}\n"
BAD = "source: {parquet: bids.parquet}\nsteps: [filter: prize > 100]\nsinks: {parquet: out}\nrunn: {}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    pl.DataFrame({"price": [90, 120, 130]}).write_parquet(tmp_path / "bids.parquet")
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(BAD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_run_prints_the_report(folder):
    result = runner.invoke(app, ["run", "good.yaml"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("finished: 3 rows in, 2 rows out")
    assert pl.read_parquet(folder / "out")["price"].to_list() == [120, 130]


def test_an_option_that_is_wrong_is_told_and_nothing_else(folder):
    result = runner.invoke(app, ["run", "good.yaml", "--threads", "0"])
    assert result.exit_code == 1
    assert result.stderr == (
        "error: threads=0 is not a number of threads between 1 and 1024\n  hint: leave it out for all cores\n"
    )
    gc.collect()  # a warning would be an error here


def test_paths_begin_at_the_folder_of_the_file(folder, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert runner.invoke(app, ["run", str(folder / "good.yaml")]).exit_code == 0
    assert (folder / "out").is_dir()


def test_options_of_the_command_go_before_those_of_the_file(folder):
    (folder / "good.yaml").write_text(GOOD + "run: {checkpoint: state, checkpoint_every: 1}\n")
    command = ["run", "good.yaml", "--checkpoint", "mine"]
    assert runner.invoke(app, command).stdout.startswith("finished: 3 rows in")
    assert (folder / "mine").is_dir()
    assert not (folder / "state").exists()
    assert runner.invoke(app, command).stdout.startswith("already complete")


TIMES = ["2026-01-01T00:00:01", "2026-01-01T00:01:00", "2026-01-01T00:00:02"]
WORDS = """
source:
  ndjson: in.ndjson
  schema: {time: Datetime, price: Int64}
  event_time: time
  lateness: 5s
  on_error: dead_letter
steps:
  - validate: {positive: price > 0}
  - group_by_dynamic: time
    every: 10s
    agg: {n: COUNT(*)}
sinks: {parquet: out}
"""


@pytest.mark.filterwarnings("always::arrowstream.ArrowStreamWarning")
def test_a_run_speaks_the_words_of_the_file(folder):
    lines = [f'{{"time": "{time}", "price": {price}}}' for price, time in enumerate(TIMES, 1)]
    (folder / "in.ndjson").write_text("\n".join([*lines, "not json"]))
    (folder / "words.yaml").write_text(WORDS)
    result = runner.invoke(app, ["run", "words.yaml"])
    assert result.exit_code == 0, result.output
    assert result.stderr == (
        "warning: 1 row came too late and changed no result\n"
        "  hint: lateness: 51s would have kept them all; outputs under late take the late rows\n"
        "warning: 1 dead letter nobody has read\n"
        "  hint: add an output for them, under dead_letters; "
        "on_error: skip drops bad input without this warning\n"
    )
    assert "\n  nothing would have been late with lateness: 51s\n" in result.stdout
    (folder / "words.yaml").write_text(WORDS.replace("price > 0", "price > 1"))
    assert runner.invoke(app, ["run", "words.yaml", "--mode", "overwrite"]).stderr == (
        "error: a row does not keep the rules (failed: positive): "
        "time: 2026-01-01 00:00:01, price: 1\n"
        f"  at: operator validate-2, file {folder}/in.ndjson, row 0\n"
        "  hint: on_error: skip drops such rows, "
        "on_error: dead_letter gives them to the outputs under dead_letters\n"
    )


@pytest.mark.parametrize("command", ["run", "lint"])
def test_mistakes_are_printed_and_the_exit_code_is_1(folder, command):
    result = runner.invoke(app, [command, "bad.yaml"])
    assert result.exit_code == 1
    assert (result.stderr if command == "run" else result.stdout).startswith(
        'bad.yaml:2:17: there is no column "prize"\n'
        "  choices: price\n"
        '  hint: did you mean "price"?\n'
        'bad.yaml:4:1: unknown key "runn"\n'
        "  choices: source, steps, sinks, late, dead_letters, run\n"
        '  hint: did you mean "run"?\n'
    )
    assert result.stderr.endswith("2 mistakes in 1 file\n")
    assert not (folder / "out").exists()


def test_lint_of_right_files(folder):
    result = runner.invoke(app, ["lint", "good.yaml", "good.yaml"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "2 files: nothing is wrong\n")


def test_lint_without_input(folder):
    (folder / "bids.parquet").unlink()
    assert runner.invoke(app, ["lint", "good.yaml"]).exit_code == 1
    assert runner.invoke(app, ["lint", "good.yaml", "--no-input"]).exit_code == 0


def test_lint_as_json(folder):
    result = runner.invoke(app, ["lint", "--format", "json", "bad.yaml", "good.yaml"])
    assert result.exit_code == 1
    first, second = json.loads(result.stdout)
    assert first == {
        "file": "bad.yaml",
        "line": 2,
        "column": 17,
        "message": 'there is no column "prize"',
        "choices": ["price"],
        "hint": 'did you mean "price"?',
    }
    assert second["line"] == 4
    assert json.loads(runner.invoke(app, ["lint", "--format", "json", "good.yaml"]).stdout) == []


def test_lint_for_github(folder):
    result = runner.invoke(app, ["lint", "--format", "github", "bad.yaml"])
    assert result.stdout.splitlines()[0] == (
        '::error file=bad.yaml,line=2,col=17::there is no column "prize"%0A  choices: price'
        '%0A  hint: did you mean "price"?'
    )


def test_there_is_no_other_format(folder):
    result = runner.invoke(app, ["lint", "--format", "xml", "bad.yaml"])
    assert result.stderr == "error: --format xml does not exist\n  choices: text, json, github\n"


def test_schema_is_json():
    schema = json.loads(runner.invoke(app, ["schema"]).stdout)
    assert schema["title"] == "arrowstream pipeline"
    assert schema["properties"]["steps"]["items"]["oneOf"]


def test_no_value_of_the_environment_is_printed(folder, monkeypatch):
    monkeypatch.setenv("PLACE", "canary-4711")
    (folder / "good.yaml").write_text(GOOD.replace("out", "'${PLACE}'") + "late: {parquet: '${PLACE}'}\n")
    result = runner.invoke(app, ["run", "good.yaml"])
    assert result.exit_code == 1
    (folder / "good.yaml").write_text(
        GOOD.replace("{parquet: out}", "[{parquet: '${PLACE}/a'}, {ipc: '${PLACE}/b'}]")
    )
    outputs = [result.output]
    for expected in (0, 1):
        result = runner.invoke(app, ["run", "good.yaml"])
        assert result.exit_code == expected
        outputs.append(result.output)
    assert "parquet " in outputs[1]
    assert "${PLACE}/a" in outputs[1]
    assert "${PLACE}/a" in outputs[2]
    assert not any("canary" in output for output in outputs)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
def test_sigterm_finishes_the_epoch(folder):
    count = 2_000_000
    pl.DataFrame({"price": range(count)}).write_parquet(folder / "bids.parquet", row_group_size=10_000)
    command = [sys.executable, "-c", "from arrowstream.cli import main; main()", "run", "good.yaml"]
    command += ["--checkpoint", "state", "--checkpoint-every", "10000", "--batch-rows", "1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (folder / "out").exists() or not any((folder / "out").iterdir()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)  # another process cannot be waited for in any other way
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "Traceback" not in errors
    prices = pl.read_parquet(folder / "out")["price"]
    assert 0 < len(prices) < count
    assert prices.to_list() == list(range(101, 101 + len(prices)))
