"""The examples are right, run, and give what Polars gives on the same files."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from arrowstream.pipelines import lint, load

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in {".yaml", ".toml"})
S3 = {"BUCKET": "bucket", "AWS_ACCESS_KEY_ID": "canary-key", "AWS_SECRET_ACCESS_KEY": "canary-secret"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The input of the examples."""
    folder = tmp_path_factory.mktemp("examples") / "data"
    runpy.run_path(str(EXAMPLES / "generate.py"))["main"](folder)
    return folder


@pytest.fixture
def examples(tmp_path, data):
    """A copy of the examples, with their input."""
    for name in FILES:
        shutil.copy(EXAMPLES / name, tmp_path / name)
    (tmp_path / "data").symlink_to(data)
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_every_example_is_right(examples, name):
    assert lint(examples / name, environment=S3, read_input=name != "s3.yaml") == []


@pytest.mark.parametrize("name", FILES)
def test_editors_find_the_schema(name):
    first = (EXAMPLES / name).read_text().splitlines()[0]
    wanted = {".yaml": "# yaml-language-server: $schema=", ".toml": "#:schema "}[Path(name).suffix]
    assert first == f"{wanted}pipeline.schema.json"


def test_the_page_about_pipelines_shows_what_is_printed(examples, monkeypatch):
    monkeypatch.chdir(examples)
    page = (EXAMPLES.parent / "docs" / "pipelines.md").read_text()
    right, rule, _, wrong = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    shown = re.search(r"\$ arrowstream lint pipeline.yaml\n(.*?)```", page, re.DOTALL)
    Path("pipeline.yaml").write_text(right)
    assert lint("pipeline.yaml") == []
    Path("pipeline.yaml").write_text(rule)
    assert lint("pipeline.yaml", read_input=False) == []
    Path("pipeline.yaml").write_text(wrong)
    found = [str(mistake) for mistake in lint("pipeline.yaml")]
    assert shown[1].splitlines() == [*"\n".join(found).splitlines(), f"{len(found)} mistakes in 1 file"]


HOURLY = {
    "path": pl.String,
    "time": pl.Datetime,
    "requests": pl.Int64,
    "megabytes": pl.Float64,
    "failed": pl.Int64,
}
"""Said, as the first of several files may have no rows to infer them from."""


def log(folder):
    """The web log, as Polars reads it."""
    return pl.read_ndjson(folder / "data" / "log" / "*.ndjson").with_columns(pl.col("time").str.to_datetime())


def test_nexmark(examples):
    report = load(examples / "nexmark.yaml").run()
    assert report.late_rows == 0
    bids = pl.read_parquet(examples / "data" / "bids" / "*.parquet").filter(pl.col("price") > 100)
    expected = (
        bids.sort("date_time")
        .group_by("auction", pl.col("date_time").dt.truncate("1s"))
        .agg(
            bids=pl.len().cast(pl.Int64),
            total=pl.col("price").sum(),
            top=pl.col("price").max(),
            mean=pl.col("price").mean(),
        )
        .filter(pl.col("bids") >= 5)
    )
    found = pl.read_parquet(examples / "out" / "nexmark")
    keys = ["date_time", "auction"]
    assert found.drop("mean").sort(keys).equals(expected.select(found.drop("mean").columns).sort(keys))
    assert (found.sort(keys)["mean"] - expected.sort(keys)["mean"]).abs().max() < 1e-6
    assert load(examples / "nexmark.yaml").run().status == "already_complete"


def test_web_log(examples):
    load(examples / "web_log.yaml").run()
    found = pl.read_parquet(examples / "out" / "web_log", hive_partitioning=True)
    expected = log(examples).filter(pl.col("path") != "/health")
    assert found.height == expected.height
    assert found["failed"].sum() == (expected["status"] >= 500).sum()
    assert sorted(found["ip"]) == sorted(expected["client"].struct.field("ip"))
    folders = {
        path.parent.relative_to(examples / "out" / "web_log")
        for path in examples.rglob("*.parquet")
        if "web_log" in path.parts
    }
    assert folders == {Path(f"day=2026-01-01/hour={hour}") for hour in range(24)}


def test_clean_orders(examples):
    report = load(examples / "clean_orders.yaml").run()
    good = pl.read_parquet(examples / "out" / "orders")
    bad = pl.read_ndjson(examples / "out" / "orders_rejected" / "*.ndjson")
    assert good.height + bad.height == 2000
    assert report.rows_out_by_sink
    assert good["customer"].null_count() == 0
    assert set(good["currency"]) == {"EUR", "USD"}
    assert set(good["customer"]) == {"Ada", "Lovelace, Ada", "Grace"}
    assert (good["cents"] > 0).all()
    numbers = [100 * n for n in range(1, 21) if 100 * n % 250]
    assert not set(numbers) & set(good["order"])
    assert bad["error"].str.contains("failed: has a customer").sum() > 100
    copy = pl.read_csv(examples / "out" / "orders_csv" / "*.csv", schema_overrides={"order": pl.Int64})
    assert copy["order"].to_list() == good["order"].to_list()


