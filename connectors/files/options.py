"""What a user may say about the files of a scan, whatever their format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from arrowstream.types import schema_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from arrowstream.types import ClockBy, Compression, Duration, ExtraColumns, MissingColumns, OnError


@dataclass(frozen=True, slots=True)
class FileOptions:
    """The options that all file scans have in common; what they mean is in `arrowstream.scan_parquet`.

    None stands for the default of the format.
    """

    clock_by: ClockBy = "scan"
    on_error: OnError = "raise"
    schema: Mapping[str, Any] | None = None
    missing_columns: MissingColumns | None = None
    extra_columns: ExtraColumns | None = None
    cast_options: pl.ScanCastOptions | None = None
    hive_partitioning: bool | None = None
    hive_schema: Mapping[str, Any] | None = None
    try_parse_hive_dates: bool = True
    include_file_paths: str | None = None
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)  # credentials
    compression: Compression = "infer"
    decompressed_max: int | None = None
    committed_only: bool = False
    follow: bool = False
    idle_timeout: Duration | None = None

    def __post_init__(self) -> None:
        for option in ("schema", "hive_schema"):
            if (given := getattr(self, option)) is not None:
                object.__setattr__(self, option, schema_of(given, option))  # in place of the classes of types
