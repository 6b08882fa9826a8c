"""A pipeline file gives what the Python program gives; and goes on after a kill as that does."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arrowstream as ars
from arrowstream.pipelines import load
from arrowstream.pipelines.letters import as_text


def rows(folder):
    return pl.read_parquet(folder)


def program(text, write, name="pipeline.yaml", **options):
    """What the pipeline file gives."""
    path = write(text, name)
    report = load(path, environment={}).run(**options)
    return rows(path.parent / "out"), report


HEAD = "source: {parquet: bids.parquet, event_time: time, lateness: 5s}\n"
TAIL = "sinks: {parquet: out}\n"

PAIRS = {
    "filter": ("filter: price > 20", lambda s: s.filter(pl.col("price") > 20)),
    "several predicates": (
        "filter: [price > 20, channel = 'Apple']",
        lambda s: s.filter(pl.col("price") > 20, pl.col("channel") == "Apple"),
    ),
    "remove": ("remove: price > 20", lambda s: s.remove(pl.col("price") > 20)),
    "select by name": (
        "select: {auction: auction, euro: CAST(price AS DOUBLE) / 100, one: 1}",
        lambda s: s.select("auction", euro=pl.col("price") / 100, one=1).cast({"one": pl.Int32}),
    ),
    "select a list": (
        "select: ['*', price * 2 AS twice]",
        lambda s: s.select(pl.all(), twice=pl.col("price") * 2),
    ),
    "with_columns": (
        "with_columns: {price: price * 2}",
        lambda s: s.with_columns(price=pl.col("price") * 2),
    ),
    "drop": ("drop: [price, channel]", lambda s: s.drop("price", "channel")),
    "drop, not strict": ("{drop: [price, x], strict: false}", lambda s: s.drop("price", "x", strict=False)),
    "rename": ("rename: {price: cents}", lambda s: s.rename({"price": "cents"})),
    "cast": ("cast: {price: Float64}", lambda s: s.cast({"price": pl.Float64})),
    "cast, not strict": (
        "{cast: {channel: Int64}, strict: false}",
        lambda s: s.cast({"channel": pl.Int64}, strict=False),
    ),
    "unpivot": (
        "{unpivot: [auction, price], index: time, value_name: v}",
        lambda s: s.unpivot(["auction", "price"], index="time", value_name="v"),
    ),
    "drop_nulls": ("drop_nulls: ", lambda s: s.drop_nulls()),
    "fill_null": ("fill_null: 0", lambda s: s.fill_null(0)),
    "fill_null by strategy": ("{fill_null: , strategy: zero}", lambda s: s.fill_null(strategy="zero")),
    "limit": ("limit: 7", lambda s: s.limit(7)),
    "validate": (
        "{validate: {low: price < 40}, on_error: skip}",
        lambda s: s.validate({"low": pl.col("price") < 40}, on_error="skip"),
    ),
    "with_metadata": (
        "with_metadata: {file: path, row: line}",
        lambda s: s.with_metadata(file="path", row="line"),
    ),
    "sql": (
        "sql: SELECT auction, price * 2 AS twice, time FROM self WHERE price > 20",
        lambda s: s.filter(pl.col("price") > 20).select(
            "auction", (pl.col("price") * 2).alias("twice"), "time"
        ),
    ),
    "windows": (
        "{group_by_dynamic: time, every: 10s, group_by: auction, agg: {n: COUNT(*), top: MAX(price)}}",
        lambda s: s.group_by_dynamic("time", every="10s", group_by="auction").agg(
            n=pl.len().cast(pl.Int64), top=pl.col("price").max()
        ),
    ),
    "hopping windows": (
        (
            "{group_by_dynamic: time, every: 5s, period: 15s, offset: 1s, include_boundaries: true,"
            " label: right,"
            " group_by: [auction, 'LOWER(channel) AS channel'], agg: [AVG(price) AS mean, price * 2 AS all]}"
        ),
        lambda s: s.group_by_dynamic(
            "time",
            every="5s",
            period="15s",
            offset="1s",
            include_boundaries=True,
            label="right",
            group_by=["auction", pl.col("channel").str.to_lowercase()],
        ).agg(mean=pl.col("price").mean(), all=pl.col("price") * 2),
    ),
}


@pytest.mark.parametrize(("step", "same"), PAIRS.values(), ids=PAIRS)
def test_a_step_is_the_verb(write, bids, step, same):
    found, _ = program(f"{HEAD}steps:\n  - {step}\n{TAIL}", write)
    stream = ars.scan_parquet(bids / "bids.parquet", event_time="time", lateness="5s")
    assert found.equals(same(stream).collect(progress=False))


def test_windows_of_windows(bids, write):
    inner = "{group_by_dynamic: time, every: 5s, group_by: auction, agg: {n: COUNT(*), sum: SUM(price)}}"
    outer = "{group_by_dynamic: time, every: 20s, agg: {n: SUM(n), most: MAX(sum)}}"
    found, _ = program(f"{HEAD}steps:\n  - {inner}\n  - filter: n > 0\n  - {outer}\n{TAIL}", write)
    stream = ars.scan_parquet(bids / "bids.parquet", event_time="time", lateness="5s")
    fives = stream.group_by_dynamic("time", every="5s", group_by="auction").agg(
        n=pl.len().cast(pl.Int64), sum=pl.col("price").sum()
    )
    twenties = fives.group_by_dynamic("time", every="20s").agg(n=pl.col("n").sum(), most=pl.col("sum").max())
    assert found.equals(twenties.collect(progress=False))


def test_rules_of_a_file(bids, write):
    (bids / "rules.yaml").write_text("low: price < 20\napples: channel = 'Apple'\n")
    found, _ = program(f"{HEAD}steps: [filter_file: rules.yaml]\n{TAIL}", write)
    assert found["price"].max() < 20
    assert set(found["channel"]) == {"Apple"}


def test_lists_and_structs(bids, write):
    frame = pl.DataFrame({"a": [[1, 2], [3]], "s": [{"x": 1, "y": "u"}, {"x": 2, "y": "v"}]})
    frame.write_parquet(bids / "nested.parquet")
    text = "source: {parquet: nested.parquet}\nsteps: [explode: a, filter: s.x = 1, unnest: s]\n" + TAIL
    found, _ = program(text, write)
    assert found.rows() == [(1, 1, "u"), (2, 1, "u")]


def test_toml_is_the_same(bids, write):
    text = """\
