"""What `pl.LazyFrame` has and a stream has not, with the way out of each."""

from __future__ import annotations

from typing import Final, NoReturn

import polars as pl

from arrowstream.errors import nearest

_SORTED = (
    "a stream has no end to wait for: group_by_dynamic(...).agg(...) orders by window, "
    "or collect() and sort the result"
)
_WHOLE = "it needs all rows: use group_by_dynamic(...).agg({0}), or collect() and call it on the result"
_OTHER_ROWS = "it looks at other rows: use group_by_dynamic(...).agg(...), or collect() and call it there"
_LATER = "it comes in a later version"
_WINDOWS_NOW = f"{_LATER}; group_by_dynamic(...) has windows now"
_SINKS_NOW = f"{_LATER}; now: sink_parquet and the other files, sink_batches, sink(sink)"

_HINTS: Final = {
    "approx_n_unique": _WHOLE.format("pl.col(...).approx_n_unique()"),
    "bottom_k": _WHOLE.format("pl.col(...).bottom_k(k)"),
    "cache": "jobs that run together share their input: ars.run([job, job])",
    "clear": "pl.DataFrame(schema=stream.schema) is an empty frame of this schema",
    "clone": "a Stream is immutable: use it as often as you like",
    "collect_batches": "use iter_batches()",
    "concat": _LATER,
    "count": _WHOLE.format("pl.all().count()"),
    "describe": "collect() and call it on the result",
    "deserialize": "a query is Python code: import the function that builds it",
    "drop_nans": "use filter(pl.col(...).is_not_nan())",
    "execute": "use collect()",
    "fill_nan": "use with_columns(pl.col(...).fill_nan(value))",
    "first": "use limit(1)",
    "from_lazyframe_resolver": "use ars.from_polars(lazy_frame)",
    "gather": _OTHER_ROWS,
    "gather_every": _OTHER_ROWS,
    "group_by": _WINDOWS_NOW,
    "group_by_count": _WINDOWS_NOW,
    "group_by_session": _WINDOWS_NOW,
    "inspect": "use map_batches(function) to look at the rows, or show()",
    "interpolate": _OTHER_ROWS,
    "join": f"{_LATER}; a small table now: with_columns(pl.col(...).replace_strict(old, new))",
    "join_asof": _LATER,
    "join_where": _LATER,
    "last": _WHOLE.format("pl.all().last()"),
    "lazy": "a Stream is lazy; collect().lazy() gives a pl.LazyFrame of the result",
    "match_to_schema": "use select(...) and cast(...)",
    "max": _WHOLE.format("pl.all().max()"),
    "mean": _WHOLE.format("pl.all().mean()"),
    "median": _WHOLE.format("pl.all().median()"),
    "merge_sorted": _LATER,
    "min": _WHOLE.format("pl.all().min()"),
    "null_count": _WHOLE.format("pl.all().null_count()"),
    "pipe_with_schema": "use pipe(function): stream.schema is known without running",
    "pivot": "its columns would depend on the data: collect() and pivot the result",
    "quantile": _WHOLE.format("pl.all().quantile(q)"),
    "remote": "it runs here: collect()",
    "reverse": _SORTED,
    "rolling": _WINDOWS_NOW,
    "route": f"{_LATER}; now: one filter(...) for each way",
    "sample": f"{_LATER}; now: filter(pl.col(...).hash() % 10 == 0)",
    "select_seq": "use select(...)",
    "serialize": "a query is Python code: import the function that builds it",
    "set_sorted": "name the event time instead: with_event_time(column)",
    "shift": _OTHER_ROWS,
    "sink_database": _SINKS_NOW,
    "sink_delta": _SINKS_NOW,
    "sink_iceberg": _SINKS_NOW,
    "sink_kafka": _SINKS_NOW,
    "slice": "use limit(n), or collect() and slice the result",
    "sort": _SORTED,
    "sql": f"{_LATER}; now: pl.sql_expr(...) in select and filter",
    "std": _WHOLE.format("pl.all().std()"),
    "sum": _WHOLE.format("pl.all().sum()"),
    "tail": "a stream has no end to count from: collect() and call it on the result",
    "top_k": _WHOLE.format("pl.col(...).top_k(k)"),
    "unique": f"{_LATER}; now: group_by_dynamic(..., group_by=columns).agg(pl.all().first())",
    "update": _LATER,
    "var": _WHOLE.format("pl.all().var()"),
    "with_columns_seq": "use with_columns(...)",
    "with_row_index": "the number of a row depends on all rows before it: collect() and call it there",
}


_SCANS_NOW = (
    f"{_LATER}; now: scan_parquet and the other files, from_arrow, from_polars, from_batches, scan(source)"
)
_LATER_NAMES: Final = {
    "scan_delta": f"{_LATER}; now: from_polars(pl.scan_delta(...))",
    "scan_iceberg": f"{_LATER}; now: from_polars(pl.scan_iceberg(...))",
    **dict.fromkeys(("scan_amqp", "scan_http", "scan_kafka", "scan_mqtt", "scan_websocket"), _SCANS_NOW),
    "concat": f"{_LATER}; files of one scan are read one after another: scan_parquet([first, second])",
    "union": _LATER,
    "read_parquet": "use scan_parquet(...).collect()",
    "read_ipc": "use scan_ipc(...).collect()",
}


def missing_name(name: str) -> NoReturn:
    """Raise the error for a name that the package has not (PEP 562).

    Examples
    --------
    >>> import arrowstream
    >>> arrowstream.scan_delta
    Traceback (most recent call last):
        ...
    AttributeError: module 'arrowstream' has no attribute 'scan_delta'
      hint: it comes in a later version; now: from_polars(pl.scan_delta(...))
    """
    text = f"module 'arrowstream' has no attribute {name!r}"
    if name.startswith("_"):
        raise AttributeError(text)
    import arrowstream

    hint = _LATER_NAMES.get(name)
    if hint is None and (found := nearest(name, arrowstream.__all__)):
        hint = f"did you mean {found!r}?"
    raise AttributeError(f"{text}\n  hint: {hint}" if hint else text)


def missing_attribute(name: str, has: type) -> AttributeError:
    """The error for an attribute that a stream has not.

    Examples
    --------
    >>> print(missing_attribute("tail", str))
    'str' has no 'tail'
      hint: a stream has no end to count from: collect() and call it on the result
    """
    text = f"{has.__name__!r} has no {name!r}"
    if name.startswith("_"):  # Python, IPython and others probe for these
        return AttributeError(text)
    hint = _HINTS.get(name)
    if hint is None and hasattr(pl.DataFrame, name):
        hint = f"a pl.DataFrame has it: collect().{name}"
    if hint is None and (found := nearest(name, (own for own in dir(has) if not own.startswith("_")))):
        hint = f"did you mean {found!r}?"
    return AttributeError(f"{text}\n  hint: {hint}" if hint else text)
