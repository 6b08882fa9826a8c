"""Reading a file of each format into memory, and writing one from memory, as each library does it best.

Everybody is told the types, so that parsing is compared and not guessing. Reading ends with the whole
table in memory; writing begins with it, made before the clock starts. arrowstream makes durable what it
writes; each library writes as it does by itself, and once more with an fsync after it.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
from peers import query_duckdb
from question import Question, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from question import Input, Result

SCHEMA = pl.Schema(
    {
        "auction": pl.Int64,
        "bidder": pl.Int64,
        "price": pl.Int64,
        "channel": pl.String,
        "date_time": pl.Datetime("us"),
    }
)
ARROW = SCHEMA.to_arrow(compat_level=pl.CompatLevel.oldest())  # PyArrow does not parse to string views
KEYS = ["date_time", "auction", "bidder", "price", "channel"]
DUCKDB = {
    "auction": "BIGINT",
    "bidder": "BIGINT",
    "price": "BIGINT",
    "channel": "VARCHAR",
    "date_time": "TIMESTAMP",
}
TITLES = {"parquet": "Parquet", "ipc": "Arrow IPC", "csv": "CSV", "ndjson": "JSON lines", "avro": "Avro"}
ROWS_FACTORS = {"parquet": 0.5, "ipc": 0.5, "csv": 0.2, "ndjson": 0.2, "avro": 0.2}


def reading(kind: str) -> Question:
    """Read one file of a format."""
    contenders = {"arrowstream": lambda data: _read(kind, data), **READERS[kind]}
    return _question(
        kind,
        "Reading",
        f"one file of {TITLES[kind]}, the types given, into memory",
        contenders=contenders,
        against=[_peers(READERS[kind])],
        keys=KEYS,
    )


def writing(kind: str) -> Question:
    """Write the rows as a format."""
    plain = _peers(WRITERS[kind])
    durable = {f"{name}, fsync": functools.partial(_write_durably, WRITERS[kind][name]) for name in plain}
    contenders = {"arrowstream": lambda data: _write(kind, data), **durable, **WRITERS[kind]}
    asks = f"rows in memory to {TITLES[kind]}, made durable by arrowstream, and by others with fsync"
    return _question(kind, "Writing", asks, contenders=contenders, against=[list(durable), plain], keys=[])


def _peers(contenders: Iterable[str]) -> list[str]:
    """Those that arrowstream should keep up with."""
    return [name for name in contenders if name != "fastavro"]


def _question(
    kind: str,
    doing: str,
    asks: str,
    *,
    contenders: Mapping[str, Callable[[Input], Result]],
    against: Sequence[Sequence[str]],
    keys: Sequence[str],
) -> Question:
    targets = [Target("arrowstream", peers, at_least=0.9) for peers in against]
    if "fastavro" in contenders:
        targets.append(Target("arrowstream", ["fastavro"], at_least=5))
    return Question(
        title=f"{doing} {TITLES[kind]}",
        asks=asks,
        contenders=contenders,
        targets=targets,
        keys=keys,
        rows_factor=dict.fromkeys(contenders, ROWS_FACTORS[kind]),
        input=kind,
    )


def _read(kind: str, data: Input) -> Result:
    import arrowstream as ars

    scan: Callable[..., ars.Stream] = getattr(ars, f"scan_{kind}")
    typed = {"schema": SCHEMA} if kind in {"csv", "ndjson"} else {}
    return scan(data.files, **typed).collect(progress=False)


def _write(kind: str, data: Input) -> Result:
    import arrowstream as ars

    stream = ars.from_polars(_frame(data.files, kind))
    options = {"ipc": {"compression": "uncompressed"}, "avro": {"compression": "snappy"}}.get(kind, {})
    getattr(stream, f"sink_{kind}")(data.scratch / "output", **options).run(progress=False)
    return None


@functools.cache
def _frame(path: str, kind: str) -> pl.DataFrame:
    source = Path(path).with_suffix("") / "bid" / "*.parquet"
    assert kind in path
    return pl.read_parquet(source).rechunk()


@functools.cache
def _table(path: str, kind: str) -> pa.Table:
    return _frame(path, kind).to_arrow()


def _pyarrow_csv(data: Input) -> pa.Table:
    from pyarrow import csv

    convert = csv.ConvertOptions(column_types=dict(zip(ARROW.names, ARROW.types, strict=True)))
    return csv.read_csv(data.files, convert_options=convert)


def _pyarrow_json(data: Input) -> pa.Table:
    from pyarrow import json

    return json.read_json(data.files, parse_options=json.ParseOptions(explicit_schema=ARROW))


def _pyarrow_parquet(data: Input) -> pa.Table:
    from pyarrow import parquet

    return parquet.read_table(data.files)


def _pyarrow_ipc(data: Input) -> pa.Table:
    # Copied, as a map of the file into memory has read nothing yet.
    with pa.OSFile(data.files) as file, pa.ipc.open_file(file) as reader:
        return reader.read_all()


def _fastavro(data: Input) -> pa.Table:
    import fastavro

    with Path(data.files).open("rb") as file:
        records: Any = list(fastavro.reader(file))
    return pa.Table.from_pylist(records)


READERS: Mapping[str, Mapping[str, Callable[[Input], Result]]] = {
    "parquet": {
        "polars": lambda data: pl.read_parquet(data.files),
        "polars streaming": lambda data: pl.scan_parquet(data.files).collect(engine="streaming"),
        "duckdb": lambda data: query_duckdb(f"select * from '{data.files}'"),
        "pyarrow": _pyarrow_parquet,
    },
    "ipc": {
        "polars": lambda data: pl.read_ipc(data.files),
        "polars streaming": lambda data: pl.scan_ipc(data.files).collect(engine="streaming"),
        "pyarrow": _pyarrow_ipc,
    },
    "csv": {
        "polars": lambda data: pl.read_csv(data.files, schema=SCHEMA),
        "polars streaming": lambda data: pl.scan_csv(data.files, schema=SCHEMA).collect(engine="streaming"),
        "duckdb": lambda data: query_duckdb(
            f"select * from read_csv('{data.files}', header = true, columns = {DUCKDB})"
        ),
        "pyarrow": _pyarrow_csv,
    },
    "ndjson": {
        "polars": lambda data: pl.read_ndjson(data.files, schema=SCHEMA),
        "polars streaming": lambda data: pl.scan_ndjson(data.files, schema=SCHEMA).collect(
            engine="streaming"
        ),
        "duckdb": lambda data: query_duckdb(
            f"select * from read_json('{data.files}', format = 'newline_delimited', columns = {DUCKDB})"
        ),
        "pyarrow": _pyarrow_json,
    },
    "avro": {
        "polars": lambda data: pl.read_avro(data.files),
        "fastavro": _fastavro,
    },
}


def _duckdb_copy(data: Input, kind: str, how: str) -> Result:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("set autoinstall_known_extensions = false")
        connection.register("bids", _table(data.files, kind))
        connection.execute(f"copy bids to '{data.scratch / 'output'}' ({how})")
    return None


def _pyarrow_write_csv(data: Input) -> Result:
    from pyarrow import csv

    csv.write_csv(_table(data.files, "csv"), data.scratch / "output")
    return None


def _pyarrow_write_parquet(data: Input) -> Result:
    from pyarrow import parquet

    parquet.write_table(_table(data.files, "parquet"), data.scratch / "output", compression="zstd")
    return None


def _pyarrow_write_ipc(data: Input) -> Result:
    table = _table(data.files, "ipc")
    with pa.OSFile(str(data.scratch / "output"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return None


def _fastavro_write(data: Input) -> Result:
    import fastavro

    fields = [{"name": name, "type": ["null", "long"]} for name in ("auction", "bidder", "price")]
    fields.append({"name": "channel", "type": ["null", "string"]})
    time = {"type": "long", "logicalType": "timestamp-micros"}
    schema = {
        "type": "record",
        "name": "bid",
        "fields": [*fields, {"name": "date_time", "type": ["null", time]}],
    }
    with (data.scratch / "output").open("wb") as file:
        fastavro.writer(file, schema, _frame(data.files, "avro").iter_rows(named=True), codec="snappy")
    return None


def _write_durably(write: Callable[[Input], Result], data: Input) -> Result:
    write(data)
    for path in (data.scratch / "output", data.scratch):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return None


def _polars_write(kind: str, data: Input) -> Result:
    frame, path = _frame(data.files, kind), data.scratch / "output"
    match kind:
        case "parquet":
            frame.write_parquet(path)
        case "ipc":
            frame.write_ipc(path)
        case "csv":
            frame.write_csv(path)
        case "ndjson":
            frame.write_ndjson(path)
        case _:
            frame.write_avro(path, compression="snappy")
    return None


WRITERS: Mapping[str, Mapping[str, Callable[[Input], Result]]] = {
    "parquet": {
        "polars": lambda data: _polars_write("parquet", data),
        "duckdb": lambda data: _duckdb_copy(data, "parquet", "format parquet, compression zstd"),
        "pyarrow": _pyarrow_write_parquet,
    },
    "ipc": {"polars": lambda data: _polars_write("ipc", data), "pyarrow": _pyarrow_write_ipc},
    "csv": {
        "polars": lambda data: _polars_write("csv", data),
        "duckdb": lambda data: _duckdb_copy(data, "csv", "format csv, header true"),
        "pyarrow": _pyarrow_write_csv,
    },
    "ndjson": {
        "polars": lambda data: _polars_write("ndjson", data),
        "duckdb": lambda data: _duckdb_copy(data, "ndjson", "format json"),
    },
    "avro": {"polars": lambda data: _polars_write("avro", data), "fastavro": _fastavro_write},
}
