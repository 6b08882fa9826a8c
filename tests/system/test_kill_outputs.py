"""Outputs of every kind, killed at any instant and started again: the very bytes of an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import fsspec
import polars as pl
import pyarrow.dataset
import pytest
from system import harness, killed_outputs

from arrowstream import failpoints
from arrowstream.connectors.files.committed import committed_files

JOB = Path(__file__).with_name("killed_outputs.py")
ROWS = 6_000
EPOCH_ROWS = 1_000
KILLS = 20
SEED = 20_261_125


class Golden(harness.Golden):
    """The outputs of one undisturbed run."""

    def __init__(self, root, endpoint, *, rows, epoch_rows):
        self.endpoint = endpoint
        super().__init__(root, "outputs", rows=rows, epoch_rows=epoch_rows)

    def start(self, root, *, fail=""):
        return subprocess.Popen(
            [sys.executable, str(JOB), str(root), str(self.epoch_rows), self.endpoint],
            env=os.environ | {failpoints.ENVIRONMENT: fail},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def fresh(self):
        root = super().fresh()
        s3 = fsspec.filesystem("s3", **killed_outputs.storage_options(self.endpoint))
        s3.call_s3("create_bucket", Bucket=killed_outputs.bucket_of(root))
        return root

    def published(self, root):
        files = [path for name in killed_outputs.OUTPUTS for path in (root / name).rglob("*")]
        found = {path.relative_to(root).as_posix(): path.read_bytes() for path in files if path.is_file()}
        bucket = killed_outputs.bucket_of(root)
        s3 = fsspec.filesystem("s3", **killed_outputs.storage_options(self.endpoint))
        s3.invalidate_cache()
        for name in killed_outputs.S3_OUTPUTS:
            for key in s3.find(f"{bucket}/{name}"):
                found[key.removeprefix(f"{bucket}/")] = s3.cat_file(key)
        return found


@pytest.fixture(scope="module")
def endpoint():
    """A server of S3 that outlives the processes that are killed; moto takes parts of any size."""
    if endpoint := os.environ.get("ARROWSTREAM_TEST_S3"):
        yield endpoint
        return
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture(scope="module")
def golden(tmp_path_factory, endpoint):
    return Golden(tmp_path_factory.mktemp("outputs"), endpoint, rows=ROWS, epoch_rows=EPOCH_ROWS)


@pytest.fixture(scope="module")
def small(tmp_path_factory, endpoint):
    return Golden(tmp_path_factory.mktemp("small-outputs"), endpoint, rows=1_000, epoch_rows=500)


def test_killed_at_random_instants(golden):
    kinds = {name.split("/")[0] for name in golden.files}
    assert kinds == {*killed_outputs.OUTPUTS, *killed_outputs.S3_OUTPUTS}
    tally = harness.kill_at_random(golden, kills=KILLS, seed=SEED)
    print(tally)
    assert tally.kills >= KILLS
    assert tally.differing == []


@pytest.mark.parametrize("name", ["outbox.file", "object.begun", "object.part", "object.put"])
def test_killed_at_a_failpoint_twice_running(small, name):
    root = small.fresh()
    for _ in range(2):
        code, _, err = harness.finish(small.start(root, fail=f"{name}=kill"))
        assert code == -signal.SIGKILL, err
    code, _, err = harness.finish(small.start(root))
    assert code == 0, err
    assert small.differences(root) == []


@pytest.mark.parametrize("name", ["outbox.file", "manifest.before", "object.put"])
def test_a_frozen_process_that_wakes_publishes_nothing(small, name):
    root = small.fresh()
    frozen = small.start(root, fail=f"{name}=stop@2")
    try:
        harness.wait_until_stopped(frozen)
        code, _, err = harness.finish(small.start(root))
        assert code == 0, err
        assert small.differences(root) == []
        frozen.send_signal(signal.SIGCONT)
        code, _, err = harness.finish(frozen)
    finally:
        frozen.kill()
    assert code == 1
    assert [line for line in err.splitlines() if line.startswith("arrowstream.errors")][-1].startswith(
        "arrowstream.errors.FencedError"
    )
    assert small.differences(root) == []


def test_outputs_are_read_plainly_by_others(golden):
    """All epochs of each, by Polars, DuckDB and PyArrow, without anything that is arrowstream's."""
    root = golden.fresh()
    assert harness.finish(golden.start(root))[0] == 0
    expected = pl.read_parquet(sorted((root / "parquet").iterdir())).sort(pl.all())
    assert expected.height > 1_000
    assert pl.read_ipc(root / "ipc" / "*.arrow").sort(pl.all()).equals(expected)
    assert pl.read_ipc(root / "rotated" / "*.arrow").sort(pl.all()).equals(expected)
    streams = [pl.read_ipc_stream(path) for path in sorted((root / "ipc-stream").iterdir())]
    assert pl.concat(streams).sort(pl.all()).equals(expected)
    hive = pl.scan_parquet(root / "partitioned", hive_partitioning=True).collect()
    assert hive.select(expected.columns).sort(pl.all()).equals(expected)
    count = duckdb.sql(
        f"select count(*), sum(price), count(distinct channel) from '{root}/partitioned/**/*.parquet'"
    ).fetchall()
    assert count == [(expected.height, expected["price"].sum(), expected["channel"].n_unique())]
    for name, form in (("partitioned", "parquet"), ("rotated", "ipc")):
        assert pyarrow.dataset.dataset(root / name, format=form).count_rows() == expected.height
    options = killed_outputs.storage_options(golden.endpoint)
    urls = committed_files(f"s3://{killed_outputs.bucket_of(root)}/objects", options)
    s3 = fsspec.filesystem("s3", **options)
    assert pl.concat([pl.read_parquet(s3.cat_file(url)) for url in urls]).sort(pl.all()).equals(expected)


@pytest.mark.soak
def test_a_thousand_kills(tmp_path, endpoint, capsys):
    golden = Golden(tmp_path, endpoint, rows=200_000, epoch_rows=5_000)
    with capsys.disabled():
        tally = harness.kill_at_random(golden, kills=1_000, seed=SEED, tell=True)
        print(f"\n{tally}")
    assert tally.differing == []
