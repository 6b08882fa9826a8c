"""Every option of a scan, a sink and a run arrives where it is looked at: none is lost on the way."""

from __future__ import annotations

import asyncio
import inspect
from datetime import datetime

import fsspec
import polars as pl
import pytest

import arrowstream as ars
from arrowstream.connectors.files.options import FileOptions

SCHEMA = {"t": pl.Datetime("us"), "a": pl.Int64}
FRAME = pl.DataFrame({"t": [datetime(2026, 1, 1)], "a": [1]}, schema=SCHEMA)
WRITERS = {
    "csv": pl.DataFrame.write_csv,
    "ndjson": pl.DataFrame.write_ndjson,
    "avro": pl.DataFrame.write_avro,
    "ipc": pl.DataFrame.write_ipc_stream,
    "parquet": pl.DataFrame.write_parquet,
}

SCAN_VALUES = {
    "event_time": "t",
    "lateness": "5s",
    "clock_by": "file",
    "on_error": "skip",
    "schema": SCHEMA,
    "hive_partitioning": False,
    "hive_schema": {"k": pl.Int64},
    "try_parse_hive_dates": False,
    "include_file_paths": "path",
    "missing_columns": "insert",
    "extra_columns": "ignore",
    "cast_options": pl.ScanCastOptions(integer_cast="upcast"),
    "compression": "uncompressed",
    "decompressed_max": 1 << 20,
    "committed_only": True,
    "follow": True,
    "idle_timeout": "1s",
    "storage_options": {"key": "value"},
    "has_header": False,
    "separator": ";",
    "comment_prefix": "#",
    "quote_char": "'",
    "eol_char": "\r",
    "skip_rows": 1,
    "skip_lines": 1,
    "skip_rows_after_header": 1,
    "null_values": "-",
    "empty_string_is_null": False,
    "encoding": "utf8-lossy",
    "try_parse_dates": True,
    "truncate_ragged_lines": True,
    "decimal_comma": True,
    "infer_schema": False,
    "infer_schema_length": 7,
    "schema_overrides": {"a": pl.Int64},
    "new_columns": ["t", "a"],
}
NEEDED = {
    "lateness": {"event_time": "t"},
    "decimal_comma": {"separator": ";"},
    "idle_timeout": {"follow": True},
    "event_time": {"schema": SCHEMA},
}

SINK_VALUES = {
    "max_rows_per_file": 10,
    "approximate_bytes_per_file": 1_000,
    "rotate_every": "1h",
    "storage_options": {"key": "value"},
    "compression": "zstd",
    "compression_level": 3,
    "row_group_size": 10,
    "record_batch_size": 10,
    "format": "stream",
    "name": "bid",
    "include_bom": True,
    "include_header": False,
    "separator": ";",
    "line_terminator": "\r\n",
    "quote_char": "'",
    "datetime_format": "%Y",
    "date_format": "%Y",
    "time_format": "%H",
    "float_scientific": True,
    "float_precision": 2,
    "decimal_comma": True,
    "null_value": "-",
    "quote_style": "always",
}

RUN_VALUES = {
    "checkpoint": 3,
    "checkpoint_every": "soon",
    "mode": "append",
    "batch_rows": -1,
    "threads": 0,
    "memory_limit": "much",
    "progress": "perhaps",
    "runner": "spark",
}


SCANS = {name: getattr(ars, f"scan_{name}") for name in WRITERS}
SINKS = {name: getattr(ars.Stream, f"sink_{name}") for name in WRITERS}


def options_of(functions, *main):
    """Each function's name with each of its options."""
    return [
        (name, option)
        for name, function in functions.items()
        for option in inspect.signature(function).parameters
        if option not in ("self", *main)
    ]


def written(kind, folder):
    path = folder / f"1.{'arrows' if kind == 'ipc' else kind}"
    WRITERS[kind](FRAME, path)
    return path


@pytest.mark.parametrize(("kind", "option"), options_of(SCANS, "source"))
def test_options_of_scans(tmp_path, kind, option):
    path = written(kind, tmp_path)
    if option == "committed_only":
        SINKS[kind](ars.from_polars(FRAME), tmp_path / "out").run(progress=False)
        path = tmp_path / "out"
    if option == "storage_options":
        url = f"memory:/{path}"
        fsspec.filesystem("memory").pipe_file(url, path.read_bytes())
        path = url
    value = SCAN_VALUES[option]
    node = SCANS[kind](path, **{"schema": SCHEMA, **NEEDED.get(option, {}), option: value})._node
    if option in {"event_time", "lateness"}:
        assert str(getattr(node, option)).startswith(value[0])
    else:
        known = node.source._options if option in FileOptions.__slots__ else node.source._format
        assert getattr(known, option) == value
    assert node.on_error == ("skip" if option == "on_error" else "raise")  # also of rows without a time


@pytest.mark.parametrize(("kind", "option"), options_of(SINKS, "path"))
def test_options_of_sinks(kind, option):
    def made(**options):
        if option == "compression_level":
            options["compression"] = "zstd"
        if option == "decimal_comma":
            options["separator"] = ";"
        job = SINKS[kind](ars.from_polars(FRAME, event_time="t"), "memory://out", **options)
        job._forgotten.detach()
        sink = job._node.sink
        return sink.encoding, sink.division, sink.storage_options

    value = "uncompressed" if (kind, option) == ("parquet", "compression") else SINK_VALUES[option]
    assert made(**{option: value}) != made()


