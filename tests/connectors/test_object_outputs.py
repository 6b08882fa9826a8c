"""Outputs of objects, over memory and a server of S3: exactly once, whatever happens in between."""

from __future__ import annotations

import hashlib
import logging
import threading
import uuid

import fsspec
import polars as pl
import pytest
from delivery.conftest import SmallJob

import arrowstream as ars
from arrowstream import failpoints
from arrowstream.connectors.files import objects, output
from arrowstream.connectors.files.committed import committed_files
from arrowstream.connectors.files.division import Division
from arrowstream.connectors.files.ipc_encode import IpcEncoding
from arrowstream.connectors.files.parquet_encode import ParquetEncoding
from arrowstream.connectors.files.sink import FileSink
from arrowstream.errors import ConnectorError, FencedError, PlanError, StateError

STEPS = [
    *(f"{blob}.{step}" for blob in ("claim", "manifest") for step in ("before", "after")),
    "object.before", "object.put", "object.after",
    "outbox.written", "outbox.file", "outbox.after", "prepare.before", "prepare.after", "publish.before",
    "publish.after", "done.before", "done.after", "garbage.before", "garbage.after",
]  # fmt: skip
OF_OBJECTS = {
    "claim.after",
    "manifest.before",
    "manifest.after",
    "object.before",
    "object.put",
    "object.after",
}
PARTS = ["object.begun", "object.part", "object.put"]


class ObjectJob(SmallJob):
    """The small job, with two outputs in a place of objects."""

    def __init__(self, root, url, options, **changed):
        super().__init__(root, **changed)
        self.url, self.options = url, options

    def sinks(self):
        return [
            FileSink(f"{self.url}/out", ParquetEncoding(row_group_size=4), storage_options=self.options),
            FileSink(
                f"{self.url}/ipc",
                IpcEncoding(record_batch_size=4),
                Division(partition_by=("name",), max_rows_per_file=2),
                self.options,
            ),
        ]

    def published(self):
        return {
            name: digest
            for folder in ("out", "ipc")
            for name, digest in contents(f"{self.url}/{folder}", self.options).items()
        }


def contents(url, options):
    """Every object below a URL, by its path there."""
    place, path = fsspec.core.url_to_fs(url, **(options or {}))
    place.invalidate_cache()
    names = place.find(path)
    return {
        f"{url.rpartition('/')[2]}{name.removeprefix(path)}": hashlib.sha256(place.cat_file(name)).hexdigest()
        for name in names
    }


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    undisturbed = ObjectJob(tmp_path_factory.mktemp("golden"), f"memory://{uuid.uuid4().hex}", None)
    undisturbed.run()
    return undisturbed.published()


@pytest.fixture(params=["memory", "s3"])
def place(request):
    """URL and options of a place of objects."""
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}", None
    s3 = request.getfixturevalue("s3")
    return s3.url, s3.storage_options


@pytest.fixture
def job(tmp_path, place):
    return ObjectJob(tmp_path / "job", *place)


def test_objects_are_what_files_are(job, golden, tmp_path):
    job.run()
    assert job.published() == golden
    local = SmallJob(tmp_path / "local")
    local.run()
    assert {name.replace("out-ipc/", "ipc/"): digest for name, digest in local.published().items()} == golden
    again = job.run()
    assert again.complete


@pytest.mark.parametrize(
    ("place", "name"),
    [*(("memory", name) for name in STEPS), *(("s3", name) for name in STEPS if name in OF_OBJECTS)],
    indirect=["place"],
)
def test_a_crash_at_any_step_changes_nothing(job, golden, name):
    assert job.crash(f"{name}=raise")
    assert job.published().items() <= golden.items()
    job.crash(f"{name}=raise")
    job.crash(f"{name}=raise@2")
    job.run()
    assert job.published() == golden


