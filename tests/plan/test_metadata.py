from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pytest

from arrowstream.errors import PlanError
from arrowstream.plan import build, explain
from arrowstream.plan.build import with_metadata


@dataclass(frozen=True)
class Files:
    schema: pa.Schema
    bounded: bool = True
    replayable: bool = True

    def partitions(self):
        return ["all"]

    def open(self, partition, position):
        raise NotImplementedError

    def with_metadata(self, *, file, row):
        schema = self.schema
        for name, dtype in ((file, pa.string()), (row, pa.int64())):
            schema = schema if name is None else schema.append(pa.field(name, dtype))
        return Files(schema)


@pytest.fixture
def files():
    return build.scan(Files(pa.schema([("t", pa.timestamp("us")), ("x", pa.int64())])), event_time="t")


def test_file_and_row_come_from_the_source(files):
    node = with_metadata(files, file="f", row="n")
    assert node.schema == {"t": pl.Datetime("us"), "x": pl.Int64, "f": pl.String, "n": pl.Int64}
    assert node.event_time == "t"
    assert list(with_metadata(files, row="n").schema) == ["t", "x", "n"]


def test_processing_time_comes_last(files):
    node = with_metadata(files, file="f", processing_time="at")
    assert list(node.schema) == ["t", "x", "f", "at"]
    assert node.schema["at"] == pl.Datetime("us", "UTC")
    assert node.event_time == "t"
    assert "PROCESSING at" in explain.logical([node])
    assert "other in every run" in explain.physical([node])
    step = build.row_step(node, "select", "at", "f")
    assert "reads 2 of 3 columns: t, f" in explain.physical([step])


def test_mistakes(files, bids):
    for given, told in [
        ({}, "nothing was asked for"),
        ({"file": "x"}, 'two columns would be called "x"'),
        ({"file": "y", "row": "y"}, 'two columns would be called "y"'),
        ({"row": 3}, "3 is no name of a column"),
        ({"file": "__arrowstream_file"}, 'names that begin with "__arrowstream_" are taken'),
        ({"processing_time": "__arrowstream_at"}, 'names that begin with "__arrowstream_" are taken'),
    ]:
        with pytest.raises(PlanError, match=told):
            with_metadata(files, **given)
    with pytest.raises(PlanError, match="has been asked for before"):
        with_metadata(with_metadata(files, file="f"), row="n")
    with pytest.raises(PlanError, match="does not know the file and number of a row"):
        with_metadata(bids, file="f")
    filtered = build.row_step(files, "filter", pl.col("x") > 1)
    with pytest.raises(PlanError, match="before any other verb"):
        with_metadata(filtered, file="f")
