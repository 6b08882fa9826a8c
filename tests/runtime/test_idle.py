"""Partitions that join, idle, come back and go: the merge, the clocks, and what is late."""

from __future__ import annotations

import threading
import time
from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.config import END_OF_TIME, NO_TIME, PARTITION
from arrowstream.errors import ConnectorError
from arrowstream.plan import build
from arrowstream.runtime.feed import Feed
from arrowstream.runtime.local import start_job
from arrowstream.runtime.options import run_options
from arrowstream.runtime.turns import Turn
from arrowstream.runtime.watermark import PartitionClocks

START = datetime(2026, 1, 1)
SCHEMA = pl.Schema({"t": pl.Datetime("us"), "id": pl.Int64})

pytestmark = pytest.mark.usefixtures("no_threads_left")


class Topic:
    """A source whose partitions are made, filled and closed by the test; positions are counts of rows."""

    bounded = False
    replayable = True
    polars_schema = SCHEMA

    def __init__(self, idle_timeout=None):
        self.idle_timeout = idle_timeout
        self.rows: dict[str, list[tuple[int, int]]] = {}
        self.closed: set[str] = set()
        self.retired: list[str] = []
        self.failure = None
        self._changed = threading.Condition()
        self._news: list[str] = []

    @property
    def schema(self):
        return SCHEMA.to_arrow()

    def partitions(self):
        return []

    def open(self, partition, position):
        return TopicReader(self, partition, position or 0)

    def put(self, **rows):
        """Seconds and ids by partition, all of them at once."""
        with self._changed:
            for partition, pairs in rows.items():
                self.rows.setdefault(partition, []).extend(pairs)
            self._news += list(rows)
            self._changed.notify_all()

    def end(self, partition):
        with self._changed:
            self.closed.add(partition)
            self._news.append(partition)
            self._changed.notify_all()

    def follow(self, positions, state):
        return TopicFollowing(self, positions, state)


class TopicFollowing:
    def __init__(self, topic, positions, state):
        self.topic, self.positions = topic, dict(positions)
        self.remembered = dict(state or {})
        topic._news += list(topic.rows)

    def poll(self, timeout_s):
        with self.topic._changed:
            if self.topic.failure is not None:
                raise self.topic.failure
            if not self.topic._news:
                self.topic._changed.wait(timeout_s)
            news, self.topic._news = self.topic._news, []
            return news

    def open(self, partition):
        return TopicReader(
            self.topic, partition, self.positions.pop(partition, None) or self.remembered.get(partition, 0)
        )

    def retire(self, partition, position):
        self.topic.retired.append(partition)
        self.remembered[partition] = position

    def state(self):
        return dict(self.remembered)

    def waiting_for(self):
        return "waiting for the test"

    def close(self):
        pass


class TopicReader:
    def __init__(self, topic, partition, row):
        self.topic, self.partition, self.row = topic, partition, row

    def read(self, max_rows):
        rows = self.topic.rows[self.partition][self.row : self.row + max_rows]
        if not rows and self.partition in self.topic.closed:
            self.topic.closed.discard(self.partition)
            return None
        self.row += len(rows)
        frame = pl.DataFrame(rows, schema={"s": pl.Int64, "id": pl.Int64}, orient="row")
        return frame.select(t=START + pl.duration(seconds="s"), id="id").cast(SCHEMA), self.row

    def close(self):
        pass


def taken(feed, count, turns=None):
    """Ids, as soon as there are so many; and all turns, each with how many ids came before it."""
    ids: list[int] = []
    deadline = time.monotonic() + 10
    while len(ids) < count and time.monotonic() < deadline:
        frame = feed.next(None, 0.05)
        for turn in feed.turns():
            if turns is not None:
                turns.append((len(ids), turn.kind, turn.name))
        if frame is not None:
            ids += frame["id"].to_list()
    assert len(ids) == count, ids
    return ids


def test_found_together_they_are_merged_as_if_they_had_always_been_there():
    topic = Topic()
    topic.put(b=[(1, 10), (5, 11)], a=[(2, 0), (4, 1)])
    feed = Feed(topic, event_time="t")
    turns = []
    assert taken(feed, 3, turns) == [10, 0, 1]  # b is at 5, a at 4: the next of a may come before b's 5
    assert sorted(turns) == [(0, "join", "a"), (0, "join", "b")]
    topic.put(a=[(6, 2)])
    assert taken(feed, 1) == [11]
    feed.close()


def test_a_partition_without_rows_is_waited_for_until_it_is_idle():
    topic = Topic()
    topic.put(a=[(1, 0)], b=[(2, 10)])
    feed = Feed(topic, event_time="t", idle_s=0.3)
    assert taken(feed, 1) == [0]
    topic.put(a=[(50, 1)])
    assert taken(feed, 1) == [10]
    turns = []
    assert taken(feed, 1, turns) == [1]
    assert turns == [(0, "idle", "b")]
    topic.put(b=[(20, 11)])
    turns = []
    assert taken(feed, 1, turns) == [11]
    assert turns == [(0, "back", "b")]
    feed.close()


