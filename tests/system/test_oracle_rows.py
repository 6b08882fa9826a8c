"""Steps that look at each row alone give what Polars gives for the whole input, for columns of any type."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from system.random_plans import applied, collected, plans
from system.random_rows import bits, frames

import arrowstream as ars

EXAMPLES = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)


@EXAMPLES
@given(data=st.data(), frame=frames(columns_max=5))
def test_row_steps(data, frame):
    plan = data.draw(plans(frame.schema), "plan")
    stream = applied(plan, ars.from_polars(frame))
    try:
        expected = collected(applied(plan, frame.lazy()))
    except POLARS_ERRORS as error:
        note(f"Polars says: {error}")
        _fails_or_needs_no_failing_step(stream, applied(plan, frame.lazy()))
        return
    assert stream.collect_schema() == expected.schema
    result = stream.collect(progress=False)
    # Polars leaves the order of unpivot open, and we do not.
    in_order = not any(step.text.startswith("unpivot") for step in plan)
    assert_frame_equal(result, expected, check_row_order=in_order)
    for batch_rows in data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=2), "batch_rows"):
        assert bits(stream.collect(progress=False, batch_rows=batch_rows)) == bits(result)


def _fails_or_needs_no_failing_step(stream, lazy):
    """As Polars' own optimizer does, a column that nobody looks at may be left out, and so not fail."""
    try:
        result = stream.collect(progress=False)
    except ars.DataError:
        return
    assert_frame_equal(result, lazy.collect(engine="in-memory"), check_row_order=False)


@EXAMPLES
@given(data=st.data(), frame=frames(columns_max=3), n=st.integers(0, 40), batch_rows=st.integers(1, 20))
def test_limit_among_steps(data, frame, n, batch_rows):
    before = data.draw(plans(frame.schema, steps_max=2), "before")
    assume(not any(step.text.startswith(("unpivot", "cast")) for step in before))
    after = data.draw(plans(applied(before, frame.lazy()).collect_schema(), steps_max=2), "after")
    assume(not any(step.text.startswith(("unpivot", "cast")) for step in after))
    try:
        rows = collected(applied(before, frame.lazy())).head(n)
        expected = collected(applied(after, rows.lazy()))
    except POLARS_ERRORS:
        return
    stream = applied(after, applied(before, ars.from_polars(frame)).limit(n))
    assert_frame_equal(stream.collect(progress=False, batch_rows=batch_rows), expected)


def _written(frame, folder, kind, data):
    """The frame in one or more files of the kind; what Polars reads from them."""
    files = data.draw(st.integers(1, 3), "files")
    cuts = sorted(data.draw(st.lists(st.integers(0, frame.height), min_size=files - 1, max_size=files - 1)))
    for number, (begin, end) in enumerate(pairwise([0, *cuts, frame.height])):
        path = folder / f"part-{number}.{kind}"
        if kind == "parquet":
            frame[begin:end].write_parquet(path, row_group_size=data.draw(st.integers(1, 9), "row group"))
        else:
            frame[begin:end].write_ipc(path, record_batch_size=data.draw(st.integers(1, 9), "batch"))
    return pl.scan_parquet(folder) if kind == "parquet" else pl.scan_ipc(folder)


@EXAMPLES
@given(data=st.data(), frame=frames(columns_max=5), kind=st.sampled_from(["parquet", "ipc"]))
def test_every_type_through_files(data, frame, kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp(kind)
    lazy = _written(frame, folder, kind, data)
    scan = ars.scan_parquet if kind == "parquet" else ars.scan_ipc
    stream = scan(folder, event_time="t")
    expected = lazy.collect()
    result = stream.collect(progress=False, batch_rows=data.draw(st.integers(1, 9), "batch_rows"))
    assert result.schema == expected.schema
    assert bits(result) == bits(expected)
    plan = data.draw(plans(expected.schema, steps_max=3), "plan")
    try:
        expected = collected(applied(plan, expected.lazy()))
    except POLARS_ERRORS:
        return
    some = applied(plan, stream).collect(progress=False, batch_rows=data.draw(st.integers(1, 9)))
    assert_frame_equal(some, expected, check_row_order=False)


@EXAMPLES
@given(data=st.data(), frame=frames(columns_max=4), kind=st.sampled_from(["parquet", "ipc"]))
def test_every_type_into_files_and_back(data, frame, kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp(kind)
    stream = ars.from_polars(frame)
    every = data.draw(st.integers(1, 40), "checkpoint_every")
    try:
        job = stream.sink_parquet(folder / "out") if kind == "parquet" else stream.sink_ipc(folder / "out")
    except ars.PlanError as error:
        assert "cannot hold" in str(error)  # noqa: PT017 - says which column, and why
        note(str(error))
        return
    report = job.run(checkpoint=folder / "state", checkpoint_every=every, progress=False)
    assert report.rows_out == frame.height
    published = pl.read_parquet(folder / "out") if kind == "parquet" else pl.read_ipc(folder / "out/*.arrow")
    if kind == "parquet":
        assert published.schema == frame.schema
    as_text = {name: _without_categories(dtype) for name, dtype in frame.schema.items()}
    assert bits(published.cast(as_text)) == bits(frame.cast(as_text))


def _without_categories(dtype):
    """IPC files have strings for categories."""
    if isinstance(dtype, pl.List):
        return pl.List(_without_categories(dtype.inner))
    return pl.String() if dtype in (pl.Categorical, pl.Enum) else dtype