[source]
parquet = ["bids.parquet"]
event_time = "time"

[[steps]]
filter = "price > 20"

[[steps]]
group_by_dynamic = "time"
every = "10s"
agg = { n = "COUNT(*)" }

[[sinks]]
parquet = "out"
"""
    found, _ = program(text, write, "pipeline.toml")
    stream = ars.scan_parquet(bids / "bids.parquet", event_time="time").filter(pl.col("price") > 20)
    windows = stream.group_by_dynamic("time", every="10s").agg(n=pl.len().cast(pl.Int64))
    assert found.equals(windows.collect(progress=False))


def test_late_rows_dead_letters_and_several_outputs(bids, write):
    frame = pl.concat(
        [pl.read_parquet(bids / "bids.parquet"), pl.read_parquet(bids / "bids.parquet").head(2)]
    )
    frame.write_parquet(bids / "again.parquet")
    text = """\
source: {parquet: again.parquet, event_time: time, lateness: 5s}
steps:
  - validate: {low: price < 45}
    on_error: dead_letter
  - group_by_dynamic: time
    every: 10s
    agg: {n: COUNT(*)}
sinks:
  - parquet: out
  - ipc: copy
    compression: zstd
late: {parquet: late}
dead_letters: {parquet: bad}
run: {checkpoint: state, checkpoint_every: 10}
"""
    with pytest.warns(ars.LateRowsWarning):
        found, report = program(text, write)
    assert found["n"].sum() == 60 - frame.head(60).filter(pl.col("price") >= 45).height
    assert pl.read_ipc(bids / "copy" / "*.arrow").equals(found)
    assert rows(bids / "late").height == 2
    assert rows(bids / "bad")["error"].unique().to_list() == ["failed: low"]
    assert (bids / "state").is_dir()
    assert report.rows_in == 62
    assert load(bids / "pipeline.yaml").run().status == "already_complete"


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40) | st.text(max_size=20).map(str.encode) | st.none(), max_size=30))
def test_what_is_not_utf8_is_told_in_base64(values):
    def told(value):
        try:
            return None if value is None else value.decode()
        except UnicodeDecodeError:
            return f"base64:{base64.b64encode(value).decode()}"

    letters = ars.from_polars(pl.DataFrame({"original": values}, schema={"original": pl.Binary}))
    assert as_text(letters).collect(progress=False)["original"].to_list() == [told(value) for value in values]


def test_options_of_the_call_go_before_those_of_the_file(bids, write):
    path = write(f"{HEAD}{TAIL}run: {{mode: error}}\n")
    load(path).run()
    with pytest.raises(ars.StateError):
        load(path).run()
    assert load(path).run(mode="overwrite").rows_out == 60


def test_the_windows_keep_small_states(write):
    path = write(f"{HEAD}steps:\n  - {PAIRS['windows'][0]}\n{TAIL}")
    pipeline = load(path)
    assert "kept" not in pipeline.jobs[0].explain()
    pipeline.run()


def test_it_runs_in_the_background_too(write):
    with load(write(HEAD + TAIL)).start() as live:
        assert live.wait().rows_in == 60


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_run_goes_on_from_its_checkpoint(bids, write):
    count = 200_000
    pl.DataFrame({"n": range(count)}).with_columns(
        time=pl.datetime(2026, 1, 1) + pl.duration(seconds=pl.col("n")), key=pl.col("n") % 7
    ).write_parquet(bids / "many.parquet", row_group_size=5_000)
    path = write(
        "source: {parquet: many.parquet, event_time: time}\n"
        "steps:\n  - {group_by_dynamic: time, every: 1m, group_by: key, agg: {n: COUNT(*), sum: SUM(n)}}\n"
        "sinks: [{parquet: out}, {ipc: copy}]\n"
        "run: {checkpoint: state, checkpoint_every: 10_000, batch_rows: 1000}\n"
    )
    command = [sys.executable, "-c", "from arrowstream.cli import main; main()", "run", str(path)]
    kills = 0
    for _ in range(50):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            published = set((bids / "out").glob("*.parquet"))
            deadline = time.monotonic() + 60
            while process.poll() is None and not set((bids / "out").glob("*.parquet")) - published:
                assert time.monotonic() < deadline
                time.sleep(0.005)  # another process cannot be waited for in any other way
            if kills < 2 and process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
                continue
            assert process.wait(60) == 0, process.stderr.read()
            break
    assert kills == 2
    stream = ars.scan_parquet(bids / "many.parquet", event_time="time")
    expected = stream.group_by_dynamic("time", every="1m", group_by="key").agg(
        n=pl.len().cast(pl.Int64), sum=pl.col("n").sum()
    )
    assert rows(bids / "out").equals(expected.collect(progress=False))
    assert pl.read_ipc(bids / "copy" / "*.arrow").equals(rows(bids / "out"))
    assert load(path).run().status == "already_complete"
