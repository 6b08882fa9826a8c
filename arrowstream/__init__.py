"""Write a Polars query once; replay it over files or run it live, and get the same rows, exactly once."""

from __future__ import annotations

import typing as _typing

from arrowstream.api.io import from_arrow, from_batches, from_polars, scan
from arrowstream.api.job import Job, RunningJob, run, start
from arrowstream.api.scans import scan_avro, scan_csv, scan_ipc, scan_ndjson, scan_parquet
from arrowstream.api.stream import Stream
from arrowstream.api.windows import DynamicGroupBy
from arrowstream.errors import (
    ArrowStreamError,
    ArrowStreamWarning,
    ConnectorError,
    DataError,
    DeadLettersWarning,
    FencedError,
    InternalError,
    JobNeverRunWarning,
    LateRowsWarning,
    PlanError,
    StateError,
)
from arrowstream.plan.template import template
from arrowstream.protocols import Following, Reader, Sink, Source
from arrowstream.runtime.metrics import ConnectorMetrics, Metrics, ProgressListener
from arrowstream.runtime.report import Report

if not _typing.TYPE_CHECKING:  # to a type checker a missing name shall stay missing
    from arrowstream.api.missing import missing_name as __getattr__  # noqa: F401 - PEP 562

__version__ = "0.1.0"

__all__ = [
    "ArrowStreamError",
    "ArrowStreamWarning",
    "ConnectorError",
    "ConnectorMetrics",
    "DataError",
    "DeadLettersWarning",
    "DynamicGroupBy",
    "FencedError",
    "Following",
    "InternalError",
    "Job",
    "JobNeverRunWarning",
    "LateRowsWarning",
    "Metrics",
    "PlanError",
    "ProgressListener",
    "Reader",
    "Report",
    "RunningJob",
    "Sink",
    "Source",
    "StateError",
    "Stream",
    "__version__",
    "from_arrow",
    "from_batches",
    "from_polars",
    "run",
    "scan",
    "scan_avro",
    "scan_csv",
    "scan_ipc",
    "scan_ndjson",
    "scan_parquet",
    "start",
    "template",
]
