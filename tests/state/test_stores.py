"""One suite for every store: `MemoryStore` is the reference."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from arrowstream.errors import InternalError, StateError
from arrowstream.state.stores import FolderStore, MemoryStore


@pytest.fixture(params=["memory", "folder"])
def store(request, tmp_path):
    return MemoryStore() if request.param == "memory" else FolderStore(tmp_path / "store")


@pytest.fixture
def folder_store(tmp_path):
    return FolderStore(tmp_path / "store")


def test_a_new_store_is_empty(store):
    assert store.names() == []
    assert store.get("plan/1.json") is None
    store.delete("plan/1.json")


def test_the_first_put_wins(store):
    assert store.put("plan/1.json", b"first")
    assert not store.put("plan/1.json", b"second")
    assert store.get("plan/1.json") == b"first"


def test_names_are_sorted_and_found_by_prefix(store):
    for name in ["runs/b/2", "plan/2", "runs/a/1", "plan/1", "job.json", "plan-b/1"]:
        store.put(name, b"")
    assert store.names() == ["job.json", "plan-b/1", "plan/1", "plan/2", "runs/a/1", "runs/b/2"]
    assert store.names("plan") == ["plan-b/1", "plan/1", "plan/2"]
    assert store.names("plan/") == ["plan/1", "plan/2"]
    assert store.names("runs/a/") == ["runs/a/1"]
    assert store.names("nothing/") == []


def test_what_is_deleted_can_be_put_again(store):
    store.put("plan/1", b"first")
    store.delete("plan/1")
    assert store.get("plan/1") is None
    assert store.names() == []
    assert store.put("plan/1", b"second")


def test_any_bytes_are_kept(store):
    payload = bytes(range(256)) * 300
    store.put("runs/a%2Fb/1", payload)
    assert store.get("runs/a%2Fb/1") == payload
    store.put("plan/empty", b"")
    assert store.get("plan/empty") == b""


def test_of_many_writers_one_wins(store):
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda writer: store.put("plan/1", b"%d" % writer), range(32)))
    assert won.count(True) == 1
    assert store.get("plan/1") == b"%d" % won.index(True)


def test_a_folder_survives_the_store_and_appears_with_the_first_put(tmp_path):
    FolderStore(tmp_path / "a" / "b").names()
    assert list(tmp_path.iterdir()) == []
    FolderStore(tmp_path / "a" / "b").put("plan/1", b"kept")
    assert FolderStore(tmp_path / "a" / "b").get("plan/1") == b"kept"


def test_temporary_files_are_no_blobs_and_can_be_removed(folder_store):
    folder_store.put("plan/1", b"kept")
    leftover = folder_store.folder / "plan" / ".2.0123.tmp"
    leftover.write_bytes(b"half")
    assert folder_store.names() == ["plan/1"]
    folder_store.remove_leftovers()
    assert not leftover.exists()
    assert folder_store.get("plan/1") == b"kept"


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../up", "plan/../../up", "plan//1", ".hidden", "a\0b"])
def test_no_name_leads_out_of_the_folder(folder_store, name):
    for use in (folder_store.get, folder_store.delete, lambda name: folder_store.put(name, b"")):
        with pytest.raises(InternalError, match="not the name of a blob"):
            use(name)


@pytest.mark.parametrize("function", ["write", "fsync"])
def test_a_full_disk_names_the_file_and_loses_nothing(folder_store, monkeypatch, function):
    folder_store.put("plan/1", b"kept")

    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        with pytest.raises(StateError, match="plan/2 cannot be written: No space left on device") as caught:
            folder_store.put("plan/2", b"lost")
    assert "run again: nothing is lost" in str(caught.value)
    assert folder_store.names() == ["plan/1"]
    assert folder_store.put("plan/2", b"now")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StateError, match="file/plan/1 cannot be written"):
        FolderStore(tmp_path / "file").put("plan/1", b"")
