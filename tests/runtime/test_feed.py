"""The feed against the merge written out in plain Python."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass, field
from itertools import cycle

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.config import DEAD, DEAD_DTYPE, END_OF_TIME, NO_TIME, PARTITION
from arrowstream.connectors.files.columnar_source import ParquetSource
from arrowstream.connectors.files.options import FileOptions
from arrowstream.errors import ConnectorError, DataError
from arrowstream.runtime import feed as feed_module
from arrowstream.runtime.feed import Feed

SCHEMA = pl.Schema({"t": pl.Datetime("us"), "id": pl.Int64})


@dataclass
class ListReader:
    frame: pl.DataFrame
    row: int
    sizes: list[int]
    fails_at: int | None = None
    closed: int = 0
    most_rows: int = 0

    def __post_init__(self):
        self._sizes = cycle(self.sizes)

    def read(self, max_rows):
        rows = min(max_rows, next(self._sizes))
        if self.fails_at is not None and self.row >= self.fails_at:
            raise ZeroDivisionError("boom")
        if self.row >= self.frame.height:
            return None
        piece = self.frame[self.row : self.row + rows]
        self.row += piece.height
        return piece, self.row

    def horizon(self, position, skip):
        times = self.frame["t"].to_physical()[(position or 0) + skip :].drop_nulls()
        return times.min() if times.len() else END_OF_TIME

    def close(self):
        self.closed += 1


@dataclass
class ListSource:
    """Partitions from lists of times; the ids say partition and row."""

    times: list[list[int | None]]
    sizes: list[int] = field(default_factory=lambda: [3])
    fails_at: dict[int, int] = field(default_factory=dict)
    bounded: bool = True
    replayable: bool = True

    def __post_init__(self):
        self.readers: list[ListReader] = []

    @property
    def schema(self):
        return SCHEMA.to_arrow()

    def partitions(self):
        return [f"p{index}" for index in range(len(self.times))]

    def open(self, partition, position):
        index = int(partition[1:])
        frame = pl.DataFrame(
            {"t": self.times[index], "id": [index * 1000 + row for row in range(len(self.times[index]))]},
            schema={"t": pl.Int64, "id": pl.Int64},
        ).with_columns(pl.col("t").cast(pl.Datetime("us")))
        self.readers.append(ListReader(frame, position or 0, self.sizes, self.fails_at.get(index)))
        return self.readers[-1]


def merge_oracle(times: list[list[int | None]], *, by_time: bool = True) -> list[int]:
    """Ids in the order of (running maximum, partition, position)."""
    rows = []
    for index, column in enumerate(times):
        maximum = NO_TIME
        for row, value in enumerate(column):
            if value is not None and by_time:
                maximum = max(maximum, value)
            rows.append((maximum, index, row))
    return [index * 1000 + row for _, index, row in sorted(rows)]


def ended_oracle(times: list[list[int | None]], last: int) -> frozenset[int]:
    """Partitions whose last row lies before the row with id `last` in the merge."""
    keys = []
    for index, column in enumerate(times):
        known = [value for value in column if value is not None]
        keys.append((max(known, default=NO_TIME), index))
    index, row = divmod(last, 1000)
    known = [value for value in times[index][: row + 1] if value is not None]
    key = (max(known, default=NO_TIME), index)
    return frozenset(partition for partition, end in enumerate(keys) if end < key)


def take(feed: Feed, rows_max: int | None) -> pl.DataFrame | None:
    """The next frame; None at the end."""
    for _ in range(100):
        frame = feed.next(rows_max, 0.1)
        if isinstance(frame, str):
            return None
        if frame is not None:
            assert 0 < frame.height <= (rows_max or frame.height)
            return frame
    pytest.fail("the feed hangs")


def ids_left(feed: Feed) -> list[int]:
    ids: list[int] = []
    while (frame := take(feed, None)) is not None:
        ids += frame["id"].to_list()
        if PARTITION in frame.columns:
            assert frame[PARTITION].dtype == pl.UInt32
            assert frame[PARTITION].to_list() == [number // 1000 for number in frame["id"].to_list()]
    return ids


column = st.lists(st.one_of(st.none(), st.integers(-5, 30)), max_size=25)
columns = st.lists(column, min_size=1, max_size=5)
sizes = st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any)


@settings(max_examples=300, deadline=None)
@given(times=columns, read=sizes, handed=sizes, queue_bytes=st.sampled_from([0, 200, 1 << 20]))
def test_the_order_depends_on_nothing_but_the_rows(times, read, handed, queue_bytes):
    feed = Feed(ListSource(times, read), event_time="t", queue_bytes=queue_bytes)
    ids = []
    for rows_max in cycle(handed):
        frame = take(feed, rows_max or None)
        if frame is None:
            break
        ids += frame["id"].to_list()
    feed.close()
    assert ids == merge_oracle(times)


@settings(max_examples=200, deadline=None)
@given(times=columns, read=sizes, read_again=sizes, handed=st.lists(st.integers(1, 7), max_size=5))
def test_a_new_feed_goes_on_where_the_cursors_say(times, read, read_again, handed):
    feed = Feed(ListSource(times, read), event_time="t")
    ids: list[int] = []
    over = False
    for rows_max in handed:
        frame = take(feed, rows_max)
        over = frame is None
        if frame is None:
            break
        ids += frame["id"].to_list()
    cursors, horizon, ended = feed.cursors(), feed.horizon(), feed.ended()
    feed.close()
    again = Feed(ListSource(times, read_again), event_time="t", cursors=cursors)
    assert (again.horizon(), again.ended()) == (horizon, ended)
    assert ids + ids_left(again) == merge_oracle(times)
    assert again.ended() == frozenset(range(len(times)))
    assert again.horizon() == END_OF_TIME
    again.close()
    if over:
        assert ended == frozenset(range(len(times)))
    elif ids:
        assert ended == ended_oracle(times, ids[-1])
        left = [value for column in rows_left(times, ids) for value in column if value is not None]
        assert horizon == min(left, default=END_OF_TIME)


@dataclass
class DeadReader:
    """Gives the rows of another reader; those without a time and with an odd id cannot be read."""

    reader: ListReader

    def read(self, max_rows):
        result = self.reader.read(max_rows)
        if result is None:
            return None
        frame, position = result
        is_dead = pl.col("t").is_null() & (pl.col("id") % 2 == 1)
        letter = pl.struct(
            original=pl.lit(b"{"), error=pl.lit("bad"), source=pl.lit("f"), position=pl.col("id").cast(str)
        )
        frame = frame.with_columns(
            pl.when(~is_dead).then("id").alias("id"),
            pl.when(is_dead).then(letter).cast(DEAD_DTYPE).alias(DEAD),
        )
        return (frame if frame[DEAD].count() else frame.drop(DEAD)), position

    def close(self):
        self.reader.close()


class DeadSource(ListSource):
    def open(self, partition, position):
        return DeadReader(super().open(partition, position))


def slots_of(frame: pl.DataFrame) -> list[int]:
    if DEAD not in frame.columns:
        return frame["id"].to_list()
    assert frame.schema[DEAD] == DEAD_DTYPE
    dead = pl.col(DEAD).struct.field("position").cast(pl.Int64)
    return frame.select(pl.coalesce("id", dead)).to_series().to_list()


@settings(max_examples=200, deadline=None)
@given(times=columns, read=sizes, handed=sizes, read_again=sizes, stop=st.integers(0, 40))
def test_dead_slots_keep_their_places_and_are_counted_by_cursors(times, read, handed, read_again, stop):
    feed = Feed(DeadSource(times, read), event_time="t")
    slots = []
    for rows_max in cycle(handed):
        if len(slots) >= stop:
            break
        frame = take(feed, rows_max or None)
        if frame is None:
            break
        slots += slots_of(frame)
    cursors = feed.cursors()
    feed.close()
    rest = Feed(DeadSource(times, read_again), event_time="t", cursors=cursors)
    while (frame := take(rest, None)) is not None:
        slots += slots_of(frame)
    rest.close()
    assert slots == merge_oracle(times)


def rows_left(times: list[list[int | None]], ids: list[int]) -> list[list[int | None]]:
    seen = set(ids)
    return [
        [value for row, value in enumerate(column) if index * 1000 + row not in seen]
        for index, column in enumerate(times)
    ]


@settings(max_examples=50, deadline=None)
@given(times=columns, read=sizes)
def test_without_event_time_one_partition_comes_after_the_other(times, read):
    feed = Feed(ListSource(times, read))
    assert ids_left(feed) == merge_oracle(times, by_time=False)
    assert feed.horizon() == END_OF_TIME
    feed.close()


def test_twenty_partitions_have_eight_threads():
    times = [[value * 3 + index for value in range(30)] for index in range(20)]
    before = threading.active_count()
    feed = Feed(ListSource(times, [4]), event_time="t", queue_bytes=0)
    assert threading.active_count() <= before + 8
    assert ids_left(feed) == merge_oracle(times)
    feed.close()
    assert threading.active_count() == before


def test_one_partition_is_handed_out_as_it_was_read():
    source = ListSource([[1, 2, 3, 4]], [4])
    feed = Feed(source, event_time="t")
    frame = take(feed, None)
    assert frame is not None
    assert frame.columns == ["t", "id"]
    handed, read = frame["id"].to_arrow().buffers()[1], source.readers[0].frame["id"].to_arrow().buffers()[1]
    assert handed.address == read.address
    feed.close()


def test_what_has_piled_up_comes_in_one_frame():
    source = ListSource([list(range(12))], [3])
    feed = Feed(source, event_time="t")
    wait_until(lambda: source.readers[0].row == 12)
    wait_until(lambda: feed._lanes[0].exhausted)
    frame = take(feed, None)
    assert frame is not None
    assert frame.height == 12
    feed.close()


def test_batch_rows_bounds_a_frame():
    feed = Feed(ListSource([list(range(10))], [10]), event_time="t", batch_rows=4)
    frames = []
    while (frame := take(feed, None)) is not None:
        frames.append(frame.height)
    assert frames == [4, 4, 2]
    feed.close()


def test_a_cursor_is_plain_json_and_says_position_and_skip():
    feed = Feed(ListSource([[5, 6, 7], [1, 9, None]], [2]), event_time="t")
    assert take(feed, 2)["id"].to_list() == [1000, 0]
    assert feed.cursors() == {
        "p0": {"position": None, "skip": 1, "max": 5, "ended": False},
        "p1": {"position": None, "skip": 1, "max": 1, "ended": False},
    }
    assert ids_left(feed) == [1, 2, 1001, 1002]
    assert feed.cursors()["p0"] == {"position": 3, "skip": 0, "max": 7, "ended": True}
    feed.close()


def test_read_ahead_stays_within_the_bytes_and_at_least_one_batch():
    rows = list(range(1000))
    source = ListSource([rows, rows], [10])
    feed = Feed(source, event_time="t", queue_bytes=1000)  # 16 bytes a row, 500 for each partition
    wait_until(lambda: all(reader.row == 30 for reader in source.readers))
    for _ in range(50):
        assert take(feed, 7) is not None
        assert all(lane.held_bytes <= 500 for lane in feed._lanes)
    feed.close()
    source = ListSource([rows, rows], [100])
    feed = Feed(source, event_time="t", queue_bytes=1)
    wait_until(lambda: all(reader.row == 100 for reader in source.readers))
    assert ids_left(feed) == merge_oracle([rows, rows])
    feed.close()


def test_next_gives_none_when_nothing_comes_in_time():
    release = threading.Event()

    class Slow(ListSource):
        def open(self, partition, position):
            reader = super().open(partition, position)
            read = reader.read
            reader.read = lambda max_rows: release.wait(30) and read(max_rows)
            return reader

    source = Slow([[1, 2]])
    feed = Feed(source, event_time="t")
    assert feed.next(None, 0.01) is None
    release.set()
    assert take(feed, None).height == 2
    feed.close()


def test_empty_batches_move_the_position():
    class Ticking(ListSource):
        def open(self, partition, position):
            reader = super().open(partition, position)
            answers = iter([(pl.DataFrame(schema=SCHEMA), 7), None])
            reader.read = lambda _: next(answers)
            return reader

    feed = Feed(Ticking([[]]), event_time="t")
    assert take(feed, None) is None
    assert feed.cursors()["p0"]["position"] == 7
    feed.close()


def test_record_batches_are_taken_too():
    class Arrow(ListSource):
        def open(self, partition, position):
            reader = super().open(partition, position)
            read = reader.read
            reader.read = lambda n: (
                (r := read(n))
                and (
                    pa.table(r[0]).combine_chunks().to_batches()[0],
                    r[1],
                )
            )
            return reader

    feed = Feed(Arrow([[3, 4], [1]]), event_time="t")
    assert ids_left(feed) == [1000, 0, 1]
    feed.close()


@pytest.mark.parametrize("times", [[[1, 2, 3, 4]], [[1, 2, 3, 4], [5]]])
def test_an_exception_of_a_reader_comes_out_with_the_partition(times):
    feed = Feed(ListSource(times, [2], fails_at={0: 2}), event_time="t")
    assert take(feed, None)["id"].to_list() == [0, 1]
    for _ in range(2):
        with pytest.raises(
            ConnectorError, match="reading partition 'p0' failed: ZeroDivisionError: boom"
        ) as e:
            take(feed, None)
        assert e.value.partition == "p0"
        assert isinstance(e.value.__cause__, ZeroDivisionError)
    feed.close()


def test_a_panic_comes_out_too():
    class Panicking(ListSource):
        def open(self, partition, position):
            reader = super().open(partition, position)

            def read(_):
                raise BaseException("panic")  # noqa: TRY002

            reader.read = read
            return reader

    feed = Feed(Panicking([[1]]), event_time="t")
    with pytest.raises(ConnectorError, match="BaseException: panic"):
        take(feed, None)
    feed.close()


def test_a_batch_of_another_schema_is_refused():
    class Wrong(ListSource):
        def open(self, partition, position):
            reader = super().open(partition, position)
            reader.read = lambda _: (pl.DataFrame({"id": [1]}), 1)
            return reader

    feed = Feed(Wrong([[1]]), event_time="t")
    with pytest.raises(DataError, match="a batch of partition 'p0' has the columns") as e:
        take(feed, None)
    assert e.value.hint == "read() must return what schema promises"
    feed.close()


def test_close_closes_every_reader_once_and_stops_the_threads():
    before = threading.active_count()
    source = ListSource([list(range(1000))] * 3, [1])
    feed = Feed(source, event_time="t", queue_bytes=0)
    take(feed, 1)
    feed.close()
    feed.close()
    assert [reader.closed for reader in source.readers] == [1, 1, 1]
    assert threading.active_count() == before


def test_close_does_not_wait_for_a_reader_that_blocks(monkeypatch):
    monkeypatch.setattr(feed_module, "_JOIN_S", 0.05)
    release, blocked = threading.Event(), threading.Event()

    class Blocking(ListSource):
        def open(self, partition, position):
            reader = super().open(partition, position)

            def read(_):
                blocked.set()
                release.wait(30)

            reader.read = read
            return reader

    source = Blocking([[1]])
    feed = Feed(source, event_time="t")
    assert blocked.wait(10)
    started = time.monotonic()
    feed.close()
    assert time.monotonic() - started < 5
    assert source.readers[0].closed == 0
    release.set()
    wait_until(lambda: source.readers[0].closed == 1)


def test_a_partition_that_cannot_be_opened_closes_the_others():
    class Half(ListSource):
        def open(self, partition, position):
            if partition == "p1":
                raise ConnectorError("p1 is gone")
            return super().open(partition, position)

    source = Half([[1], [2]])
    with pytest.raises(ConnectorError, match="p1 is gone"):
        Feed(source, event_time="t")
    assert source.readers[0].closed == 1


def test_dates_and_integers_order_as_well():
    class Days(ListSource):
        @property
        def schema(self):
            return pl.Schema({"d": pl.Date, "id": pl.Int64}).to_arrow()

        def open(self, partition, position):
            reader = super().open(partition, position)
            reader.frame = reader.frame.select(
                d=pl.col("t").to_physical().cast(pl.Int32).cast(pl.Date), id="id"
            )
            return reader

    feed = Feed(Days([[3, 4], [None, 1, 9]]), event_time="d")
    assert ids_left(feed) == [1000, 1001, 0, 1, 1002]
    feed.close()


@pytest.mark.parametrize("clock_by", ["scan", "file"])
def test_files_give_the_same_rows_whatever_the_bytes(tmp_path, clock_by):
    times = [[(row * 7 + index * 3) % 50 + row for row in range(400)] for index in range(20)]
    for index, column_ in enumerate(times):
        ids = [index * 1000 + row for row in range(400)]
        frame = pl.DataFrame({"t": pl.Series(column_).cast(pl.Datetime("us")), "id": ids})
        frame.write_parquet(tmp_path / f"{index}.parquet", row_group_size=90)
    source = ParquetSource(tmp_path, FileOptions(clock_by=clock_by), event_time="t")
    expected = (
        merge_oracle(times)
        if clock_by == "file"
        else [index * 1000 + row for index in range(20) for row in range(400)]
    )
    for queue_bytes in (0, 1 << 20):
        feed = Feed(source, event_time="t", queue_bytes=queue_bytes)
        assert ids_left(feed) == expected
        feed.close()
    feed = Feed(source, event_time="t")
    assert feed.horizon() == 0
    ids = []
    while len(ids) < 5555:
        ids += take(feed, 5555 - len(ids))["id"].to_list()
    assert ids == expected[:5555]
    again = Feed(source, event_time="t", cursors=feed.cursors())
    assert again.horizon() == feed.horizon() > 0
    assert ids_left(again) == expected[5555:]
    feed.close()
    again.close()


def test_a_process_ends_with_a_feed_open(tmp_path):
    for index in range(3):
        pl.DataFrame({"t": range(200_000)}).write_parquet(tmp_path / f"{index}.parquet", row_group_size=5000)
    script = f"""
        from arrowstream.connectors.files.columnar_source import ParquetSource
        from arrowstream.connectors.files.options import FileOptions
        from arrowstream.runtime.feed import Feed
        feeds = []
        for clock_by in ("scan", "file"):
            source = ParquetSource({str(tmp_path)!r}, FileOptions(clock_by=clock_by), event_time="t")
            feeds.append(Feed(source, event_time="t", queue_bytes=1))
            while feeds[-1].next(100, 1) is None:
                pass
        print("end")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        timeout=60,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def wait_until(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.005)
    pytest.fail("it never happens")
