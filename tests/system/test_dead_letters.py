"""Dead letters keep the first law: the same, in the order of the input, however cut, read and published."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from system import harness
from system.torn import TornSource

import arrowstream as ars
from arrowstream import failpoints
from arrowstream.config import DEAD_LETTERS
from arrowstream.connectors.files.columnar_source import ParquetSource
from arrowstream.connectors.files.options import FileOptions
from arrowstream.connectors.memory.source import BatchesSource, FrameSource

START = datetime(2026, 1, 1)
KINDS = ["good", "torn", "timeless", "odd", "breaking", "late_odd"]


def frame_of(kinds: list[str], start: int = 0) -> pl.DataFrame:
    ids = range(start, start + len(kinds))
    return pl.DataFrame(
        {
            "id": ids,
            "kind": kinds,
            "t": [
                None if k == "timeless" else START + timedelta(seconds=i)
                for i, k in zip(ids, kinds, strict=True)
            ],
        },
        schema={"id": pl.Int64, "kind": pl.String, "t": pl.Datetime("us")},
    )


def stream_of(source) -> ars.Stream:
    torn = TornSource(source, pl.col("kind") == "torn")
    return ars.scan(torn, event_time="t", lateness="1h", on_error="dead_letter")


def breaking(frame: pl.DataFrame) -> pl.DataFrame:
    if (frame["kind"] == "breaking").any():
        raise ValueError("breaking")
    return frame


def main_of(source) -> ars.Stream:
    """Four producers of dead letters, the last of them made by the function itself."""
    return (
        stream_of(source)
        .with_columns(twice=pl.col("id") * 2)
        .validate({"even": pl.col("kind") != "odd", "positive": "id >= 0"}, on_error="dead_letter")
        .map_batches(breaking, on_error="dead_letter")
    )


OPERATORS = {
    "torn": "scan",
    "timeless": "event-time-1",
    "odd": "validate-3",
    "breaking": "map-batches-4",
}


def expected(frame: pl.DataFrame, partition: str = "scan") -> list[tuple]:
    """In plain Python: what each row that is no good becomes, in order."""
    letters = []
    for row, (number, kind, time) in enumerate(frame.rows()):
        if kind not in OPERATORS:
            continue
        values = {"id": number, "kind": kind, "t": None if time is None else str(time)}
        if kind in ("odd", "breaking"):
            values["twice"] = number * 2
        original = json.dumps(values, separators=(",", ":")).encode()
        error = {
            "torn": "torn",
            "timeless": 'the event time "t" is null',
            "odd": "failed: even",
            "breaking": "ValueError: breaking",
        }[kind]
        if kind == "torn":
            letters.append((f"<{number}>".encode(), error, "scan", "a.txt", partition, f"line {number}"))
        else:
            letters.append((original, error, OPERATORS[kind], None, partition, f"row {row}"))
    return letters


def batches_of(frame: pl.DataFrame, sizes: list[int]) -> list[pl.DataFrame]:
    batches, row, turn = [], 0, 0
    while row < frame.height:
        size = sizes[turn % len(sizes)]
        batches.append(frame[row : row + size])
        row, turn = row + size, turn + 1
    return batches


@settings(max_examples=60, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(KINDS[:-1]), max_size=40),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    batch_rows=st.sampled_from([1, 3, 1000]),
)
def test_letters_are_in_the_order_of_the_input_whatever_the_batches(kinds, sizes, batch_rows):
    frame = frame_of(kinds)
    source = BatchesSource(batches_of(frame, sizes), frame.schema)
    letters = main_of(source).dead_letters().collect(batch_rows=batch_rows, progress=False)
    assert letters.rows() == expected(frame)
    assert letters.schema == DEAD_LETTERS


@pytest.mark.parametrize("batch_rows", [1, 7, 100_000])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.filterwarnings("ignore::arrowstream.DeadLettersWarning")
def test_of_several_partitions_each_letter_says_its_place(tmp_path, batch_rows, threads):
    kinds = [KINDS[(n * n + n // 7) % 5] for n in range(300)]
    for number in range(3):
        part = frame_of(kinds[number * 100 : number * 100 + 100], start=number * 37)
        part.write_parquet(tmp_path / f"{number}.parquet", row_group_size=30)
    source = ParquetSource(tmp_path, FileOptions(clock_by="file"))
    found = main_of(source).dead_letters().collect(batch_rows=batch_rows, threads=threads, progress=False)
    times, files = [], source.partitions()
    for name in files:
        part = pl.read_parquet(name if name.startswith("/") else tmp_path / name)
        clock = part["t"].cum_max().forward_fill() if part["t"].null_count() else part["t"].cum_max()
        times.append(part.with_columns(clock=clock))
    by_partition = {name: found.filter(partition=name) for name in files}
    for name, part in zip(files, times, strict=True):
        kinds_here = part["kind"].to_list()
        rows = [n for n, kind in enumerate(kinds_here) if kind in OPERATORS]
        positions = by_partition[name]["position"].to_list()
        assert positions == [f"line {part['id'][n]}" if kinds_here[n] == "torn" else f"row {n}" for n in rows]
    whole = main_of(source).dead_letters().collect(progress=False)
    assert found.equals(whole)


def test_result_and_dead_letters_come_from_one_read(tmp_path):
    frame = frame_of(KINDS * 20)
    main = main_of(FrameSource(frame))
    jobs = [main.sink_parquet(tmp_path / "good"), main.dead_letters().sink_parquet(tmp_path / "bad")]
    report = ars.run(jobs, checkpoint=tmp_path / "state", checkpoint_every=11, progress=False)
    assert pl.read_parquet(tmp_path / "good")["kind"].unique().sort().to_list() == ["good", "late_odd"]
    assert pl.read_parquet(tmp_path / "bad").rows() == expected(frame)
    assert (report.rows_in, report.rows_out) == (100, 120)
    assert report.dead_letters == 80
    assert report.dead_letters_by_operator == dict.fromkeys(OPERATORS.values(), 20)
    assert report.dead_letters_unread == 0
    assert "dead letters: 80 (scan 20, event-time-1 20, validate-3 20, map-batches-4 20)" in str(report)


def test_unread_letters_are_counted_and_warned_of_and_survive_a_stop(tmp_path):
    frame = frame_of(KINDS * 20)
    main = main_of(FrameSource(frame))

    def run():
        job = main.sink_parquet(tmp_path / "good")
        return job.start(checkpoint=tmp_path / "state", checkpoint_every=40)

    with run() as live:
        live.stop()
    with run() as live, pytest.warns(ars.DeadLettersWarning, match="80 dead letters nobody has read"):
        report = live.wait()
    assert live.metrics.dead_letters == 80
    assert report.dead_letters == report.dead_letters_unread == 80
    assert "80 of them unread" not in str(report.dead_letters_by_operator)


@pytest.mark.parametrize("batch_rows", [1, 7, "auto"])
def test_what_a_source_skips_is_counted_once_over_all_runs_of_a_job(tmp_path, batch_rows):
    lines = ["not json" if number % 3 == 0 else f'{{"a": {number}}}' for number in range(100)]
    (tmp_path / "in.ndjson").write_text("\n".join(lines))

    def job():
        rows = ars.scan_ndjson(tmp_path / "in.ndjson", schema={"a": pl.Int64}, on_error="skip")
        return rows.validate({"even": "a % 2 = 0"}, on_error="skip").sink_parquet(tmp_path / "out")

    options = {"checkpoint": tmp_path / "state", "checkpoint_every": 10, "progress": False}
    with failpoints.armed("publish.after=raise@3"), pytest.raises(failpoints.Crash):
        job().run(**options)
    report = job().run(**options, batch_rows=batch_rows)
    assert pl.read_parquet(tmp_path / "out")["a"].len() == 33
    assert (report.rows_in, report.rows_out, report.skipped_rows) == (66, 33, 34 + 33)
    assert "skipped: 67 rows" in str(report)


def test_a_letter_is_read_by_every_stream_that_asks(tmp_path):
    stream = stream_of(FrameSource(frame_of(KINDS * 3)))
    checked = stream.validate({"even": pl.col("kind") != "odd"}, on_error="dead_letter")
    jobs = [
        stream.dead_letters().sink_parquet(tmp_path / "above"),
        checked.dead_letters().sink_parquet(tmp_path / "all"),
        checked.dead_letters().filter(pl.col("error") == "failed: even").sink_parquet(tmp_path / "below"),
    ]
    ars.run(jobs, progress=False)
    above, both, below = (pl.read_parquet(tmp_path / name) for name in ("above", "all", "below"))
    assert (above.height, both.height, below.height) == (6, 9, 3)
    assert both.filter(pl.col("error") != "failed: even").equals(above)


def test_below_a_window_rows_have_no_place_in_the_input():
    windows = (
        stream_of(FrameSource(frame_of(["good", "torn", "good"])))
        .group_by_dynamic("t", every="1s")
        .agg(pl.col("id").sum())
        .validate({"small": pl.col("id") < 2}, on_error="dead_letter")
    )
    letters = windows.dead_letters().collect(progress=False)
    assert letters.select("operator", "partition", "position").rows() == [
        ("scan", "scan", "line 1"),
        ("validate-3", None, None),
    ]
    assert "in the order of the input, node by node" in windows.dead_letters().explain()


def test_pieces_of_one_row_keep_their_order_between_operators():
    frame = pl.DataFrame({"id": range(30), "n": [[i % 4, i % 3, i % 5] for i in range(30)]})
    torn = TornSource(FrameSource(frame), pl.col("id") % 11 == 3)
    chain = (
        ars.scan(torn, on_error="dead_letter")
        .explode("n")
        .filter(pl.col("n") < 4)
        .validate({"not one": "n <> 1"}, on_error="dead_letter")
        .with_columns(m=pl.col("n") / 7)
        .validate({"not two": "n <> 2"}, on_error="dead_letter")
        .dead_letters()
    )
    whole = chain.collect(progress=False)
    slots = [int(place.split()[1]) for place in whole["position"]]
    assert slots == sorted(slots)
    assert whole["operator"].unique().sort().to_list() == ["scan", "validate-3", "validate-5"]
    for batch_rows in (1, 4, 7):
        assert chain.collect(batch_rows=batch_rows, progress=False).equals(whole)


def test_late_rows_can_be_judged_too():
    times = [START + timedelta(seconds=s) for s in (1, 30, 2, 31, 3)]
    bids = ars.from_polars(pl.DataFrame({"t": times, "x": range(5)}), event_time="t", lateness="5s")
    late = bids.group_by_dynamic("t", every="10s").late()
    letters = late.validate({"early": "x < 3"}, on_error="dead_letter").dead_letters()
    for batch_rows in (1, 100):
        found = letters.collect(batch_rows=batch_rows, progress=False)
        assert found.select("error", "position").rows() == [("failed: early", "row 4")]


class Filed(FrameSource):
    """Says file and row: every ten rows are a file."""

    def with_metadata(self, *, file, row):
        numbers = pl.int_range(pl.len())
        columns = [pl.format("f{}", numbers // 10).alias(file or "f"), (numbers % 10).alias(row or "r")]
        known = [column for column, name in zip(columns, (file, row), strict=True) if name is not None]
        return Filed(self._frame.with_columns(known))


@pytest.mark.filterwarnings("ignore::arrowstream.DeadLettersWarning")
@pytest.mark.parametrize("given", [{}, {"file": "path", "row": "number"}])
@pytest.mark.parametrize("batch_rows", [1, 7, 1000])
def test_where_the_source_knows_files_letters_name_them(given, batch_rows):
    filed = ars.scan(Filed(frame_of(KINDS * 5)), event_time="t", on_error="dead_letter")
    stream = filed.with_metadata(**given) if given else filed
    checked = stream.select("kind", "t", "id").validate(
        {"odd": pl.col("kind") != "odd"}, on_error="dead_letter"
    )
    letters = checked.dead_letters().collect(batch_rows=batch_rows, progress=False)
    rows = [n for n, kind in enumerate(KINDS * 5) if kind in ("timeless", "odd")]
    assert letters["source"].to_list() == [f"f{n // 10}" for n in rows]
    assert letters["position"].to_list() == [f"row {n % 10}" for n in rows]
    assert json.loads(letters["original"][1]).keys() == {"kind", "t", "id"}
    assert checked.filter(kind="good").collect(progress=False).columns == ["kind", "t", "id"]


@pytest.mark.filterwarnings("ignore::arrowstream.DeadLettersWarning")
def test_a_number_that_is_not_of_the_file_says_so():
    filed = ars.scan(Filed(frame_of(["good"] * 11 + ["odd"])), event_time="t")
    checked = filed.with_metadata(file="path").validate({"odd": "kind <> 'odd'"}, on_error="dead_letter")
    letters = checked.dead_letters().collect(progress=False)
    assert letters.select("source", "position").rows() == [("f1", "row 11 of the partition")]


def test_below_a_window_there_is_no_file_either():
    filed = ars.scan(Filed(frame_of(KINDS * 5)), event_time="t", on_error="skip")
    sums = filed.group_by_dynamic("t", every="1m").agg(pl.col("id").sum())
    letters = sums.validate({"none": "id < 0"}, on_error="dead_letter").dead_letters()
    assert letters.collect(progress=False).select("source", "partition", "position").rows() == [(None,) * 3]


def test_a_limit_beside_dead_letters_does_not_end_the_reading(tmp_path):
    main = stream_of(FrameSource(frame_of(KINDS * 20)))
    jobs = [main.limit(1).sink_parquet(tmp_path / "one"), main.dead_letters().sink_parquet(tmp_path / "bad")]
    ars.run(jobs, batch_rows=10, progress=False)
    assert pl.read_parquet(tmp_path / "bad").height == 40
    assert main.dead_letters().limit(3).collect(batch_rows=2, progress=False).height == 3


@pytest.mark.filterwarnings("ignore::arrowstream.DeadLettersWarning")
def test_dead_letters_can_be_rejected_again():
    stream = stream_of(FrameSource(frame_of(KINDS)))
    of_torn = stream.dead_letters().validate({"no tear": pl.col("error") != "torn"}, on_error="dead_letter")
    assert of_torn.collect(progress=False)["operator"].to_list() == ["event-time-1"]
    again = of_torn.dead_letters().collect(progress=False)
    assert again.select("error", "operator", "position").rows() == [("failed: no tear", "validate-3", None)]


def test_nothing_upstream_makes_dead_letters():
    stream = ars.from_polars(pl.DataFrame({"a": [1]}))
    with pytest.raises(ars.PlanError, match="nothing upstream makes dead letters\n  hint: give on_error="):
        stream.dead_letters()


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    return harness.Golden(tmp_path_factory.mktemp("letters"), "letters", rows=30_000, epoch_rows=2_000)


def test_killed_at_random_instants(golden):
    tally = harness.kill_at_random(golden, kills=10, seed=20_261_125)
    print(tally)
    assert tally.differing == []
