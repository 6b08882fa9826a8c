"""Where rows come from, as columns: the file, the number in it, and when and in which batch it was read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from arrowstream.errors import PlanError
from arrowstream.plan.nodes import ProcessingTime, Scan
from arrowstream.plan.schema import checked_names, duplicate_column

if TYPE_CHECKING:
    from arrowstream.plan.nodes import Node

PROCESSING_TIME = pl.Datetime("us", "UTC")
"""Type of the column."""


def with_metadata(
    node: Node,
    *,
    file: str | None = None,
    row: str | None = None,
    processing_time: str | None = None,
    batch: str | None = None,
) -> Node:
    """Columns of these names beside the others.

    Raises
    ------
    PlanError
        No name is given, a name is taken, or the source does not know files and rows.
    """
    names = [name for name in (file, row, processing_time, batch) if name is not None]
    if not names:
        raise PlanError(
            "with_metadata: nothing was asked for", hint='name the columns: with_metadata(file="file")'
        )
    for number, name in enumerate(names):
        if not isinstance(name, str):
            raise PlanError(f"with_metadata: {name!r} is no name of a column", hint="give strings")
        if name in node.schema or name in names[:number]:
            raise duplicate_column("with_metadata", name)
    if file is not None or row is not None:
        node = _of_source(node, file, row)
    if processing_time is not None or batch is not None:
        added = {processing_time: PROCESSING_TIME, batch: pl.Int64()}
        schema = pl.Schema({**node.schema, **{name: added[name] for name in added if name is not None}})
        node = ProcessingTime(
            inputs=(node,),
            schema=checked_names("with_metadata", schema),
            event_time=node.event_time,
            lateness=node.lateness,
            unbounded=node.unbounded,
            time_column=processing_time,
            batch_column=batch,
        )
    return node


def _of_source(node: Node, file: str | None, row: str | None) -> Scan:
    if not isinstance(node, Scan):
        raise PlanError(
            "with_metadata: file and row are what the source says of a row",
            hint="call it on what scan_* gives, before any other verb",
        )
    tell = getattr(node.source, "with_metadata", None)
    if tell is None:
        raise PlanError(
            f"with_metadata: {type(node.source).__name__} does not know the file and number of a row",
            hint="files do: scan_parquet, scan_csv, …; processing_time= and batch= work for every source",
        )
    if node.file_column is not None or node.row_column is not None:
        raise PlanError("with_metadata: file or row has been asked for before", hint="ask for both at once")
    source = tell(file=file, row=row)
    schema = pl.Schema(getattr(source, "polars_schema", None) or pl.Schema(source.schema))
    return replace(
        node,
        source=source,
        schema=checked_names("with_metadata", schema),
        file_column=file,
        row_column=row,
    )