async def awaited(stream, **options):
    return [frame async for frame in stream.iter_batches_async(**options)]


RUNS = {
    "collect": lambda stream, options: stream.collect(**options),
    "iter_batches": lambda stream, options: list(stream.iter_batches(**options)),
    "collect_async": lambda stream, options: asyncio.run(stream.collect_async(**options)),
    "iter_batches_async": lambda stream, options: asyncio.run(awaited(stream, **options)),
    "Job.run": lambda stream, options: job_of(stream).run(**options),
    "Job.start": lambda stream, options: job_of(stream).start(**options),
    "run": lambda stream, options: ars.run([job_of(stream)], **options),
    "start": lambda stream, options: ars.start([job_of(stream)], **options),
}
SIGNATURES = {
    name: getattr(ars.Job, name[4:]) if "." in name else getattr(ars, name, None) or getattr(ars.Stream, name)
    for name in RUNS
}


def job_of(stream):
    job = stream.sink_batches(lambda _: None)
    job._forgotten.detach()
    return job


@pytest.mark.parametrize(("how", "option"), options_of(SIGNATURES, "jobs"))
def test_options_of_runs(how, option):
    """Each says what is wrong with a value that it cannot have."""
    with pytest.raises((ars.PlanError, NotImplementedError), match=option):
        RUNS[how](ars.from_polars(FRAME), {option: RUN_VALUES[option]})


ROWS = pl.DataFrame(
    {
        "t": [datetime(2026, 1, 1, 0, 0, second) for second in (1, 4, 12)],
        "a": [1, 300, None],
        "x": [0.5, None, 2.0],
        "l": [[1, 2], [3], [4]],
        "m": [["p", "q"], ["r"], ["s"]],
        "s": [{"u": 1}, {"u": 2}, {"u": 3}],
        "v": [{"w": 1}, {"w": 2}, {"w": 3}],
    }
)
VERBS = {
    "cast": lambda rows: rows.cast({"a": pl.Int8}, strict=False),
    "drop": lambda rows: rows.drop("a", "nothing", strict=False),
    "rename": lambda rows: rows.rename({"a": "b", "nothing": "c"}, strict=False),
    "explode": lambda rows: rows.explode("l", "m"),
    "unnest": lambda rows: rows.unnest("s", "v"),
    "unpivot": lambda rows: rows.unpivot("a", index="t", variable_name="name", value_name="is"),
    "fill_null": lambda rows: rows.fill_null(0, matches_supertype=False),
    "fill_null by strategy": lambda rows: rows.fill_null(strategy="one"),
    "drop_nulls": lambda rows: rows.drop_nulls("x"),
    "filter": lambda rows: rows.filter(pl.col("x") > 0, a=1),
    "remove": lambda rows: rows.remove(pl.col("x") > 0, a=1),
    "select": lambda rows: rows.select("a", double=pl.col("a") * 2),
    "with_columns": lambda rows: rows.with_columns(pl.col("a") * 2, double=pl.col("a") * 2),
    "limit": lambda rows: rows.limit(2),
    "group_by_dynamic": lambda rows: (
        rows.group_by_dynamic("t", every="10s", offset="3s", label="right", include_boundaries=True)
        .agg(pl.col("a").sum(), n=pl.len())
        .with_columns(pl.col("n").cast(pl.Int64))
    ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_do_what_those_of_polars_do(verb):
    """Called with options other than the defaults."""
    expected = VERBS[verb](ROWS.lazy()).collect()
    assert VERBS[verb](ars.from_polars(ROWS, event_time="t")).collect(progress=False).equals(expected)
    assert not expected.equals(ROWS)


BEGINNINGS = {
    "from_polars": lambda **options: ars.from_polars(FRAME, **options),
    "from_arrow": lambda **options: ars.from_arrow(FRAME.to_arrow(), **options),
    "from_batches": lambda **options: ars.from_batches([FRAME], schema=SCHEMA, **options),
    "with_event_time": lambda event_time, **options: ars.from_polars(FRAME).with_event_time(
        event_time, **options
    ),
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_event_time_however_a_stream_begins(beginning):
    node = BEGINNINGS[beginning](event_time="t", lateness="5s", on_error="skip")._node
    assert (node.event_time, node.lateness, node.on_error) == ("t", 5_000_000, "skip")


def test_a_time_to_wait_that_is_none():
    live = job_of(ars.from_polars(FRAME)).start()
    for wait in (live.wait, live.stop):
        with pytest.raises(ars.PlanError, match="timeout='soon' is not a length of time"):
            wait(timeout="soon")
    live.wait()


def test_columns_about_a_row(tmp_path):
    named = {"file": "from", "row": "number", "processing_time": "at", "batch": "epoch"}
    rows = ars.scan_csv(written("csv", tmp_path)).with_metadata(**named)
    assert rows.columns == ["t", "a", *named.values()]
