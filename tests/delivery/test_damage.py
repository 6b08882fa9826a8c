"""A damaged checkpoint or output is never loaded: the error names the file."""

from __future__ import annotations

import random
import shutil

import pytest

from arrowstream.errors import ArrowStreamError, StateError
from arrowstream.runtime.verify import verify

BITS = 400


@pytest.fixture
def crashed(job):
    """A job that crashed with epoch 3 prepared, and neither published nor done."""
    assert job.crash("publish.before=raise@5")
    return job


def files_of(job):
    folders = (job.state, job.root / ".out.arrowstream", job.root / ".out-ipc.arrowstream")
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


def read_by_the_next_run(job):
    """The files of the crashed job that its next run acts on."""
    names = [
        "state/job.json",
        "state/base/00000001.json",
        "state/prepare/00000003-00000001.json",
        "state/runs/totals/00000003-00000003-00000001.arrow",
        ".out.arrowstream/job.json",
        ".out.arrowstream/manifests/00000002.json",
        ".out-ipc.arrowstream/manifests/00000002.json",
    ]
    return [job.root / name for name in names]


def outbox_of(path):
    """The outbox that the file is, or is in: several files have one checksum."""
    return next((part for part in (path, *path.parents) if part.name.endswith(".outbox")), None)


def published_or_error(job, before, golden):
    """Run; what it published is right, or it stopped and said why. Then put everything back."""
    try:
        job.run()
    except ArrowStreamError as error:
        message = str(error)
    else:
        message = None
        assert job.published() == golden
    shutil.rmtree(job.root)
    shutil.copytree(before, job.root)
    return message


@pytest.fixture
def before(crashed, tmp_path):
    copy = tmp_path / "before"
    shutil.copytree(crashed.root, copy)
    return copy


def test_truncation_at_every_byte_of_every_file_is_seen(crashed):
    """`verify` reads files as a run does, through `unseal`; a run for every byte would be dear."""
    for path in files_of(crashed):
        if not path.is_relative_to(crashed.state):
            continue
        content = path.read_bytes()
        for length in range(len(content)):
            path.write_bytes(content[:length])
            assert [finding.file for finding in verify(crashed.state)] == [str(path)]
        path.write_bytes(content)


def test_a_truncated_file_is_never_loaded(crashed, before, golden):
    for path in files_of(crashed):
        content = path.read_bytes()
        for length in {0, len(content) // 2, len(content) - 1}:
            path.write_bytes(content[:length])
            message = published_or_error(crashed, before, golden)
            if path in read_by_the_next_run(crashed) or "/00000003-00000001.outbox" in str(path):
                assert message is not None, path
            if message is not None:
                assert str(outbox_of(path) or path) in message
                assert "damaged" in message


def test_a_flipped_bit_anywhere_is_named(crashed, before, golden):
    bits = random.Random(4)
    for number in range(BITS):
        path = bits.choice(read_by_the_next_run(crashed))
        content = path.read_bytes()
        damaged = bytearray(content)
        bit = bits.randrange(len(content) * 8)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        if path.is_relative_to(crashed.state):
            assert [finding.file for finding in verify(crashed.state)] == [str(path)]
        if number % 10 == 0:
            message = published_or_error(crashed, before, golden)
            assert message is not None
            assert str(path) in message
        path.write_bytes(content)
    assert published_or_error(crashed, before, golden) is None


def test_a_missing_file_is_named_or_makes_no_difference(crashed, before, golden):
    for path in files_of(crashed):
        path.unlink()
        message = published_or_error(crashed, before, golden)
        if message is not None:
            assert (outbox_of(path) or path).name in message or any(
                text in message for text in ("but the checkpoint has prepared", "not of this job")
            )
        else:
            # PREPARE 3 was not published by anybody: the job goes on from PREPARE 2, which is still there.
            assert path.name != "job.json", path
            assert path.suffix != ".arrow" or "00000003" not in path.name, path


def test_a_damaged_outbox_is_found_by_verify_and_by_the_run(crashed):
    outbox = next((crashed.root / ".out.arrowstream" / "outbox").glob("00000003-*"))
    outbox.write_bytes(outbox.read_bytes()[:-1])
    (finding,) = verify(crashed.state)
    assert finding.file == str(outbox)
    assert "checksum does not match" in str(finding)
    with pytest.raises(StateError, match=r"still to be published, is damaged") as caught:
        crashed.run()
    assert str(outbox) in str(caught.value)
    assert "restore it from a copy" in str(caught.value)


@pytest.mark.parametrize("how", ["changed", "gone", "added", "renamed", "all gone"])
def test_a_damaged_outbox_of_several_files_is_found_by_verify_and_by_the_run(crashed, how):
    outbox = next((crashed.root / ".out-ipc.arrowstream" / "outbox").glob("00000003-*"))
    file = min(outbox.rglob("*.arrow"))
    match how:
        case "changed":
            file.write_bytes(file.read_bytes()[::-1])
        case "gone":
            file.unlink()
        case "added":
            file.with_name("00009.arrow").write_bytes(b"")
        case "renamed":
            file.rename(file.with_name("00009.arrow"))
        case _:
            shutil.rmtree(outbox)
    (finding,) = verify(crashed.state)
    assert finding.file == str(outbox)
    with pytest.raises(StateError, match=r"still to be published, (is damaged|cannot be read)") as caught:
        crashed.run()
    assert str(outbox) in str(caught.value)


def test_a_checkpoint_that_was_set_back_stops(job, tmp_path):
    assert job.crash("prepare.before=raise@2")
    shutil.copytree(job.state, tmp_path / "old")
    assert job.crash("prepare.before=raise@3")
    shutil.rmtree(job.state)
    shutil.copytree(tmp_path / "old", job.state)
    published = job.published()
    with pytest.raises(
        StateError, match="sink-0 has published epoch 3, but the checkpoint has prepared epoch 1"
    ) as caught:
        job.run()
    assert "the checkpoint or the output was set back" in str(caught.value)
    assert job.published() == published


def test_an_output_that_was_removed_stops(job):
    job.run()
    shutil.rmtree(job.out)
    with pytest.raises(StateError, match=r"part-00000004.parquet was published, and is gone"):
        job.run()
    shutil.rmtree(job.root / ".out.arrowstream")
    with pytest.raises(
        StateError, match="sink-0 has published nothing, but the checkpoint has prepared epoch 4"
    ):
        job.run()


def test_an_output_that_was_changed_stops(job):
    job.run()
    (job.out / "part-00000004.parquet").unlink()
    (job.out / "part-00000004.parquet").write_bytes(b"other")
    with pytest.raises(StateError, match=r"part-00000004.parquet is not what was published there"):
        job.run()


def test_a_manifest_that_was_removed_stops(job):
    job.run()
    (job.root / ".out.arrowstream" / "manifests" / "00000002.json").unlink()
    with pytest.raises(StateError, match=r"00000002.json is missing, but later epochs are there"):
        job.run()


def test_a_folder_without_a_job_is_no_checkpoint(job, tmp_path):
    job.run()
    (job.state / "job.json").unlink()
    with pytest.raises(StateError, match=r"job.json is missing, but there is .*base/00000001.json"):
        job.run()
    assert "missing: this is no checkpoint" in str(verify(job.state)[0])
    assert "missing" in str(verify(tmp_path / "nowhere")[0])
