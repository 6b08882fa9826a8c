"""Rules of a file: read again between epochs, recorded, and the same after a crash."""

from __future__ import annotations

import json
import logging

import polars as pl
import pytest

import arrowstream as ars
from arrowstream import failpoints

ROWS = pl.DataFrame({"x": range(60)})


def rules_in(path, **rules):
    path.write_text(json.dumps(rules), encoding="utf-8")


def run(stream, tmp_path, **options):
    job = stream.sink_parquet(tmp_path / "out")
    return job.run(
        checkpoint=tmp_path / "state", checkpoint_every=10, batch_rows=10, progress=False, **options
    )


def published(tmp_path):
    return pl.read_parquet(tmp_path / "out")["x"].to_list()


def crashed(stream, tmp_path, failpoint):
    job = stream.sink_parquet(tmp_path / "out")
    with failpoints.armed(failpoint), pytest.raises(failpoints.Crash):
        job.run(checkpoint=tmp_path / "state", checkpoint_every=10, batch_rows=10, progress=False)


def test_an_epoch_that_was_begun_has_the_rules_of_its_plan_again(tmp_path):
    rules = tmp_path / "rules.json"
    rules_in(rules, few="x % 10 < 2")
    stream = ars.from_polars(ROWS).filter_file(rules)
    crashed(stream, tmp_path, "prepare.before=raise@3")
    plans = sorted((tmp_path / "state" / "plan").glob("00000003-*"))
    assert len(plans) == 1
    assert '["few", "x % 10 < 2"]' in plans[0].read_text(encoding="utf-8")
    rules_in(rules, none="x < 0", few="x % 10 < 1")
    report = run(ars.from_polars(ROWS).filter_file(rules), tmp_path)
    assert published(tmp_path) == [x for x in range(30) if x % 10 < 2]
    assert report.status == "finished"


def test_rules_change_between_epochs_only(tmp_path):
    rules = tmp_path / "rules.json"
    rules_in(rules, low="x < 25")
    seen: list[int] = []

    def publish(frame):
        seen.extend(frame["x"].to_list())
        rules_in(rules, high="x >= 45")

    job = ars.from_polars(ROWS).filter_file(rules).sink_batches(publish)
    job.run(checkpoint_every=10, batch_rows=3, progress=False)
    before = [x for x in seen if x < 25]
    # The next epoch may have been begun when the first was published: it has the old rules to its end.
    assert before in (list(range(10)), list(range(20)))
    assert seen == [*before, *range(45, 60)]


@pytest.mark.parametrize("broken", ["[not json", '{"x": "y > 1"}', '{"x": 5}', None])
def test_a_mistake_leaves_the_rules_as_they_were_and_is_counted(tmp_path, caplog, broken):
    rules = tmp_path / "rules.json"
    rules_in(rules, low="x < 25")

    def breaks(frame):
        if broken is None:
            rules.unlink(missing_ok=True)
        else:
            rules.write_text(broken, encoding="utf-8")
        seen.extend(frame["x"].to_list())

    seen: list[int] = []
    with caplog.at_level(logging.WARNING, "arrowstream.rules"):
        job = ars.from_polars(ROWS).filter_file(rules).sink_batches(breaks)
        report = job.run(checkpoint_every=10, batch_rows=10, progress=False)
    assert seen == list(range(25))
    assert report.reload_errors >= 1
    assert "the rules stay as they were" in caplog.text
    assert "rules stayed as they were: " in str(report)


def test_without_rules_every_row_passes_and_null_does_not_pass_a_rule(tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text("", encoding="utf-8")
    frame = pl.DataFrame({"x": [1, None, 3], "y": ["a", "b", "c"]})
    assert ars.from_polars(frame).filter_file(rules).collect().equals(frame)
    rules.write_text("x > 1", encoding="utf-8")
    with pytest.raises(ars.PlanError, match="neither a list nor a mapping"):
        ars.from_polars(frame).filter_file(rules)
    rules.write_text("- x > 1\n- y <> 'd'\n", encoding="utf-8")
    stream = ars.from_polars(frame).filter_file(rules).select("y")
    assert stream.collect().rows() == [("c",)]


def test_processing_time_is_one_for_an_epoch_and_the_same_again(tmp_path):
    stream = ars.from_polars(ROWS).with_metadata(processing_time="at", batch="n")
    crashed(stream, tmp_path, "prepare.before=raise@3")
    plan = next((tmp_path / "state" / "plan").glob("00000003-*")).read_text(encoding="utf-8")
    run(ars.from_polars(ROWS).with_metadata(processing_time="at", batch="n"), tmp_path)
    found = pl.read_parquet(tmp_path / "out")
    times = found.group_by(pl.col("x") // 10, maintain_order=True).agg(pl.col("at").unique())["at"]
    assert found.schema["at"] == pl.Datetime("us", "UTC")
    assert all(len(one) == 1 for one in times)
    assert f'"processing-time-2": [{times[2].to_physical()[0]}, 3]' in plan
    assert found["n"].to_list() == [x // 10 + 1 for x in range(60)]


def test_processing_time_can_be_event_time():
    at = ars.from_polars(ROWS).with_metadata(processing_time="at").with_event_time("at")
    counts = at.group_by_dynamic("at", every="1y").agg(pl.len())
    assert counts.collect(progress=False)["len"].to_list() == [60]
