"""A stream in Jupyter: its picture, and its progress; in a kernel of its own."""

from __future__ import annotations

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

CELLS = (
    """
import time
import polars as pl
import arrowstream as ars

def slowly():
    for number in range(12):
        time.sleep(0.1)
        yield pl.DataFrame({"n": [number]})

stream = ars.from_batches(slowly, schema={"n": pl.Int64}).filter(pl.col("n") > 3)
stream
""",
    "stream.show_graph()",
    "stream.collect().height",
    "await stream.collect_async(progress=False)",
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    client = nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": tmp_path_factory.mktemp("nb")}}
    )
    return [cell.outputs for cell in client.execute().cells]


def test_a_stream_shows_its_schema_and_its_plan(outputs) -> None:
    (shown,) = outputs[0]
    html = shown["data"]["text/html"]
    assert "<svg" in html
    assert "Int64" in html


def test_the_graph_is_shown_once(outputs) -> None:
    (shown,) = outputs[1]
    assert "<svg" in shown["data"]["text/html"]


def test_collect_shows_its_progress_and_then_the_result(outputs) -> None:
    progress, result = outputs[2]
    assert progress["output_type"] == "display_data"
    assert "12 rows" in progress["data"]["text/html"]
    assert "finished, " in progress["data"]["text/html"]
    assert result["data"]["text/plain"] == "8"


def test_top_level_await_works(outputs) -> None:
    (result,) = outputs[3]
    assert "shape: (8, 1)" in result["data"]["text/html"] + result["data"]["text/plain"]
