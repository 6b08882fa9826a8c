"""`arrowstream run FILE.py`: which jobs run, how they end, and what is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import polars as pl
import pytest
from typer.testing import CliRunner

from arrowstream.cli import app

if TYPE_CHECKING:
    from pathlib import Path

runner = CliRunner()

JOB = """
import polars as pl
import arrowstream as ars

bids = ars.from_polars(pl.DataFrame({{"price": [90, 120, 130]}}))
dear = bids.filter(pl.col("price") > 100).sink_parquet(r"{out}/dear")
cheap = bids.filter(pl.col("price") <= 100).sink_parquet(r"{out}/cheap")
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    return tmp_path / "pipeline.py"


def test_every_job_of_the_file_runs(tmp_path: Path, pipeline: Path) -> None:
    pipeline.write_text(JOB.format(out=tmp_path))
    result = runner.invoke(app, ["run", str(pipeline)])

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("finished: 3 rows in, 3 rows out")
    assert pl.read_parquet(tmp_path / "dear")["price"].to_list() == [120, 130]
    assert pl.read_parquet(tmp_path / "cheap")["price"].to_list() == [90]


def test_the_list_jobs_says_which(tmp_path: Path, pipeline: Path) -> None:
    other = "\ncheap._forgotten.detach()"  # it would warn that it never ran
    pipeline.write_text(JOB.format(out=tmp_path) + "\njobs = [dear]" + other)
    result = runner.invoke(app, ["run", str(pipeline)])

    assert result.exit_code == 0, result.output
    assert (tmp_path / "dear").exists()
    assert not (tmp_path / "cheap").exists()


def test_a_job_that_the_file_has_run_itself_is_not_run_again(tmp_path: Path, pipeline: Path) -> None:
    pipeline.write_text(JOB.format(out=tmp_path) + "\nars.run([dear, cheap])")
    result = runner.invoke(app, ["run", str(pipeline)])

    assert (result.exit_code, result.stdout) == (0, "")


def test_a_file_can_import_its_neighbours_and_has_no_main(tmp_path: Path, pipeline: Path) -> None:
    (tmp_path / "neighbour_of_pipeline.py").write_text("LIMIT = 100")
    pipeline.write_text(
        JOB.format(out=tmp_path)
        + "\nfrom neighbour_of_pipeline import LIMIT"
        + "\nif __name__ == '__main__': raise SystemExit(9)"
    )

    assert runner.invoke(app, ["run", str(pipeline)]).exit_code == 0


def test_a_second_run_with_the_same_checkpoint_has_nothing_to_do(tmp_path: Path, pipeline: Path) -> None:
    pl.DataFrame({"price": [90, 120]}).write_parquet(tmp_path / "bids.parquet")
    pipeline.write_text(
        "import arrowstream as ars\n"
        f"job = ars.scan_parquet(r'{tmp_path}/bids.parquet').sink_parquet(r'{tmp_path}/out')\n"
    )
    command = ["run", str(pipeline), "--checkpoint", str(tmp_path / "state"), "--checkpoint-every", "1"]

    assert runner.invoke(app, command).stdout.startswith("finished: 2 rows in, 2 rows out")
    assert runner.invoke(app, command).stdout.startswith("already complete")


def test_verify_names_a_damaged_file(tmp_path: Path, pipeline: Path) -> None:
    pl.DataFrame({"price": [90, 120]}).write_parquet(tmp_path / "bids.parquet")
    pipeline.write_text(
        "import arrowstream as ars\n"
        f"job = ars.scan_parquet(r'{tmp_path}/bids.parquet').sink_parquet(r'{tmp_path}/out')\n"
    )
    state = tmp_path / "state"
    runner.invoke(app, ["run", str(pipeline), "--checkpoint", str(state)])
    verify = ["checkpoints", "verify", str(state)]

    whole = runner.invoke(app, verify)
    assert (whole.exit_code, whole.stdout) == (0, f"{state}: every file is whole\n")

    (state / "job.json").write_bytes((state / "job.json").read_bytes()[:-1])
    damaged = runner.invoke(app, verify)
    assert damaged.exit_code == 1
    assert damaged.stdout.startswith(f"{state / 'job.json'}: ")


