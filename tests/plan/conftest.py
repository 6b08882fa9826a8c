from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pytest

from arrowstream.plan import build


@dataclass
class EmptySource:
    """A description of a source that is never opened."""

    schema: pa.Schema
    bounded: bool = True
    replayable: bool = True

    def partitions(self):
        return ["all"]

    def open(self, partition, position):
        raise NotImplementedError

    def __repr__(self):
        return "events"


@pytest.fixture
def scan():
    """A scan of columns, event time "t" if there is one."""

    def make(event_time="t", lateness=None, bounded=True, **columns):
        schema = pa.schema(pl.DataFrame(schema=columns).to_arrow().schema)
        event_time = event_time if event_time in columns else None
        return build.scan(EmptySource(schema, bounded), event_time=event_time, lateness=lateness)

    return make


@pytest.fixture
def bids(scan):
    """Bids with the event time "t", "5s" of lateness."""
    return scan(t=pl.Datetime("us"), auction=pl.Int64, price=pl.Float64, channel=pl.String, lateness="5s")
