from __future__ import annotations

import errno
import os
import random

import pytest

from arrowstream import durable, failpoints
from arrowstream.errors import FencedError, StateError

NAME = "prepare/00000001-00000001.json"
SEALED = durable.seal(NAME, b'{"epoch": 1}')


def unseal(sealed, name=NAME):
    return bytes(durable.unseal(name, sealed, where="the file"))


def test_what_was_sealed_comes_back():
    assert unseal(SEALED) == b'{"epoch": 1}'
    assert unseal(durable.seal(NAME, b"")) == b""
    assert durable.sealed_sha256(SEALED) == SEALED.split(b"\n")[0].split()[-1].decode()


@pytest.mark.parametrize("length", range(len(SEALED)))
def test_every_truncation_is_seen(length):
    with pytest.raises(StateError, match="the file is damaged: its checksum does not match"):
        unseal(SEALED[:length])


def test_every_flipped_bit_is_seen():
    for bit in range(len(SEALED) * 8):
        flipped = bytearray(SEALED)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StateError):
            unseal(bytes(flipped))


def test_random_damage_is_seen():
    random_bytes = random.Random(7)
    for _ in range(10_000):
        damaged = bytearray(SEALED)
        for _ in range(random_bytes.randint(1, 8)):
            damaged[random_bytes.randrange(len(damaged))] = random_bytes.randrange(256)
        if bytes(damaged) != SEALED:
            with pytest.raises(StateError):
                unseal(bytes(damaged))


def test_a_file_under_another_name_and_appended_bytes_are_seen():
    with pytest.raises(StateError, match="damaged"):
        unseal(SEALED, name="prepare/00000002-00000001.json")
    with pytest.raises(StateError, match="damaged"):
        unseal(SEALED + b"\n")


def test_a_newer_format_says_so():
    with pytest.raises(StateError, match="storage format 2, this arrowstream knows 1"):
        unseal(SEALED.replace(b"arrowstream/1", b"arrowstream/2"))


def test_the_first_put_wins_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "blob"
    assert durable.put_new(path, b"first", failpoint="plan")
    assert not durable.put_new(path, b"second", failpoint="plan")
    assert path.read_bytes() == b"first"
    assert [found.name for found in tmp_path.iterdir()] == ["blob"]


@pytest.mark.parametrize("step", failpoints.PUT_STEPS)
def test_a_put_that_dies_leaves_all_or_nothing(tmp_path, step):
    path = tmp_path / "blob"
    with failpoints.armed(f"plan.{step}=raise"), pytest.raises(failpoints.Crash):
        durable.put_new(path, b"first", failpoint="plan")
    assert path.exists() == (step in {"linked", "after"})
    assert durable.put_new(path, b"first", failpoint="plan") != path.exists() or path.read_bytes() == b"first"


@pytest.mark.parametrize("function", ["write", "fsync", "link"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_or_broken_disk_is_no_success(tmp_path, monkeypatch, function, code):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match=os.strerror(code)):
        durable.put_new(tmp_path / "blob", b"x", failpoint="plan")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_a_short_write_is_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    assert durable.put_new(tmp_path / "blob", b"0123456789", failpoint="plan")
    assert (tmp_path / "blob").read_bytes() == b"0123456789"


def test_a_writer_whose_temporary_file_was_removed_is_fenced(tmp_path, monkeypatch):
    monkeypatch.setattr(
        failpoints, "hit", lambda name: name == "plan.synced" and durable.remove_temporaries(tmp_path)
    )
    with pytest.raises(FencedError, match="a newer process has taken over"):
        durable.put_new(tmp_path / "blob", b"x", failpoint="plan")


def test_folders_are_made_with_their_parents(tmp_path):
    durable.make_folder(tmp_path / "a" / "b")
    durable.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