def test_avro_to_parquet(examples):
    import fastavro

    load(examples / "avro_to_parquet.yaml").run()
    with (examples / "data" / "sensors" / "readings.avro").open("rb") as file:
        records = list(fastavro.reader(file))
    expected = [
        (record["sensor"], record["celsius"], tag)
        for record in records
        if record["celsius"] is not None
        for tag in record["tags"] or [None]
    ]
    found = pl.read_parquet(examples / "out" / "sensors")
    assert found.select("sensor", "celsius", "tag").rows() == expected


def test_hourly(examples):
    load(examples / "hourly.toml").run()
    found = pl.read_csv(examples / "out" / "hourly" / "*.csv.gz", schema=HOURLY)
    expected = (
        log(examples)
        .filter(pl.col("path") != "/health")
        .group_by("path", pl.col("time").dt.truncate("1h"))
        .agg(requests=pl.len().cast(pl.Int64), failed=(pl.col("status") >= 500).sum().cast(pl.Int64))
    )
    keys = ["time", "path"]
    assert_frame_equal(found.select(expected.columns).sort(keys), expected.sort(keys))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
def test_follow(examples):
    logs = examples / "logs"
    logs.mkdir()
    line = {"path": "/", "status": 500, "bytes": 1}

    def append(name, *minutes):
        with (logs / name).open("a") as file:
            file.writelines(
                json.dumps({"time": f"2026-01-01T00:{minute:02}:00", **line}) + "\n" for minute in minutes
            )

    append("a.ndjson", 1, 2, 3)
    out = examples / "out" / "failures"

    def rows():
        files = sorted(out.glob("*.ndjson")) if out.exists() else []
        return sum(len(file.read_text().splitlines()) for file in files)

    command = [sys.executable, "-c", "from arrowstream.cli import main; main()", "run", "follow.yaml"]
    command += ["--checkpoint-every", "200ms"]
    environment = {**os.environ, "LOGS": "logs"}
    with subprocess.Popen(
        command, cwd=examples, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:

        def until(count):
            deadline = time.monotonic() + 60
            while rows() < count:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    pytest.fail(f"{rows()} of {count} rows; {process.communicate()}")
                time.sleep(0.05)  # another process cannot be waited for in any other way

        until(1)  # the window of minute 1 is over when minute 3 has been seen, less the lateness
        append("a.ndjson", 5)
        append("b.ndjson", 7)
        until(4)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "Traceback" not in errors
    found = pl.read_ndjson(out / "*.ndjson")
    assert found["failures"].to_list() == [1] * found.height


def test_s3(examples, monkeypatch):
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        variables = {**S3, "AWS_ENDPOINT_URL": f"http://{host}:{port}", "STATE": str(examples / "state")}
        upload(examples / "data" / "bids", variables)
        pipeline = load(examples / "s3.yaml", environment=variables)
        report = pipeline.run()
        found = download(variables)
        assert "canary" not in repr(pipeline) + str(report) + pipeline.jobs[0].explain()
        state = b"".join(path.read_bytes() for path in (examples / "state").rglob("*") if path.is_file())
        assert b"canary" not in state
    finally:
        server.stop()
    bids = pl.read_parquet(examples / "data" / "bids" / "*.parquet")
    expected = bids.group_by("channel", pl.col("date_time").dt.truncate("1m")).agg(
        bids=pl.len().cast(pl.Int64), top=pl.col("price").max()
    )
    keys = ["date_time", "channel"]
    assert found.select(expected.columns).sort(keys).equals(expected.sort(keys))


def filesystem(variables):
    import fsspec

    return fsspec.filesystem(
        "s3",
        key=variables["AWS_ACCESS_KEY_ID"],
        secret=variables["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        skip_instance_cache=True,
    )


def upload(folder, variables):
    bucket = filesystem(variables)
    bucket.mkdir("bucket")
    for path in folder.iterdir():
        bucket.put(str(path), f"bucket/bids/{path.name}")


def download(variables):
    bucket = filesystem(variables)
    parts = [
        pl.read_parquet(bucket.cat(path)) for path in sorted(bucket.glob("bucket/out/by_channel/*.parquet"))
    ]
    return pl.concat(parts)