@pytest.mark.parametrize(
    ("place", "name"),
    [
        *(("memory", name) for name in STEPS[2:]),
        *(("s3", name) for name in ("manifest.before", "object.before", "object.put", "publish.before")),
    ],
    indirect=["place"],
)
def test_a_process_frozen_at_any_step_publishes_nothing_later(job, golden, name):
    """At the failpoint, a second process starts and finishes; then the first one wakes up."""
    lock, during = threading.Lock(), []

    def freeze(reached):
        with lock:
            first = reached == name and not during
            if first:
                during.append("second")
        if first:
            job.forget_runs()
            ObjectJob(job.root, job.url, job.options).run()
            during.append(job.published())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failpoints, "hit", freeze)
        with pytest.raises(FencedError):
            job.run()
    assert during[1] == golden
    assert job.published() == golden


def test_a_loser_that_is_late_by_epochs_puts_nothing(job, golden):
    """Its epoch has other rows than the winner's, hence other objects: none of them appears."""
    job.run()
    late = FileSink(f"{job.url}/ipc", IpcEncoding(), Division(max_rows_per_file=1), job.options)
    late._history._job = [*late._history._medium.read("job.json").split(b'"')][-2].decode()
    outbox = job.root / "late.outbox"
    outbox.mkdir()
    for number in range(1, 4):
        (outbox / f"0000{number}.arrow").write_bytes(b"late")
    with pytest.raises(FencedError, match=r"epoch 3 of .* has been published by another process"):
        late.publish(3, outbox)
    assert job.published() == golden


def test_a_manifest_without_its_objects_is_completed(job, golden):
    assert job.crash("object.before=raise@2")
    epochs = [sink._history._medium.epochs() for sink in job.sinks()]
    assert [1] in epochs
    job.run()
    assert job.published() == golden


def test_an_object_that_was_changed_or_removed_stops(job):
    job.run()
    place, path = fsspec.core.url_to_fs(f"{job.url}/out/part-00000004.parquet", **(job.options or {}))
    place.pipe_file(path, b"other")
    with pytest.raises(StateError, match=r"part-00000004.parquet is not what was published there"):
        job.run()
    place.rm_file(path)
    with pytest.raises(StateError, match="has published epoch 3, but the checkpoint has prepared epoch 4"):
        job.run()


def test_what_belongs_to_another_job_needs_overwrite(job, tmp_path, golden):
    job.run()
    other = ObjectJob(tmp_path / "other", job.url, job.options)
    with pytest.raises(StateError, match="/out holds 3 files that are not of this job"):
        other.run()
    other.run(mode="overwrite")
    assert job.published() == golden
    place, path = fsspec.core.url_to_fs(f"{job.url}/out/notes.txt", **(job.options or {}))
    place.pipe_file(path, b"mine")
    with pytest.raises(StateError, match=r"holds what is not a \.parquet file: notes\.txt"):
        ObjectJob(tmp_path / "third", job.url, job.options).run(mode="overwrite")


def test_committed_files_are_those_of_whole_epochs(job, golden):
    assert job.crash("object.before=raise@4")
    files = {kind: committed_files(f"{job.url}/{kind}", job.options) for kind in ("out", "ipc")}
    published = set(job.published())
    for kind, urls in files.items():
        names = [url.removeprefix(f"{job.url}/") for url in urls]
        assert set(names) <= published
        epochs = {name.rpartition("part-")[2][:8] for name in names}
        assert len(names) == sum(
            name.startswith(kind) and name.rpartition("part-")[2][:8] in epochs for name in golden
        )
    job.run()
    urls = committed_files(f"{job.url}/ipc", job.options)
    assert sorted(urls) == sorted(f"{job.url}/{name}" for name in golden if name.startswith("ipc"))
    with pytest.raises(PlanError, match="is not the output of a job"):
        committed_files(f"{job.url}/elsewhere", job.options)
    read = ars.scan_parquet(f"{job.url}/out", committed_only=True, storage_options=job.options)
    assert read.collect(progress=False).height == 30


