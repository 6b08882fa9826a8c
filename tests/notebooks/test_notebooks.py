"""The notebooks run from top to bottom in a kernel of their own, as a reader would run them."""

from functools import cache
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
CELL_TIMEOUT_S = 300


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def executed(request):
    return run(request.param)


@pytest.fixture(scope="module")
def replay():
    return run(NOTEBOOKS[0])


@pytest.fixture(scope="module")
def files():
    return run(NOTEBOOKS[1])


@cache
def run(path):
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=CELL_TIMEOUT_S, resources={"metadata": {"path": NOTEBOOKS[0].parent}}
    )
    return client.execute()


def text_of(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = [output.get("text", "") for output in outputs]
    texts += [str(value) for output in outputs for value in output.get("data", {}).values()]
    return "\n".join(texts)


def test_every_cell_runs_and_nothing_is_written_to_stderr(executed):
    assert executed.cells
    assert not [
        output
        for cell in executed.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error" or output.get("name") == "stderr"
    ]


def test_a_stream_is_shown_with_its_plan_drawn(executed):
    assert "<svg" in text_of(executed)


def test_the_reader_sees_the_killed_job_give_the_same_bytes(replay):
    text = text_of(replay)
    assert "files identical, byte for byte: [True, " in text
    assert "False" not in text.split("files identical, byte for byte:")[1].split("]")[0]
    assert "already_complete" in text


def test_the_reader_sees_bad_input_beside_the_result_and_a_log_followed_through_its_rotation(files):
    text = text_of(files)
    assert "line 9" in text
    assert "day-4.csv.gz" in text
    assert "country=JP/part-" in text
    assert "waiting for new files, and for new lines in 2 files" in text
    assert "249" in text  # the last line of the last window that closed
