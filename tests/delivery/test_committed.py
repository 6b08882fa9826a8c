"""What is read of an output: whole epochs, whenever one looks."""

from __future__ import annotations

import threading
from pathlib import Path

import polars as pl
import pytest

import arrowstream as ars
from arrowstream import failpoints
from arrowstream.connectors.files.committed import committed_files
from arrowstream.errors import PlanError, StateError


def names(folder):
    return [Path(path).relative_to(folder).as_posix() for path in committed_files(folder)]


def test_all_files_of_a_job_in_the_order_of_epochs(job):
    job.run()
    assert names(job.out) == [f"part-0000000{epoch}.parquet" for epoch in (1, 3, 4)]
    files = names(job.out_ipc)
    assert sorted(files) == sorted(
        path.relative_to(job.out_ipc).as_posix() for path in job.out_ipc.rglob("*.arrow")
    )
    epochs = [file.rpartition("part-")[2][:8] for file in files]
    assert epochs == sorted(epochs)
    assert committed_files(str(job.out)) == committed_files(job.out.as_uri()) == committed_files(job.out)


def test_an_epoch_of_which_a_part_is_there_is_not_seen(job, golden):
    """At every single step of a run: the files of an epoch are all there, or none of them is."""
    whole = {}
    for name in golden:
        kind, _, file = name.partition("/")
        whole.setdefault((kind, file.rpartition("part-")[2][:8]), set()).add(file)
    looks = []

    def look(_name):
        for kind, folder in (("out", job.out), ("out-ipc", job.out_ipc)):
            try:
                files = set(names(folder))
            except PlanError:  # it has not begun
                continue
            looks.append(len(files))
            for epoch in {file.rpartition("part-")[2][:8] for file in files}:
                assert {file for file in files if epoch in file} == whole[kind, epoch]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failpoints, "hit", look)
        job.run()
    assert len(set(looks)) > 5


def test_a_reader_that_looks_all_the_time_sees_whole_epochs(tmp_path):
    """Plain files, two partitions each; a second thread counts rows while the job writes."""
    rows, counts, ended = 500, [], threading.Event()
    frame = pl.DataFrame({"k": [0, 1] * (rows * 10), "v": range(rows * 20)})
    job = ars.from_polars(frame).sink_parquet(
        pl.PartitionBy(tmp_path / "out", key="k", max_rows_per_file=100)
    )

    def look():
        while not ended.is_set():
            try:
                files = committed_files(tmp_path / "out")
            except PlanError:
                continue
            counts.append(sum(pl.read_parquet(file).height for file in files))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        job.run(checkpoint=tmp_path / "state", checkpoint_every=rows, progress=False)
    finally:
        ended.set()
        reader.join()
    assert counts == sorted(counts)
    assert {count % rows for count in counts} == {0}
    assert len(set(counts)) > 2


def test_a_file_that_is_gone_is_named_unless_it_may_be_on_its_way(job):
    job.run()
    (job.out / "part-00000004.parquet").unlink()
    assert names(job.out) == [f"part-0000000{epoch}.parquet" for epoch in (1, 3)]
    (job.root / ".out.arrowstream" / "manifests" / "00000002.json").unlink()
    with pytest.raises(StateError, match=r"00000002.json is missing, but later epochs are there"):
        committed_files(job.out)


def test_a_damaged_history_is_named(job):
    job.run()
    manifest = job.root / ".out.arrowstream" / "manifests" / "00000003.json"
    manifest.write_bytes(manifest.read_bytes()[:-3])
    with pytest.raises(StateError, match=r"00000003.json is damaged"):
        committed_files(job.out)


def test_a_folder_without_history_is_no_output(tmp_path):
    (tmp_path / "out").mkdir()
    for folder in (tmp_path / "out", tmp_path / "nowhere"):
        with pytest.raises(PlanError, match="is not the output of a job") as caught:
            committed_files(folder)
        assert "leave committed_only out" in str(caught.value)


def test_an_output_without_epochs_has_no_files(job):
    driver = job.driver()
    driver.recover()
    driver.abort(RuntimeError("enough"))
    assert committed_files(job.out) == []