def test_without_a_timeout_it_is_waited_for():
    topic = Topic()
    topic.put(a=[(1, 0)], b=[(2, 10)])
    feed = Feed(topic, event_time="t")
    taken(feed, 1)
    topic.put(a=[(50, 1)])
    taken(feed, 1)
    assert feed.next(None, 0.3) is None
    topic.put(b=[(60, 11)])
    assert taken(feed, 1) == [1]
    feed.close()


def test_a_partition_that_has_gone_gives_its_place_to_the_next():
    topic = Topic()
    topic.put(a=[(1, 0)], b=[(2, 10)])
    feed = Feed(topic, event_time="t")
    taken(feed, 1)
    topic.end("a")
    assert taken(feed, 1) == [10]
    assert topic.retired == ["a"]
    topic.put(c=[(3, 20)], b=[(4, 11)])
    frame = None
    while frame is None:
        frame = feed.next(None, 0.05)
    assert frame[PARTITION].to_list() == [0]  # c in the place of a
    assert set(feed.cursors()) == {"b", "c", ""}
    assert feed.cursors()[""] == {"a": 1}
    topic.put(a=[(5, 1)], c=[(6, 21)], b=[(7, 12)])
    assert 1 in taken(feed, 2)
    feed.close()


def test_cursors_hold_places_and_what_is_idle():
    topic = Topic()
    topic.put(a=[(1, 0)], b=[(2, 10)], c=[(3, 20), (9, 21)])
    feed = Feed(topic, event_time="t", idle_s=0.2)
    assert taken(feed, 4) == [0, 10, 20, 21]  # the last one when a and b are idle
    cursors = feed.cursors()
    assert (cursors["a"]["idle"], cursors["b"]["idle"], cursors["c"]["idle"]) == (True, True, False)
    feed.close()
    topic.put(a=[(10, 1)], c=[(11, 22)])
    again = Feed(topic, event_time="t", idle_s=60, cursors=cursors)
    turns = []
    assert taken(again, 1, turns) == [1]
    assert turns == [(0, "back", "a")]
    assert {name: cursor["place"] for name, cursor in again.cursors().items() if name} == {
        name: cursor["place"] for name, cursor in cursors.items() if name
    }
    again.close()


def test_without_event_time_rows_come_as_they_come():
    topic = Topic()
    topic.put(a=[(1, 0)], b=[(1, 10)])
    feed = Feed(topic)
    assert sorted(taken(feed, 2)) == [0, 10]
    topic.put(b=[(1, 11)])
    assert taken(feed, 1) == [11]
    feed.close()


def test_what_polling_raises_comes_out():
    topic = Topic()
    feed = Feed(topic, event_time="t")
    topic.failure = ConnectorError("the broker is gone")
    with pytest.raises(ConnectorError, match="the broker is gone"):
        feed.next(None, 10)
    feed.close()


def test_a_partition_joins_where_the_stream_is():
    clocks = PartitionClocks(2)
    clocks.advance(np.array([100, 90]), np.array([0, 1], dtype=np.uint32))
    assert clocks.watermark(10) == 80
    clocks.join(2)
    assert clocks.watermark(10) == 80
    assert clocks.advance(np.array([5, 95]), np.array([2, 2], dtype=np.uint32)).tolist() == [90, 90]
    assert clocks.maxima.tolist() == [100, 90, 95]


def test_an_idle_partition_leaves_the_minimum_and_comes_back_where_the_stream_is():
    clocks = PartitionClocks(2)
    clocks.advance(np.array([100, 50]), np.array([0, 1], dtype=np.uint32))
    assert clocks.watermark(0) == 50
    clocks.idle.add(1)
    assert clocks.watermark(0) == 100
    assert clocks.slowest() == 0
    clocks.come_back(1)
    assert clocks.advance(np.array([60]), np.array([1], dtype=np.uint32)).tolist() == [100]
    assert clocks.watermark(0) == 100


def test_when_all_are_idle_the_largest_clock_counts_and_time_does_not_end():
    clocks = PartitionClocks(3)
    clocks.advance(np.array([100, 50]), np.array([0, 1], dtype=np.uint32))
    clocks.idle.update({0, 1})
    assert clocks.watermark(5, {2}) == 95
    assert clocks.watermark(5, {0, 1, 2}, ends=False) == 95
    assert clocks.watermark(5, {0, 1, 2}) == END_OF_TIME


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("rows"), st.integers(0, 2), st.integers(0, 50)),
            st.tuples(st.sampled_from(["idle", "back", "join"]), st.integers(0, 2), st.just(0)),
        ),
        max_size=40,
    )
)
def test_late_is_what_the_design_says(events):
    """Against: max(the row's own watermark, the stream's when its partition joined or came back)."""
    clocks = PartitionClocks(3)
    own, floor, idle, reached = [NO_TIME] * 3, [NO_TIME] * 3, set(), NO_TIME

    def stream():
        live = [max(own[p], floor[p]) for p in range(3) if p not in idle]
        everything = [max(own[p], floor[p]) for p in range(3)]
        return max(reached, min(live) if live else max(everything))

    for kind, partition, time_ in events:
        if kind == "rows":
            if partition in idle:
                continue  # it would come back first
            before = clocks.advance(np.array([time_]), np.array([partition], dtype=np.uint32))
            assert before.tolist() == [max(own[partition], floor[partition])]
            own[partition] = max(own[partition], time_)
        elif kind == "idle":
            clocks.idle.add(partition)
            idle.add(partition)
        elif kind == "back" and partition in idle:
            clocks.come_back(partition)
            idle.discard(partition)
            floor[partition] = reached
        elif kind == "join":
            clocks.join(partition)
            idle.discard(partition)
            own[partition], floor[partition] = NO_TIME, reached
        reached = stream()
        assert clocks.watermark(0, ends=False) == reached


