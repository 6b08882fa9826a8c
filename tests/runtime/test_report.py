from __future__ import annotations

import warnings
from datetime import datetime

import pytest

from arrowstream.errors import LateRowsWarning
from arrowstream.runtime.report import Report, warn_of_lost_rows


def test_a_report_reads_well():
    report = Report(
        status="finished",
        rows_in=1_000_000,
        rows_out=12,
        rows_out_by_sink={"hot": 10, "late": 2},
        late_rows=2,
        missed_windows=1,
        lateness_needed="3s",
        skipped_rows=1,
        epochs=1,
        watermark=datetime(2026, 1, 1, 0, 0, 7),
        seconds=0.5,
    )
    assert str(report).splitlines() == [
        "finished: 1,000,000 rows in, 12 rows out, 1 epoch, 0.50 s",
        "  hot: 10 rows out",
        "  late: 2 rows out",
        "  watermark: 2026-01-01 00:00:07",
        "  late: 2 rows, 1 window missed by rows that entered others",
        '  nothing would have been late with lateness="3s"',
        "  skipped: 1 row",
    ]
    assert repr(report) == str(report)


def test_already_complete():
    assert str(Report(status="already_complete")).startswith("already complete")


def test_late_rows_are_warned_of_at_the_end_only():
    late = {"late_rows": 2, "lateness_needed": "3s"}
    with pytest.warns(
        LateRowsWarning, match='2 rows came too late.*\n.*lateness="3s" would have kept'
    ) as caught:
        warn_of_lost_rows(Report(status="finished", **late))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_lost_rows(Report(status="stopped", **late))
        warn_of_lost_rows(Report(status="finished"))
