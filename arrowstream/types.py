"""Names for the types that cross module boundaries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta
    from pathlib import Path

    import polars as pl
    from polars.selectors import Selector

Json: TypeAlias = "bool | int | float | str | list[Any] | dict[str, Any] | None"
"""What `json` can write and read back unchanged."""

Position: TypeAlias = "Json"
"""A place in one partition of a source, as that source itself writes it down."""

Piece: TypeAlias = "bytes | memoryview | tuple[str, bytes | memoryview]"
"""What a sink's `encode` gives: bytes of the one file of an epoch, or the name of a file and bytes of it."""

Duration: TypeAlias = "str | timedelta"
"""A Polars duration string such as "1h30m", or a timedelta."""

IntoExpr: TypeAlias = "pl.Expr | str | int | float | bool | None"
IntoExprs: TypeAlias = "IntoExpr | Iterable[IntoExpr]"
ColumnNames: TypeAlias = "str | Selector | Iterable[str | Selector]"
PathLike: TypeAlias = "str | Path"

OnError: TypeAlias = Literal["raise", "skip", "dead_letter"]
MissingColumns: TypeAlias = Literal["insert", "raise"]
ExtraColumns: TypeAlias = Literal["ignore", "raise"]
Compression: TypeAlias = Literal["infer", "uncompressed", "gzip", "zstd", "bz2", "xz", "snappy", "lz4"]
ClockBy: TypeAlias = Literal["scan", "file", "directory"]
Delivery: TypeAlias = Literal["exactly_once", "at_least_once"]
Label: TypeAlias = Literal["left", "right"]
Mode: TypeAlias = Literal["error", "overwrite"]
Progress: TypeAlias = "bool | Literal['auto']"
JobState: TypeAlias = Literal["running", "stopping", "stopped", "finished", "failed"]