class Sink:
    """Keeps what is published."""

    delivery = "at_least_once"

    def __init__(self):
        self.rows = []

    def open(self, generation):
        return None

    def encode(self, batches):
        return b"".join(pl.DataFrame(batch).write_ndjson().encode() for batch in batches)

    def publish(self, epoch, outbox):
        if outbox:
            self.rows += pl.read_ndjson(outbox).rows()

    def close(self):
        pass


def windows(topic, sink):
    node = build.scan(topic, event_time="t", lateness="0s")
    node = build.aggregate(build.window(node, "t", every="10s"), pl.len().alias("len"))
    return [build.sinked(node, sink, "windows")]


def wait_until(condition):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it never happens")


def test_windows_close_when_the_partition_that_held_them_is_idle(tmp_path):
    topic, sink = Topic(idle_timeout="300ms"), Sink()
    topic.put(a=[(1, 0), (25, 1)], b=[(2, 10)])
    job = start_job(
        windows(topic, sink), run_options(environment={}, checkpoint_every="20ms", checkpoint=tmp_path)
    )
    wait_until(lambda: sink.rows)
    assert [row[1] for row in sink.rows] == [2]
    assert "waiting for the test" in job.explain_silence()
    assert "idle" in job.explain_silence()
    topic.put(b=[(3, 11), (26, 12)])  # 3 is late by the clock of the stream, though not by its own
    topic.put(a=[(31, 2)])
    wait_until(lambda: len(sink.rows) == 2)
    report = job.stop()
    assert report.late_rows == 1
    assert [row[1] for row in sink.rows] == [2, 2]


def test_turns_are_in_the_plan_of_their_epoch(tmp_path):
    import json

    topic, sink = Topic(idle_timeout="200ms"), Sink()
    topic.put(a=[(1, 0)], b=[(2, 10)])
    options = run_options(environment={}, checkpoint_every="20ms", checkpoint=tmp_path)
    job = start_job(windows(topic, sink), options)
    seen = []

    def found():
        for plan in (tmp_path / "plan").glob("*.json"):
            try:
                record = json.loads(plan.read_bytes().split(b"\n", 1)[1])
            except FileNotFoundError:
                continue
            seen.extend(turn[1:] for turn in record["conditions"].get("scan", []))
        return ["idle", "a"] in seen and ["idle", "b"] in seen

    wait_until(found)
    job.stop()
    assert ["join", "a"] in seen or job.metrics.rows_in == 2  # its epoch's plan may have been collected


def test_a_job_goes_on_with_its_partitions(tmp_path):
    topic, sink = Topic(idle_timeout="10s"), Sink()
    topic.put(a=[(1, 0)], b=[(2, 10)], c=[(3, 20)])

    def options():
        return run_options(environment={}, checkpoint_every="20ms", checkpoint=tmp_path)

    job = start_job(windows(topic, sink), options())
    wait_until(lambda: job.metrics.rows_in == 1)
    topic.end("a")
    wait_until(lambda: "a" in topic.retired)
    job.stop()
    topic.put(b=[(12, 11), (40, 13)], c=[(13, 21), (41, 22)], d=[(30, 30)])
    job = start_job(windows(topic, sink), options())
    wait_until(lambda: sink.rows and job.metrics.rows_in == 6)
    report = job.stop(drain=True)
    assert report.rows_in == 6  # those up to 30 s, where d is
    assert sum(row[1] for row in sink.rows) + report.late_rows == 6


def test_stop_does_not_wait_for_rows(tmp_path):
    topic = Topic()
    job = start_job(windows(topic, Sink()), run_options(environment={}, checkpoint=tmp_path))
    time.sleep(0.1)
    began = time.monotonic()
    assert job.stop().status == "stopped"
    assert time.monotonic() - began < 3
    assert Turn("idle", 0, "a").as_json(3) == [3, "idle", "a"]


def test_a_partition_that_was_active_before_a_restart_may_become_idle():
    topic = Topic()
    topic.put(a=[(1, 0)], b=[(2, 10)])
    feed = Feed(topic, event_time="t")
    taken(feed, 1)
    topic.put(a=[(3, 1)])
    taken(feed, 1)
    cursors = feed.cursors()
    feed.close()
    topic.put(a=[(50, 2)])
    topic._news.remove("b") if "b" in topic._news else None
    again = Feed(topic, event_time="t", idle_s=0.2, cursors=cursors)
    assert taken(again, 2) == [1, 2]
    again.close()
