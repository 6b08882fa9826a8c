"""Kernels are compiled ahead, once a machine, for the very types that queries use."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from arrowstream.kernels import notices, warmup

QUERIES = """
import json
import tempfile
from pathlib import Path
from numba.core.dispatcher import Dispatcher
import polars as pl
import arrowstream as ars
from arrowstream.connectors.files.avro import AvroFormat
from arrowstream.kernels import aggregate, avro_blocks, avro_decode, avro_encode, clocks, groups
from arrowstream.kernels import json_decode, keys, notices, warmup

compiled = []
with notices.compilations(compiled.append):
    warmup.warmup()


def known():
    kernels = {
        f"{module.__name__}.{name}": kernel
        for module in (aggregate, avro_blocks, avro_decode, avro_encode, clocks, groups, json_decode, keys)
        for name, kernel in vars(module).items()
        if isinstance(kernel, Dispatcher) and not name.startswith("_")
    }
    kernels |= {f"assign {words}": groups.assigner(words) for words in range(1, warmup.WORDS_MAX + 1)}
    return {f"{name}{signature}" for name, kernel in kernels.items() for signature in kernel.signatures}


n = 200_000
i = pl.int_range(n, eager=True)
rows = pl.select(
    t=(i * 1_000 + i * 7919 % 50_000).cast(pl.Datetime("us")),
    k=i * 31 % 1_000,
    s=pl.when(i % 11 > 0).then("channel number " + (i % 17).cast(pl.String)),
    c=("c" + (i % 5).cast(pl.String)).cast(pl.Categorical),
    x=pl.when(i % 7 > 0).then(i),
    u=i.cast(pl.UInt64),
    y=(i / 3).cast(pl.Float32),
    f=i / 7,
    b=i % 2 == 0,
)
everything = [pl.len()]
for name in "xufyb":
    for kind in ("count", "sum", "min", "max", "mean", "var", "std", "first", "last"):
        everything.append(getattr(pl.col(name), kind)().alias(f"{name} {kind}"))
everything += [pl.col("b").any().alias("any"), pl.col("b").all().alias("all")]


def runs(source, options):
    windows = source.group_by_dynamic("t", **options)
    windows.agg(everything).collect(progress=False)
    windows.agg(pl.col("x").median()).collect(progress=False)
    windows.late().collect(progress=False)


before = known()
for lateness in (None, "0us", "20ms"):
    for keys_of in (None, "k", "s", "c", ["k", "s"], ["c", "s"]):
        for period in ("10s", "20s", "3s"):
            if lateness is None or keys_of in ("k", ["k", "s"]):
                source = ars.from_polars(rows, event_time="t", lateness=lateness)
                runs(source, {"every": "10s", "period": period, "group_by": keys_of})
runs(ars.from_polars(rows, event_time="t"), {"every": "1mo", "group_by": "s"})
with tempfile.TemporaryDirectory() as folder:
    source = ars.from_polars(rows, event_time="t", lateness="20ms")
    windows = source.group_by_dynamic("t", every="10s", period="20s", group_by=["k", "s"])
    job = windows.agg(everything).sink_parquet(folder + "/out")
    job.run(checkpoint=folder + "/state", checkpoint_every=50_000, progress=False)
    ars.from_polars(rows.drop("u"), event_time="t").sink_avro(folder + "/avro").run(progress=False)
    (path,) = Path(folder + "/avro").glob("*.avro")
    with path.open("rb") as file:
        names = AvroFormat().schema(file, "").names()
        file.seek(0)
        options = {"schema": None, "columns": names, "resume": None, "on_error": "raise"}
        assert sum(block.frame.height for block in AvroFormat().blocks(file, "", **options)) == n
    ars.from_polars(rows, event_time="t").sink_ndjson(folder + "/json").run(progress=False)
    assert ars.scan_ndjson(folder + "/json", schema=rows.schema).collect(progress=False).height == n
print(json.dumps({"compiled": compiled, "met later": sorted(known() - before)}))
"""


def test_steps_are_told():
    told = []
    count = warmup.warmup(lambda name, done, total: told.append((name, done, total)))
    names = [name for name, _, _ in told]
    assert len(names) == len(set(names)) == count
    assert [(done, total) for _, done, total in told] == [(done, count) for done in range(count)]
    assert {"count", "intern", "assign_1", "assign_5"} <= set(names)


def test_what_is_compiled_already_is_not_compiled_again():
    warmup.warmup()
    compiled = []
    with notices.compilations(compiled.append):
        warmup.warmup()
    assert compiled == []


@pytest.fixture(scope="module")
def report():
    warmup.warmup()  # this process fills the cache, another one reads it
    done = subprocess.run([sys.executable, "-c", QUERIES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_another_process_finds_all_kernels_in_the_cache(report):
    assert report["compiled"] == []


def test_queries_need_no_other_types_than_those_compiled_ahead(report):
    assert report["met later"] == []
