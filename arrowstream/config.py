"""Settings of a run, and the names and sizes that the whole engine agrees on."""

from __future__ import annotations

import polars as pl

CLOCK = "__arrowstream_clock"
"""Hidden Int64 column: the largest event time before this row in its partition (lateness given only)."""

PARTITION = "__arrowstream_partition"
"""Hidden UInt32 column: index of the row's partition (several partitions only)."""

SLOT = "__arrowstream_slot"
"""Hidden UInt32 column: the row's place among the slots pushed with it (where dead letters are read only)."""

FILE, FILE_ROW = "__arrowstream_file", "__arrowstream_file_row"
"""Names of the columns in which a source says where a row is from, when only dead letters ask for it."""

HIDDEN = (CLOCK, PARTITION, SLOT)

DEAD = "__arrowstream_dead"
"""Hidden column of a reader's frame: what could not be read, in its place among the rows; null for rows.

A frame without bad input does not have it.
"""

DEAD_DTYPE = pl.Struct(
    {"original": pl.Binary, "error": pl.String, "source": pl.String, "position": pl.String}
)
"""Of the column DEAD: the bytes (null for what is not a record), why, the file, and where in it."""

DEAD_LETTERS = pl.Schema(
    {
        "original": pl.Binary,
        "error": pl.String,
        "operator": pl.String,
        "source": pl.String,
        "partition": pl.String,
        "position": pl.String,
    }
)
"""Columns of `.dead_letters()`."""

PARTITION_SHIFT = 44
"""A row's rank is (partition << 44) + row number: 17 tera-rows in each of 500,000 partitions."""

ARROW_LEVEL = pl.CompatLevel.oldest()
"""Fixed, so that the types a sink sees do not depend on the batches or the version of Polars."""

NO_TIME = -(2**63)
"""Watermark before anything is known: minus infinity."""

END_OF_TIME = 2**63 - 1
"""Watermark after the last row: plus infinity."""