def test_an_object_that_stands_for_the_folder_is_nobodys(s3, tmp_path, golden):
    fsspec.filesystem("s3", **s3.storage_options).call_s3(
        "put_object", Bucket=s3.bucket, Key="out/", Body=b""
    )
    job = ObjectJob(tmp_path / "job", s3.url, s3.storage_options)
    job.run()
    assert {name: digest for name, digest in job.published().items() if name != "out/"} == golden


@pytest.fixture
def parts(s3, monkeypatch):
    """Every object is a large one; of several parts, where the service takes parts of any size."""
    monkeypatch.setattr(objects, "MULTIPART_BYTES", 100)
    if s3.is_moto:
        monkeypatch.setattr(objects, "PART_BYTES", 1_000)
        monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)


def uploads(s3):
    place = fsspec.filesystem("s3", **s3.storage_options)
    return place.call_s3("list_multipart_uploads", Bucket=s3.bucket).get("Uploads", [])


def test_large_objects_go_in_parts(s3, parts, tmp_path, golden):
    job = ObjectJob(tmp_path / "job", s3.url, s3.storage_options)
    with failpoints.armed() as reached:
        job.run()
    assert job.published() == golden
    assert set(PARTS) <= set(reached)
    assert reached.count("object.begun") == len(golden)
    assert reached.count("object.part") > len(golden) or not s3.is_moto
    assert uploads(s3) == []


def test_the_last_step_of_an_upload_is_conditional(s3, parts, tmp_path):
    """Of two that upload at once, the slower one loses at the end, and leaves nothing behind."""
    if s3.is_moto:
        pytest.skip("moto takes no notice of If-None-Match there: name another service (ARROWSTREAM_TEST_S3)")
    place = objects.S3Objects(fsspec.filesystem("s3", **s3.storage_options))
    contents = {name: name.encode() * (10 << 20) for name in ("a", "b")}  # 10 MiB: parts of 8 and 2
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    key = f"{s3.bucket}/large"
    overtaken = []

    def overtake(name):
        if name == "object.part" and not overtaken:
            overtaken.append(name)
            assert place.put_file_new(key, tmp_path / "b", hashlib.sha256(contents["b"]).hexdigest())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failpoints, "hit", overtake)
        won = place.put_file_new(key, tmp_path / "a", hashlib.sha256(contents["a"]).hexdigest())
    assert overtaken
    assert not won
    assert place.read(key) == contents["b"]
    assert uploads(s3) == []


@pytest.mark.parametrize(("name", "nth"), list(zip(PARTS, (1, 4, 1), strict=True)))
def test_a_crash_while_parts_are_uploaded_leaves_no_upload_behind(s3, parts, tmp_path, golden, name, nth):
    job = ObjectJob(tmp_path / "job", s3.url, s3.storage_options)
    assert job.crash(f"{name}=raise@{nth}")
    if name != "object.put":
        assert uploads(s3) != []
    job.run()
    assert job.published() == golden
    assert uploads(s3) == []


def test_an_upload_that_somebody_aborts_is_begun_again(s3, parts, tmp_path, golden):
    job = ObjectJob(tmp_path / "job", s3.url, s3.storage_options)
    place = fsspec.filesystem("s3", **s3.storage_options)
    aborted = []

    def abort(name):
        if name == "object.part" and len(aborted) < 2:
            for upload in uploads(s3):
                aborted.append(upload["Key"])
                place.call_s3(
                    "abort_multipart_upload", Bucket=s3.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failpoints, "hit", abort)
        job.run()
    assert aborted
    assert job.published() == golden


def test_two_at_once_are_one_after_the_other(s3, monkeypatch):
    """409: another conditional put is under way."""
    place = objects.S3Objects(fsspec.filesystem("s3", **s3.storage_options))
    monkeypatch.setattr(objects, "_FIRST_WAIT_S", 0.0001)
    real, answers = place._call, [409, 409, 200]

    def call(method, **arguments):
        if method == "put_object" and (code := answers.pop(0)) != 200:
            error = OSError("conflict")
            error.response = {"Error": {"Code": "ConditionalRequestConflict"}, "status": code}
            raise error
        return real(method, **arguments)

    monkeypatch.setattr(place, "_call", call)
    assert place.put_new(f"{s3.bucket}/a", b"a")
    answers[:] = [409] * 20
    with pytest.raises(OSError, match="conflict"):
        place.put_new(f"{s3.bucket}/b", b"b")
    answers[:] = [200]
    assert not place.put_new(f"{s3.bucket}/a", b"other")
    assert place.read(f"{s3.bucket}/a") == b"a"


