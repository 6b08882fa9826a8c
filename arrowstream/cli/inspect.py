"""`arrowstream inspect`: what is in Parquet and IPC files."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from rich.table import Table
from rich.text import Text

import arrowstream as ars
from arrowstream.cli import console
from arrowstream.errors import PlanError

IPC_SUFFIXES = (".arrow", ".feather", ".ipc")
SUFFIXES = (".parquet", *IPC_SUFFIXES)


def inspect_path(path: str, *, rows: int) -> None:
    """Print schema, number of rows and first rows.

    Raises
    ------
    PlanError
        Nothing is there, or it is of no kind that can be read.
    """
    ipc = is_ipc(path)
    stream = ars.scan_ipc(path) if ipc else ars.scan_parquet(path)
    schema = Table(header_style="bold")
    schema.add_column("column")
    schema.add_column("type")
    for name, dtype in stream.schema.items():
        schema.add_row(Text(name), Text(str(dtype)))
    # A folder is a glob to the stream; Polars wants to be told.
    count = (pl.scan_ipc(path) if ipc else pl.scan_parquet(path)).select(pl.len()).collect().item()
    console.out.print(f"[bold]{count:,}[/] rows, {len(stream.schema)} columns")
    console.out.print(schema)
    if rows:
        console.out.print(console.table(stream.limit(rows).collect(progress=False)))


def is_ipc(path: str) -> bool:
    """Whether a file, or what a folder or a glob stands for, is Arrow IPC; Parquet otherwise.

    Raises
    ------
    PlanError
        Neither.

    Examples
    --------
    >>> is_ipc("bids/*.arrow")
    True
    """
    suffix = Path(path).suffix
    if not suffix and Path(path).is_dir():
        found = {file.suffix for file in Path(path).rglob("*") if file.suffix in SUFFIXES}
        if len(found) == 1:
            suffix = found.pop()
        elif found:
            raise PlanError(
                f"{path} holds several kinds of files: {', '.join(sorted(found))}", hint="give a glob"
            )
    if suffix not in SUFFIXES:
        raise PlanError(f"{path} is no file, folder or glob of a kind that can be read", choices=SUFFIXES)
    return suffix in IPC_SUFFIXES
