"""A verb that a stream has not says what to write instead."""

from __future__ import annotations

import polars as pl
import pytest

import arrowstream as ars
from arrowstream.api.missing import missing_attribute


@pytest.fixture
def stream() -> ars.Stream:
    return ars.from_polars(pl.DataFrame({"a": [1]}))


@pytest.mark.parametrize("name", [name for name in dir(pl.LazyFrame) if not name.startswith("_")])
def test_every_verb_of_lazyframe_is_there_or_has_a_hint(name) -> None:
    if not hasattr(ars.Stream, name):
        assert "\n  hint: " in str(missing_attribute(name, ars.Stream))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sort", "a stream has no end to wait for: group_by_dynamic(...).agg(...) orders by window"),
        ("tail", "a stream has no end to count from: collect()"),
        ("pivot", "its columns would depend on the data: collect() and pivot the result"),
        ("group_by", "it comes in a later version; group_by_dynamic(...) has windows now"),
        ("join", "it comes in a later version; a small table now: "),
        ("unique", "it comes in a later version; now: group_by_dynamic(..., group_by=columns)"),
        (
            "sink_kafka",
            "it comes in a later version; now: sink_parquet and the other files, sink_batches, sink(sink)",
        ),
        ("to_pandas", "a pl.DataFrame has it: collect().to_pandas"),
        ("height", "a pl.DataFrame has it: collect().height"),
        ("fliter", "did you mean 'filter'?"),
        ("with_column", "did you mean 'with_columns'?"),
    ],
)
def test_the_hint_names_the_way_out(stream, name, hint) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(stream, name)
    assert str(caught.value).startswith(f"'Stream' has no {name!r}\n  hint: {hint}")


def test_a_name_like_no_other_has_no_hint(stream) -> None:
    with pytest.raises(AttributeError, match=r"^'Stream' has no 'xyzzy'$"):
        _ = stream.xyzzy


def test_python_and_notebooks_may_probe_a_stream(stream) -> None:
    assert not hasattr(stream, "__array__")
    assert not hasattr(stream, "_ipython_canary_method_should_not_exist_")


def test_a_stream_has_no_truth_value(stream) -> None:
    with pytest.raises(TypeError, match="the truth value of a Stream is ambiguous"):
        bool(stream)


def test_nothing_can_be_set_on_a_stream(stream) -> None:
    with pytest.raises(AttributeError):
        stream.columns = ["b"]
    with pytest.raises(AttributeError):
        stream.note = "b"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("scan_delta", "it comes in a later version; now: from_polars(pl.scan_delta(...))"),
        ("scan_kafka", "it comes in a later version; now: scan_parquet and the other files, from_arrow, "),
        ("scan_parqet", "did you mean 'scan_parquet'?"),
    ],
)
def test_a_name_that_the_package_has_not(name, hint) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(ars, name)
    assert str(caught.value).startswith(f"module 'arrowstream' has no attribute {name!r}\n  hint: {hint}")


def test_names_like_no_other_and_private_ones_have_no_hint() -> None:
    for name in ("xyzzy", "_scan_csv"):
        with pytest.raises(AttributeError, match=f"^module 'arrowstream' has no attribute '{name}'$"):
            getattr(ars, name)