def test_a_service_that_takes_no_notice_of_conditions_is_refused(s3, tmp_path, monkeypatch):
    real = objects.S3Objects._put

    def careless(self, key, payload, sha256):
        self._call("put_object", **objects._bucket_and_key(key), Body=payload)
        return True

    monkeypatch.setattr(objects.S3Objects, "_put", careless)
    job = ObjectJob(tmp_path / "job", s3.url, s3.storage_options)
    with pytest.raises(ConnectorError, match="cannot be written exactly once: the service takes no notice"):
        job.run()
    monkeypatch.setattr(objects.S3Objects, "_put", real)
    job.run()


def test_credentials_are_never_shown_nor_stored(s3, tmp_path, caplog):
    if not s3.is_moto:
        pytest.skip("the service knows no user of a name made up here")
    canary = f"canary-{uuid.uuid4().hex}"
    options = {**s3.storage_options, "secret": canary, "key": f"{canary}-key"}
    frame = pl.DataFrame({"a": [1, 2]})
    with caplog.at_level(logging.DEBUG, logger="arrowstream"):
        job = ars.from_polars(frame).sink_parquet(f"{s3.url}/out", storage_options=options)
        texts = [repr(job), job.explain(), repr(job._roots[0].sink) if hasattr(job, "_roots") else ""]
        job.run(checkpoint=tmp_path / "state", progress=False)
        failing = ars.from_polars(frame).sink_parquet(
            "s3://no-such-bucket-at-all/out", storage_options=options
        )
        with pytest.raises(ConnectorError) as caught:
            failing.run(checkpoint=tmp_path / "state-2", progress=False)
    texts += [str(caught.value), caplog.text, *(str(cause) for cause in (caught.value.__cause__,) if cause)]
    assert not [text for text in texts if canary in text]
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or canary.encode() not in path.read_bytes()
    place = fsspec.filesystem("s3", **s3.storage_options)
    for name in place.find(s3.bucket):
        assert canary.encode() not in place.cat_file(name)


@pytest.mark.filterwarnings("ignore::arrowstream.JobNeverRunWarning")
@pytest.mark.parametrize(
    ("url", "delivery"),
    [("s3://b/out", "exactly_once"), ("memory://out", "exactly_once"), ("sftp://host/out", "at_least_once"),
     ("file:///tmp/out", "exactly_once")],
)  # fmt: skip
def test_what_is_promised_depends_on_the_place(url, delivery):
    job = ars.from_polars(pl.DataFrame({"a": [1]})).sink_parquet(url)
    words = delivery.replace("_", " ")
    assert words in job.explain()
    assert FileSink(url, ParquetEncoding()).delivery == delivery


def test_another_file_system_of_fsspec_is_written_at_least_once(tmp_path, monkeypatch):
    """As if memory could not put conditionally."""
    monkeypatch.setattr(objects, "CONDITIONAL_PROTOCOLS", ("s3",))
    monkeypatch.setattr(output, "CONDITIONAL_PROTOCOLS", ("s3",))
    url = f"memory://{uuid.uuid4().hex}"
    job = ars.from_polars(pl.DataFrame({"a": range(10)})).sink_parquet(url, max_rows_per_file=3)
    assert "at least once" in job.explain()
    job.run(checkpoint=tmp_path / "state", checkpoint_every=5, progress=False)
    assert sorted(contents(url, None)) == [
        f"{url[9:]}/part-0000000{epoch}-0000{number}.parquet" for epoch in (1, 2) for number in (1, 2)
    ]
    assert len(committed_files(url)) == 4
