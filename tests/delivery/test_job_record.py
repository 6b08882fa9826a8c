"""A checkpoint belongs to one job: what differs is shown, and nothing is touched."""

from __future__ import annotations

import pytest

from arrowstream.connectors.files.parquet_encode import ParquetEncoding
from arrowstream.connectors.files.sink import FileSink
from arrowstream.errors import PlanError, StateError
from arrowstream.runtime.epochs import EpochDriver, EpochEnd, EpochEvery, JobSpec, SinkSpec

PLAN = "scan rows.parquet\nfilter col(price) > 100\nsum by auction"


@pytest.fixture
def begun(another):
    begun = another(plan=PLAN)
    begun.run(epochs=2)
    return begun


def refused(job, **options):
    before = {path: path.read_bytes() for path in job.root.rglob("*") if path.is_file()}
    with pytest.raises(StateError) as caught:
        job.run(**options)
    assert {path: path.read_bytes() for path in job.root.rglob("*") if path.is_file()} == before
    return str(caught.value)


def test_a_changed_query_shows_the_changed_line(begun, another):
    message = refused(another(plan=PLAN.replace("100", "200")))
    assert message == (
        f"the checkpoint {begun.state}/job.json belongs to another job\n"
        "  --- the checkpoint's job\n"
        "  +++ this job\n"
        "  @@ -2,3 +2,3 @@\n"
        "     scan rows.parquet\n"
        "  -  filter col(price) > 100\n"
        "  +  filter col(price) > 200\n"
        "     sum by auction\n"
        "  hint: give this job a new checkpoint folder (and output), or restore the query, input and output "
        "that the checkpoint was begun with"
    )


def test_a_changed_input_shows_what_was_pinned(begun, another):
    message = refused(another(plan=PLAN, inputs="others.parquet"))
    assert '-    "rows.parquet"' in message
    assert '+    "others.parquet"' in message
    assert "price" not in message


def test_a_changed_output_shows_both_places(begun, another):
    changed = another(plan=PLAN)
    changed.out = begun.root / "elsewhere"
    message = refused(changed)
    assert f'-      "path": "{begun.out}",'.replace('",', '"') in message
    assert "elsewhere" in message
    assert not changed.out.exists()


def test_a_changed_format_of_the_output_is_a_change(begun):
    sinks = [FileSink(begun.out, ParquetEncoding(row_group_size=5)), begun.sinks()[1]]
    message = refused(begun, sinks=sinks)
    assert '-      "row_group_size": 4' in message
    assert '+      "row_group_size": 5' in message


def test_a_long_difference_is_cut(begun, another):
    message = refused(another(plan="\n".join(f"step {number}" for number in range(100))))
    assert "more lines" in message
    assert len(message.splitlines()) < 50


def test_the_same_job_goes_on(begun):
    assert begun.run().epoch == 2


def test_an_error_of_the_output_leaves_no_checkpoint_behind(job, another):
    job.out.mkdir(parents=True)
    (job.out / "mine.parquet").write_bytes(b"precious")
    with pytest.raises(StateError, match=r"out holds .*, which is not of this job"):
        job.run()
    assert not (job.state / "job.json").exists()
    another(plan="something else").run(mode="overwrite")
    assert not (job.out / "mine.parquet").exists()


def test_without_a_checkpoint_every_run_is_a_job_of_its_own(job):
    def driver(mode="error"):
        return EpochDriver(
            sinks=[SinkSpec("out", FileSink(job.out, ParquetEncoding()), {})],
            job=JobSpec("plan", "", {}),
            checkpoint=None,
            every=EpochEvery(seconds=5.0),
            mode=mode,
        )

    def run(driver):
        try:
            recovered = driver.recover()
            driver.close_epoch(EpochEnd(0, {}, 0, {}, {}, final=True))
            driver.finish()
        except BaseException as error:
            driver.abort(error)
            raise
        return recovered

    first = run(driver())
    with pytest.raises(StateError, match="out holds the history of an output that is not of this job"):
        run(driver())
    second = run(driver("overwrite"))
    assert first.job_id != second.job_id


def test_overwrite_never_removes_what_is_read(job, another):
    job.out.mkdir(parents=True)
    source = job.out / "rows.parquet"
    source.write_bytes(b"precious")
    with pytest.raises(PlanError, match=f"sink-0 would overwrite {source}, which is read"):
        another(inputs=str(source)).run(mode="overwrite")
    assert source.read_bytes() == b"precious"
    assert not job.state.exists()