def test_no_such_file(tmp_path: Path) -> None:
    result = runner.invoke(app, ["run", str(tmp_path / "none.py")])

    assert result.exit_code == 1
    assert result.stderr == (
        f"error: there is no file {tmp_path / 'none.py'}\n"
        "  hint: arrowstream run takes a pipeline (.yaml, .toml) or a Python file (.py) that defines jobs; "
        "arrowstream inspect looks at data\n"
    )


def test_a_file_without_jobs(pipeline: Path) -> None:
    pipeline.write_text(
        "import arrowstream as ars, polars as pl\nbids = ars.from_polars(pl.DataFrame({'a': [1]}))"
    )
    result = runner.invoke(app, ["run", str(pipeline)])

    assert result.exit_code == 1
    assert result.stderr == (
        f"error: {pipeline} defines no job\n"
        '  hint: give a stream an output, in a variable of the file: job = stream.sink_parquet("out/")\n'
    )


def test_an_error_in_the_file_names_its_line(pipeline: Path) -> None:
    pipeline.write_text(
        "import arrowstream as ars, polars as pl\n"
        "bids = ars.from_polars(pl.DataFrame({'price': [1]}))\n"
        "bids.select('prize')\n"
    )
    result = runner.invoke(app, ["run", str(pipeline)])

    assert result.exit_code == 1
    assert result.stderr.startswith(f"{pipeline}, line 3:\nerror: ")
    assert "price" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_error_of_the_file_itself_is_told_without_what_ran_it(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("def fail():\n    return 1 / 0\n\nfail()\n")
    result = runner.invoke(app, ["run", str(tmp_path / "job.py")])
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert [line for line in lines if line.startswith("  File")] == [
        f'  File "{tmp_path / "job.py"}", line 4, in <module>',
        f'  File "{tmp_path / "job.py"}", line 2, in fail',
    ]
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_what_is_data_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "bids.csv").write_text("a\n1\n")
    result = runner.invoke(app, ["run", str(tmp_path / "bids.csv")])
    assert result.stderr.startswith(f"error: {tmp_path / 'bids.csv'} is no pipeline and no Python file\n")


def test_an_option_that_is_out_of_range(tmp_path: Path, pipeline: Path) -> None:
    pipeline.write_text(JOB.format(out=tmp_path))
    result = runner.invoke(app, ["run", str(pipeline), "--checkpoint-every", "soon"])

    assert result.exit_code == 1
    assert result.stderr.startswith(
        "error: checkpoint_every='soon' is neither a duration nor a number of rows"
    )


ENDLESS = """
import itertools, pathlib, threading
import polars as pl
import arrowstream as ars

pause = threading.Event()

def batches():
    for number in itertools.count():
        yield pl.DataFrame({{"number": [number]}})
        pathlib.Path(r"{out}/started").touch()
        pause.wait(0.01)

stream = ars.from_batches(batches, schema={{"number": pl.Int64}}, bounded=False)
job = stream.sink_parquet(r"{out}/out")
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_finishes_the_epoch(tmp_path: Path, pipeline: Path, number: int, code: int) -> None:
    pipeline.write_text(ENDLESS.format(out=tmp_path))
    command = [sys.executable, "-c", "from arrowstream.cli import main; main()", "run", str(pipeline)]
    with subprocess.Popen(
        [*command, "--checkpoint", str(tmp_path / "state"), "--checkpoint-every", "100ms"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for(tmp_path / "out" / "part-00000001.parquet", process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)

    assert process.returncode == code, errors
    assert "Traceback" not in errors
    numbers = pl.read_parquet(tmp_path / "out")["number"]
    assert numbers.to_list() == list(range(len(numbers)))


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"no {path} within a minute"
        time.sleep(0.02)  # another process cannot be waited for in any other way
