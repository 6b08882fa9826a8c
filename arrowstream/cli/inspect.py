"""`arrowstream inspect`: what is in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
from rich.table import Table
from rich.text import Text

import arrowstream as ars
from arrowstream.cli import console
from arrowstream.cli.formats import format_of
from arrowstream.types import type_text

if TYPE_CHECKING:
    from collections.abc import Callable


def inspect_path(path: str, *, rows: int) -> None:
    """Print schema, number of rows and first rows.

    Raises
    ------
    PlanError
        Nothing is there, or it is of no kind that can be read.
    """
    found = format_of(path)
    scan: Callable[..., ars.Stream] = getattr(ars, f"scan_{found.name}")
    options: dict[str, Any] = {"separator": "\t"} if found.suffix == ".tsv" else {}
    stream = scan(path, **options)
    schema = Table(header_style="bold")
    schema.add_column("column")
    schema.add_column("type")
    for name, dtype in stream.schema.items():
        schema.add_row(Text(name), Text(type_text(dtype)))
    console.out.print(f"[bold]{_count(stream, path, found.name):,}[/] rows, {len(stream.schema)} columns")
    console.out.print(schema)
    if rows:
        console.out.print(console.table(stream.limit(rows).collect(progress=False)))


def _count(stream: ars.Stream, path: str, format_: str) -> int:
    """The number of rows: in footers, if the format has them, else by reading."""
    if format_ in ("parquet", "ipc") and "://" not in path:
        frame = pl.scan_parquet(path) if format_ == "parquet" else pl.scan_ipc(path)
        return int(frame.select(pl.len()).collect().item())
    return sum(batch.num_rows for batch in stream.iter_batches())
