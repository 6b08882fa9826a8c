"""Several processes on one checkpoint: the newest one wins, the others publish nothing."""

from __future__ import annotations

import pytest

from arrowstream import failpoints
from arrowstream.errors import FencedError, StateError
from arrowstream.runtime.checkpoint import Base, is_valid
from arrowstream.state.stores import FolderStore

ONCE = ("job", "generation", "base")  # steps that a run takes once
FREEZES = [
    (name, nth)
    for name in failpoints.NAMES
    for nth in (1, 2)
    if not name.startswith("object")
    if nth == 1 or name.partition(".")[0] not in ONCE
]


@pytest.mark.parametrize(("name", "nth"), FREEZES)
def test_a_process_frozen_at_any_step_publishes_nothing_later(job, another, golden, name, nth):
    """At the failpoint, a second process starts and finishes; then the first one wakes up."""
    hits = []
    during = []

    def freeze(reached):
        hits.append(reached)
        if reached == name and hits.count(name) == nth and not during:
            during.append("second")
            job.forget_runs()
            another().run()
            during.append(job.published())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failpoints, "hit", freeze)
        try:
            job.run()
        except FencedError as error:
            fenced = str(error)
        else:
            fenced = None
    assert during[1] == golden
    assert job.published() == golden
    frozen = [index for index, hit in enumerate(hits) if hit == name][nth - 1]
    if fenced is None and "generation.linked" in hits[: frozen + 1]:
        # It has taken its last look for newer ones before: only its own garbage was left to remove.
        assert "done.before" not in hits[frozen + 1 :]
    again = another().run()
    assert again.complete
    assert job.published() == golden


def test_a_frozen_process_says_that_it_was_fenced(job, another, monkeypatch):
    woken = []

    def freeze(reached):
        if reached == "plan.before" and not woken:
            woken.append(reached)
            job.forget_runs()
            another().run()

    monkeypatch.setattr(failpoints, "hit", freeze)
    with pytest.raises(FencedError, match="a newer process has taken over") as caught:
        job.run()
    assert "(generation 2, this one is 1)" in str(caught.value)
    assert str(job.state) in str(caught.value)


def test_two_runs_of_one_process_are_an_error_at_the_start(job, another):
    driver = job.driver()
    driver.recover()
    try:
        with pytest.raises(StateError, match="is in use by another run of this process") as caught:
            another().run()
        assert str(job.state) in str(caught.value)
        (job.root / "link").symlink_to(job.state)
        linked = another()
        linked.state = job.root / "link"
        with pytest.raises(StateError, match="in use"):
            linked.run()
    finally:
        driver.abort(RuntimeError("enough"))
    job.run()


def test_a_prepare_that_comes_too_late_is_void():
    bases = [Base(generation=2, base_epoch=3, base_generation=1)]
    assert is_valid(3, 1, bases)
    assert is_valid(2, 1, bases)
    assert not is_valid(4, 1, bases)
    assert is_valid(4, 2, bases)
    assert not is_valid(3, 0, bases), "another PREPARE of the same epoch was taken"


def test_a_late_prepare_of_an_older_process_is_ignored(job, another, golden):
    """The older process writes PREPARE after the newer one has looked, before it has prepared anything."""
    assert job.crash("publish.before=raise@3")  # epoch 2 is prepared
    store = FolderStore(job.state)
    (name,) = [name for name in store.names("prepare/") if name.startswith("prepare/00000002")]
    taken = another()
    driver = taken.driver()
    driver.recover()
    driver.abort(RuntimeError("enough"))
    late = name.replace("00000002-", "00000003-")
    store.put(late, b"written by a process that had been fenced")
    another().run()
    assert job.published() == golden
    assert late not in store.names()
