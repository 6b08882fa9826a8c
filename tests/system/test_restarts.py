"""Random queries over random rows, crashed at random steps and run again with other settings: the same bytes.

The crashes are exceptions in this process, of which hundreds fit into the time of one killed process.
"""

from __future__ import annotations

import gc
import warnings
from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, note
from hypothesis import settings as examples
from hypothesis import strategies as st
from system.random_aggregations import aggregations, assert_same
from system.random_plans import applied, collected, plans
from system.test_oracle_late import Grid, partitioned, windows_on, written

import arrowstream as ars
from arrowstream import failpoints

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = examples(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)

pytestmark = pytest.mark.filterwarnings("ignore::arrowstream.LateRowsWarning")

EACH_EPOCH = [
    name for name in failpoints.NAMES if name.split(".")[0] not in ("job", "generation", "base", "claim")
]

DIVISIONS = [{}, {"max_rows_per_file": 2}, {"approximate_bytes_per_file": 1}, {"rotate_every": "100ms"}]

grids = st.builds(
    Grid, st.sampled_from([50, 100]), st.sampled_from([50, 100, 100, 200, 330]), st.sampled_from([0, 13])
)


def published(folder: Path) -> dict[str, bytes]:
    """Every visible file below a folder, by its path."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    visible = [
        path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in visible}


def read(folder: Path, kind: str) -> pl.DataFrame:
    files = sorted(folder.glob("*"))
    frames = [pl.read_parquet(file) if kind == "parquet" else pl.read_ipc(file) for file in files]
    return pl.concat(frames)


def run_settings(draw_from):
    """What may differ from one start of a job to the next."""
    return {
        "batch_rows": draw_from(st.sampled_from(["auto", 1, 2, 5, 1_000]), "batch_rows"),
        "threads": draw_from(st.sampled_from([1, 2, 4]), "threads"),
        "memory_limit": draw_from(st.sampled_from([None, "1MiB"]), "memory_limit"),
    }


@EXAMPLES
@given(data=st.data(), parts=partitioned(), grid=grids, lateness=st.sampled_from([None, 0, 20, 150]))
def test_a_crashed_job_leaves_the_bytes_of_an_undisturbed_one(data, parts, grid, lateness, tmp_path_factory):
    root = tmp_path_factory.mktemp("job")
    (root / "data").mkdir()
    unit = parts[0].schema["t"].time_unit
    keys = data.draw(st.sampled_from([[], ["k"], ["k"], ["k", "c0"]]), "keys")
    assume(not any(parts[0].schema[key].is_nested() or parts[0].schema[key] == pl.Null for key in keys))
    plan = data.draw(plans(parts[0].schema, steps_max=1, keep=("t", "k", "c0", "c1")), "plan")
    aggs = data.draw(
        aggregations(applied(plan, pl.LazyFrame(schema=parts[0].schema)).collect_schema(), keys), "aggs"
    )
    try:
        collected(applied(plan, pl.concat(parts).lazy()).group_by(*keys or [pl.lit(1)]).agg(*aggs))
    except POLARS_ERRORS:
        assume(False)
    written(parts, root / "data", data.draw(st.integers(1, 9), "row group"))
    options = {
        "event_time": "t",
        "lateness": None if lateness is None else f"{lateness}{unit}",
        "clock_by": data.draw(st.sampled_from(["scan", "file"]), "clock_by"),
    }
    kind = data.draw(st.sampled_from(["parquet", "ipc"]), "kind")
    epoch_rows = data.draw(st.sampled_from([1, 2, 3, 5, 8, 20]), "checkpoint_every")
    divided = data.draw(st.sampled_from(DIVISIONS), "files of the rows")

    def jobs(place: Path) -> list[ars.Job]:
        stream = applied(plan, ars.scan_parquet(root / "data", **options))
        windows = windows_on(stream, grid, unit, keys)
        results = [windows.agg(*aggs), windows.late(), stream.select("t", "k")]
        sinks = ["windows", "late", "rows"]
        return [
            getattr(result, f"sink_{kind}")(place / name, **(divided if name == "rows" else {}))
            for name, result in zip(sinks, results, strict=True)
        ]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ars.JobNeverRunWarning)  # those before the one that is refused
        try:
            undisturbed = jobs(root / "golden")
        except ars.PlanError as error:
            assert "cannot hold" in str(error)  # noqa: PT017
            del error
            gc.collect()
            return
    common = {"checkpoint_every": epoch_rows, "progress": False}
    expected = ars.run(undisturbed, checkpoint=root / "golden-state", **common)
    golden = published(root / "golden")
    crashes = 0
    for _ in range(data.draw(st.integers(1, 4), "starts")):
        place = data.draw(st.sampled_from([*EACH_EPOCH * 3, *failpoints.NAMES]), "failpoint")
        nth = data.draw(st.sampled_from([1, 1, 2, 3, 5, 8]), "nth")
        settings = run_settings(data.draw)  # a draw may end the example: before there are jobs
        try:
            with failpoints.armed(f"{place}=raise@{nth}"):
                ars.run(jobs(root / "crashed"), checkpoint=root / "state", **common, **settings)
        except failpoints.Crash:
            crashes += 1
    note(f"{crashes} crashes")
    settings = run_settings(data.draw)
    report = ars.run(jobs(root / "crashed"), checkpoint=root / "state", **common, **settings)
    assert published(root / "crashed") == golden
    if report.status == "finished":
        for count in ("rows_in", "late_rows", "missed_windows", "lateness_needed", "rows_out", "epochs"):
            assert getattr(report, count) == getattr(expected, count), count
        assert [*report.rows_out_by_sink.values()] == [*expected.rows_out_by_sink.values()]
        assert report.watermark == expected.watermark
    # Published epoch by epoch, the rows are those of one query.
    whole = windows_on(applied(plan, ars.scan_parquet(root / "data", **options)), grid, unit, keys).agg(*aggs)
    result = whole.collect(progress=False)
    if kind == "parquet":
        assert_same(read(root / "golden/windows", kind), result)
