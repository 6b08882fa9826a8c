"""The thread of a sink: bounded, and never hanging, whatever the sink does."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any, TypeAlias

import polars as pl
import pytest

from arrowstream.errors import ConnectorError, FencedError, StateError
from arrowstream.runtime.epochs import EpochDriver, EpochEnd, EpochEvery, JobSpec, SinkSpec
from arrowstream.runtime.events import Failed, OutboxReady
from arrowstream.runtime.sinks import SinkWorker

Encoded: TypeAlias = Any  # right and wrong

SCHEMA = pl.Schema({"a": pl.Int64()})
FRAME = pl.DataFrame({"a": range(1000)})


class Recorder:
    """A sink that writes down who calls what, and can be told to fail or to hang."""

    delivery = "exactly_once"

    def __init__(self, fails=None, hangs=None):
        self.calls, self.threads, self.published = [], set(), {}
        self.fails = fails or {}
        self.hangs = hangs
        self.go_on = threading.Event()

    def _called(self, name):
        self.calls.append(name)
        self.threads.add(threading.current_thread().name)
        if name == self.hangs:
            self.go_on.wait(60)
        if name in self.fails:
            raise self.fails[name]

    def open(self, generation):
        self._called("open")
        return max(self.published, default=None)

    def encode(self, batches) -> Encoded:
        for batch in batches:
            self._called("encode")
            yield b"%d," % batch.num_rows

    def publish(self, epoch, outbox):
        self._called("publish")
        self.published[epoch] = outbox.read_bytes()

    def close(self):
        self._called("close")


class Whole(Recorder):
    """Encodes to bytes, not to an iterator."""

    def encode(self, batches) -> Encoded:
        encoded = super().encode(batches)
        assert not isinstance(encoded, bytes)
        return b"".join(encoded)

    def publish(self, epoch, outbox):
        self._called("publish")
        self.published[epoch] = outbox


@pytest.fixture
def worker(tmp_path):
    workers = []

    def make(sink, **options):
        events = []
        made = SinkWorker(
            0,
            SinkSpec("recorder", sink, SCHEMA),
            outbox_folder=tmp_path / "outbox",
            queue_bytes=options.get("queue_bytes", 1 << 20),
            threads=1,
            on_event=events.append,
        )
        workers.append(made)
        return made, events

    yield make
    for made in workers:
        made.spec.sink.go_on.set()
        made.stop()
        made.join()
        assert not made._thread.is_alive()


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def driver(*sinks, checkpoint=None, every=None):
    return EpochDriver(
        sinks=[SinkSpec(f"sink-{index}", sink, SCHEMA) for index, sink in enumerate(sinks)],
        job=JobSpec("plan", "", {}),
        checkpoint=checkpoint,
        every=every or EpochEvery(rows=1000),
    )


def end(epoch=1, *, final=False):
    return EpochEnd(1000, {}, epoch, {}, {}, final=final)


def run(made, epochs=2):
    try:
        made.recover()
        for epoch in range(1, epochs + 1):
            for index in range(len(made.progress)):
                assert made.emit(index, FRAME, timeout_s=5)
            made.close_epoch(end(epoch, final=epoch == epochs))
        made.finish()
    except BaseException as error:
        made.abort(error)
        raise


@pytest.mark.parametrize("kind", [Recorder, Whole])
def test_all_methods_are_called_on_one_thread(kind):
    sink = kind()
    run(driver(sink))
    assert (sink.calls[0], sink.calls[-1]) == ("open", "close")
    assert sorted(sink.calls[1:-1]) == ["encode", "encode", "publish", "publish"]
    assert sink.threads == {"arrowstream-sink-0"}
    assert sink.published == {1: b"1000,", 2: b"1000,"}


def test_progress_is_counted():
    made = driver(Recorder())
    run(made)
    (progress,) = made.progress
    assert (progress.rows, progress.batches, progress.bytes, progress.published_epoch) == (2000, 2, 10, 2)
    assert 0 < progress.busy_s < 5
    assert made.done_epoch() == 2


def test_a_full_queue_says_no_and_one_frame_always_fits(worker):
    sink = Recorder(hangs="encode")
    made, _ = worker(sink, queue_bytes=10_000)
    made.open(1).result(10)
    assert made.put(FRAME, timeout_s=0)
    until(lambda: sink.calls == ["open", "encode"])
    big = pl.DataFrame({"a": range(10_000)})
    assert made.put(big, timeout_s=0), "larger than the queue, but the queue is empty"
    assert not made.put(FRAME, timeout_s=0.01)
    sink.go_on.set()
    assert made.put(FRAME, timeout_s=10)


def test_encoding_goes_on_while_rows_arrive(worker):
    sink = Recorder()
    made, events = worker(sink)
    made.open(1).result(10)
    made.put(FRAME, timeout_s=1)
    until(lambda: sink.calls == ["open", "encode"])
    assert events == []
    made.end_epoch(show_columns=False)
    until(lambda: events == [OutboxReady(1, 0)])
    assert made.outboxes[1].rows == 1000


def test_an_epoch_is_published_while_the_next_one_is_encoded():
    sink = Recorder()
    made = driver(sink)
    made.recover()
    made.emit(0, FRAME, timeout_s=1)
    made.close_epoch(end(1))
    made.emit(0, FRAME, timeout_s=1)
    until(lambda: made.done_epoch() == 1)
    made.close_epoch(end(2, final=True))
    made.finish()
    assert sink.published == {1: b"1000,", 2: b"1000,"}


def test_the_columns_are_shown_where_the_job_ends_without_rows():
    seen = []

    class Columns(Recorder):
        def encode(self, batches) -> Encoded:
            seen.append([(batch.num_rows, batch.schema.names) for batch in batches])
            return b""

        publish = Whole.publish

    made = driver(Columns())
    made.recover()
    made.close_epoch(end(1))
    made.close_epoch(replace(end(2, final=True), without_rows=frozenset({0})))
    made.finish()
    assert seen == [[], [(0, ["a"])]]


@pytest.mark.parametrize("method", ["open", "encode", "publish", "close"])
@pytest.mark.parametrize("error", [ValueError("bad"), ConnectorError("down"), KeyboardInterrupt("panic")])
def test_a_failure_surfaces_with_the_name_of_the_sink(method, error):
    healthy, broken = Recorder(), Recorder(fails={method: error})
    with pytest.raises((ConnectorError, KeyboardInterrupt)) as caught:
        run(driver(healthy, broken))
    if isinstance(error, Exception):
        assert "at: operator sink-1" in str(caught.value)
    assert healthy.calls[-1] == broken.calls[-1] == "close"
    assert 2 not in broken.published or method == "close"


def test_a_sink_that_does_not_read_its_rows_is_an_error():
    class Lazy(Recorder):
        def encode(self, batches) -> Encoded:
            return iter([b"nothing read"])

    with pytest.raises(ConnectorError, match="did not read all batches"):
        run(driver(Lazy()))


def test_a_user_who_catches_everything_does_not_hide_a_failed_publish():
    class Catching(Recorder):
        def encode(self, batches) -> Encoded:
            try:
                yield from super().encode(batches)
            except Exception:  # noqa: BLE001 — as users do
                yield b"never mind"

    with pytest.raises(ConnectorError, match="the sink failed: OSError: gone"):
        run(driver(Catching(fails={"publish": OSError("gone")})))


@pytest.mark.parametrize("method", ["encode", "publish"])
def test_abort_does_not_wait_for_a_sink_that_hangs(method, monkeypatch):
    monkeypatch.setattr("arrowstream.runtime.sinks._CLOSE_WAIT_S", 0.05)
    sink = Recorder(hangs=method)
    made = driver(sink)
    made.recover()
    made.emit(0, FRAME, timeout_s=1)
    made.close_epoch(end(1))
    until(lambda: method in sink.calls)
    started = time.monotonic()
    made.abort(RuntimeError("enough"))
    made.abort(RuntimeError("again"))
    assert time.monotonic() - started < 5
    with pytest.raises(RuntimeError, match="enough"):
        made.check()
    sink.go_on.set()
    until(lambda: sink.calls[-1] == "close")
    assert method != "encode" or sink.published == {}


def test_a_slow_sink_makes_closing_wait_one_epoch_later():
    sink = Recorder(hangs="publish")
    made = driver(sink)
    made.recover()
    made.emit(0, FRAME, timeout_s=1)
    made.close_epoch(end(1))
    closed = threading.Event()

    def close_second():
        made.emit(0, FRAME, timeout_s=1)
        made.close_epoch(end(2, final=True))
        closed.set()

    thread = threading.Thread(target=close_second)
    thread.start()
    assert not closed.wait(0.1)
    sink.go_on.set()
    thread.join(10)
    assert closed.is_set()
    made.finish()
    assert sorted(sink.published) == [1, 2]


def test_epochs_by_time_use_the_clock_that_was_given():
    now = [0.0]
    made = EpochDriver(
        sinks=[SinkSpec("sink", Recorder(), SCHEMA)],
        job=JobSpec("plan", "", {}),
        checkpoint=None,
        every=EpochEvery(seconds=5.0),
        clock=lambda: now[0],
    )
    made.recover()
    assert made.rows_until_cut(10) is None
    now[0] = 5.0
    assert made.rows_until_cut(0) is None, "an epoch without rows can wait"
    assert made.rows_until_cut(10) == 0
    made.close_epoch(end(1))
    assert made.rows_until_cut(10) is None
    made.abort(RuntimeError("enough"))


def test_epochs_by_rows_count_down():
    made = driver(Recorder())
    made.recover()
    assert [made.rows_until_cut(rows) for rows in (0, 1, 999, 1000)] == [1000, 999, 1, 0]
    made.abort(RuntimeError("enough"))


def test_a_failed_driver_says_so_everywhere():
    made = driver(Recorder())
    made.recover()
    made._handle(Failed(ConnectorError("down")))
    for use in (
        lambda: made.emit(0, FRAME, timeout_s=0),
        lambda: made.close_epoch(end()),
        made.finish,
        made.check,
    ):
        with pytest.raises(ConnectorError, match="down"):
            use()
    made.abort(RuntimeError("enough"))


class Several(Recorder):
    """Encodes to files whose pieces alternate."""

    def __init__(self, names, **options):
        super().__init__(**options)
        self.names = names

    def encode(self, batches):
        rows = 0
        for batch in batches:
            rows += batch.num_rows
            for name in self.names:
                yield name, b"%d," % rows
        for name in self.names:
            yield name, b"end"

    def publish(self, epoch, outbox):
        self._called("publish")
        assert outbox.is_dir()
        self.published[epoch] = {
            path.relative_to(outbox).as_posix(): path.read_bytes()
            for path in outbox.rglob("*")
            if path.is_file()
        }


def test_several_files_an_epoch_are_a_folder():
    """More of them than are open at a time."""
    names = [f"k={number % 7}/{number}.bin" for number in range(200)]
    sink = Several(names)
    made = driver(sink)
    run(made)
    assert sink.published == {epoch: dict.fromkeys(names, b"1000,end") for epoch in (1, 2)}
    (progress,) = made.progress
    assert (progress.files, progress.rows, progress.bytes) == (400, 2000, 2 * 200 * 8)
    assert progress.busy_s > 0


def test_one_file_is_counted_unless_it_is_empty():
    class Silent(Recorder):
        def encode(self, batches):
            for _ in batches:
                yield b""

    recorder, silent = driver(Recorder()), driver(Silent())
    run(recorder)
    run(silent)
    assert [made.progress[0].files for made in (recorder, silent)] == [2, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "gave None, which cannot be written"),
        ("text", "gave a str, which cannot be written"),
        (3, "gave a int, which cannot be written"),
        ([b"a", "text"], "gave an iterator with a str in it"),
        ([b"a", None], "gave an iterator with None in it"),
        ([("a", "text")], "gave an iterator with a tuple in it"),
        ([("a", b"x"), b"y"], "gave bytes as well as"),
        ([b"y", ("a", b"x")], "gave bytes as well as"),
        ([("../a", b"x")], "gave '../a', which is no name for a file"),
        ([("/etc/a", b"x")], "gave '/etc/a', which is no name for a file"),
        ([("a\0b", b"x")], "which is no name for a file"),
        ([(".a", b"x")], "gave '.a', which is no name for a file"),
        ([("", b"x")], "gave '', which is no name for a file"),
    ],
)
def test_what_encode_must_not_give_is_said(given, message):
    class Wrong(Recorder):
        def encode(self, batches):
            list(batches)
            return given

    with pytest.raises(ConnectorError) as caught:
        run(driver(Wrong()))
    assert message in str(caught.value)
    assert caught.value.operator_id == "sink-0"


def test_files_that_contradict_each_other_are_an_error_of_the_disk():
    class Wrong(Recorder):
        def encode(self, batches):
            list(batches)
            return iter([("a", b"x"), ("a/b", b"y")])

    with pytest.raises(StateError, match="cannot be written"):
        run(driver(Wrong()))


def test_a_whole_outbox_that_is_gone_was_published_by_a_newer_process(monkeypatch):
    sink = Whole()
    made = driver(sink)
    real = SinkWorker._publish

    def publish(worker, epoch, outbox):
        for path in worker.outbox_folder.iterdir():
            path.unlink()
        return real(worker, epoch, outbox)

    monkeypatch.setattr(SinkWorker, "_publish", publish)
    with pytest.raises(FencedError, match="is gone: a newer process has published it"):
        run(made)
