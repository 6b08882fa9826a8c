"""Files as streams: Parquet, Arrow IPC, CSV, NDJSON and Avro."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from arrowstream.api.io import scan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import polars as pl

    from arrowstream.api.stream import Stream
    from arrowstream.connectors.files.columnar import ParquetFormat
    from arrowstream.connectors.files.options import FileOptions
    from arrowstream.connectors.files.streams import StreamFormat
    from arrowstream.protocols import Source
    from arrowstream.types import (
        ClockBy,
        Compression,
        Duration,
        ExtraColumns,
        MissingColumns,
        OnError,
        PathLike,
    )


def scan_parquet(
    source: PathLike | Iterable[PathLike],
    *,
    event_time: str | None = None,
    lateness: Duration | None = None,
    clock_by: ClockBy = "scan",
    on_error: OnError = "raise",
    schema: Mapping[str, Any] | None = None,
    hive_partitioning: bool | None = None,
    hive_schema: Mapping[str, Any] | None = None,
    try_parse_hive_dates: bool = True,
    include_file_paths: str | None = None,
    missing_columns: MissingColumns = "raise",
    extra_columns: ExtraColumns = "raise",
    cast_options: pl.ScanCastOptions | None = None,
    decompressed_max: int | None = None,
    committed_only: bool = False,
    follow: bool = False,
    idle_timeout: Duration | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Stream:
    """Read Parquet files. Only footers are read now.

    Parameters
    ----------
    source
        A file, a glob, a folder, or several of them, local or URLs that fsspec opens ("s3://bucket/bids/");
        files in natural order (2 before 10). A folder is searched recursively for the endings of the format;
        names that begin with "." or "_" are left out.
    event_time
        The Datetime column that says when things happened.
    lateness
        How far behind the largest time so far a row may come, such as "5s": replays what a live run would
        have done. None: no row is late; windows close as soon as row-group statistics say that no earlier
        time is to come.
    clock_by
        What has a clock of its own: the whole "scan", each "file" or each "directory".
    on_error
        What becomes of a row group that is damaged, of a whole file that cannot be read or has other columns
        than the options allow, and of a row whose event time is null: "raise" is an error that names file and
        place; "skip" drops and counts it; "dead_letter" hands it to `dead_letters()`, in its place. A file
        that is gone or has changed meanwhile, and a place that does not answer, are errors always.
    schema
        Columns and types of all files, which may lie in another order in them. None: those of the first file.
    hive_partitioning
        Whether folders called key=value become columns. None: if `source` is one folder.
    hive_schema
        Types of such columns, in place of inferred ones.
    try_parse_hive_dates
        Whether inferring looks for dates and times.
    include_file_paths
        Name of a column with the path, or URL, of the file that a row comes from.
    missing_columns
        "insert" fills a column that a file lacks with nulls; what a file did not match is logged once.
    extra_columns
        "ignore" leaves out what a file has and the schema has not.
    cast_options
        Which types a file may have in place of those of the schema.
    decompressed_max
        Most bytes that a row group may have in memory. None: 1 GiB, or 1,000 times what is stored.
    committed_only
        `source` is the output folder of a job: read whole published epochs only.
    follow
        Do not end: pick up files that come. `schema` is needed unless there are files already.
    idle_timeout
        With `follow`: how long a partition without new rows holds back the windows of the others.
    storage_options
        For URLs: fsspec's keys. They are in no plan, log, error or checkpoint.

    Raises
    ------
    PlanError
        No such file or column, not a time, or files whose schemas differ more than is allowed.
    DataError, ConnectorError
        A file is damaged, or cannot be read.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars, tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> pl.DataFrame({"a": [1, 2]}).write_parquet(folder / "1.parquet")
    >>> ars.scan_parquet(folder).collect()["a"].to_list()
    [1, 2]
    """
    from arrowstream.connectors.files.columnar import ParquetFormat
    from arrowstream.connectors.files.columnar_source import ParquetSource
    from arrowstream.connectors.files.options import FileOptions

    options = FileOptions(
        clock_by=clock_by,
        on_error=on_error,
        schema=schema,
        missing_columns=missing_columns,
        extra_columns=extra_columns,
        cast_options=cast_options,
        hive_partitioning=hive_partitioning,
        hive_schema=hive_schema,
        try_parse_hive_dates=try_parse_hive_dates,
        include_file_paths=include_file_paths,
        storage_options=storage_options,
        decompressed_max=decompressed_max,
        committed_only=committed_only,
        follow=follow,
        idle_timeout=idle_timeout,
    )
    files = _followed(source, ParquetFormat(), options) if follow else ParquetSource(source, options)
    return scan(files, event_time=event_time, lateness=lateness, on_error=on_error)


def scan_ipc(
    source: PathLike | Iterable[PathLike],
    *,
    event_time: str | None = None,
    lateness: Duration | None = None,
    clock_by: ClockBy = "scan",
    on_error: OnError = "raise",
    schema: Mapping[str, Any] | None = None,
    hive_partitioning: bool | None = None,
    hive_schema: Mapping[str, Any] | None = None,
    try_parse_hive_dates: bool = True,
    include_file_paths: str | None = None,
    missing_columns: MissingColumns = "raise",
    extra_columns: ExtraColumns = "raise",
    cast_options: pl.ScanCastOptions | None = None,
    compression: Compression = "infer",
    decompressed_max: int | None = None,
    committed_only: bool = False,
    follow: bool = False,
    idle_timeout: Duration | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Stream:
    """Read Arrow IPC files (Feather V2) and streams; which of them a file is, its content says.

    IPC has no statistics: without `lateness`, windows close at the end of the input. What `on_error` drops or
    hands on is a record batch or a whole file.

    Parameters
    ----------
    source, event_time, lateness, clock_by, on_error, schema, hive_partitioning, hive_schema
        As in `scan_parquet`.
    try_parse_hive_dates, include_file_paths, missing_columns, extra_columns, cast_options
        As in `scan_parquet`.
    compression
        Of the files as a whole. "infer": what the content says, else the ending of the name.
    decompressed_max
        Most bytes that a file compressed as a whole may have, and a record batch in memory. None: 1 GiB, or
        1,000 times what is stored.
    committed_only, follow, idle_timeout, storage_options
        As in `scan_parquet`.

    Raises
    ------
    PlanError, DataError, ConnectorError
        As `scan_parquet`.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars, tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> pl.DataFrame({"a": [1, 2]}).write_ipc(folder / "1.arrow")
    >>> pl.DataFrame({"a": [3]}).write_ipc_stream(folder / "2.arrows")
    >>> ars.scan_ipc(folder).collect()["a"].to_list()
    [1, 2, 3]
    """
    from arrowstream.connectors.files.columnar_source import IpcSource
    from arrowstream.connectors.files.ipc import IpcFormat, have_footers
    from arrowstream.connectors.files.options import FileOptions

    options = FileOptions(
        clock_by=clock_by,
        on_error=on_error,
        schema=schema,
        missing_columns=missing_columns,
        extra_columns=extra_columns,
        cast_options=cast_options,
        hive_partitioning=hive_partitioning,
        hive_schema=hive_schema,
        try_parse_hive_dates=try_parse_hive_dates,
        include_file_paths=include_file_paths,
        storage_options=storage_options,
        compression=compression,
        decompressed_max=decompressed_max,
        committed_only=committed_only,
        follow=follow,
        idle_timeout=idle_timeout,
    )
    if not follow and have_footers(source, options):
        return scan(IpcSource(source, options), event_time=event_time, lateness=lateness, on_error=on_error)
    return _streamed(source, IpcFormat(decompressed_max), options, event_time=event_time, lateness=lateness)


def scan_csv(
    source: PathLike | Iterable[PathLike],
    *,
    has_header: bool = True,
    separator: str = ",",
    comment_prefix: str | None = None,
    quote_char: str | None = '"',
    skip_rows: int = 0,
    skip_lines: int = 0,
    schema: Mapping[str, Any] | None = None,
    schema_overrides: Mapping[str, Any] | None = None,
    null_values: str | Sequence[str] | Mapping[str, str] | None = None,
    empty_string_is_null: bool = True,
    infer_schema: bool = True,
    infer_schema_length: int | None = 100,
    encoding: Literal["utf8", "utf8-lossy"] = "utf8",
    skip_rows_after_header: int = 0,
    try_parse_dates: bool = False,
    eol_char: str = "\n",
    new_columns: Sequence[str] | None = None,
    truncate_ragged_lines: bool = False,
    decimal_comma: bool = False,
    event_time: str | None = None,
    lateness: Duration | None = None,
    clock_by: ClockBy = "scan",
    on_error: OnError = "raise",
    hive_partitioning: bool | None = None,
    hive_schema: Mapping[str, Any] | None = None,
    try_parse_hive_dates: bool = True,
    include_file_paths: str | None = None,
    missing_columns: MissingColumns = "raise",
    extra_columns: ExtraColumns = "raise",
    compression: Compression = "infer",
    decompressed_max: int | None = None,
    committed_only: bool = False,
    follow: bool = False,
    idle_timeout: Duration | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Stream:
    r"""Read CSV files, compressed ones too.

    Columns are found by their names in the header, in whatever order each file has them. A record that
    cannot be read is one bad record: `on_error` says what becomes of it. Without `lateness`, windows close at
    the end of the input, as CSV has no statistics.

    Parameters
    ----------
    source
        As in `scan_parquet`. Folders are searched for .csv, .tsv and .txt, with or without the ending of a
        compression.
    has_header
        Whether the first record of each file names its columns; else they are column_0, column_1 …, or those
        of `schema` in its order.
    separator, quote_char, eol_char
        One byte each. `quote_char=None`: quotes are characters like others.
    comment_prefix
        Lines that begin so are left out.
    skip_rows, skip_lines, skip_rows_after_header
        Records, and lines whatever quotes are in them, before the header, and records after it, are left out.
    schema
        Columns and types. None: inferred from the first records of the first ten files.
    schema_overrides
        Types of some columns, in place of those inferred or given.
    null_values
        Texts that stand for null: one, several, or one for each column in a mapping.
    empty_string_is_null
        Whether an empty field is null in a String column too; "" in quotes never is.
    infer_schema
        False: all columns are String.
    infer_schema_length
        How many records of a file types are inferred from; None: all.
    encoding
        "utf8-lossy" puts � in place of what is not UTF-8.
    try_parse_dates
        Whether inferring looks for dates, times and datetimes in ISO 8601.
    new_columns
        Names in place of those of the header, the first ones if there are fewer.
    truncate_ragged_lines
        Whether fields beyond those of the header are dropped, and missing ones null.
    decimal_comma
        Whether numbers have a comma where others have a point.
    event_time, lateness, clock_by
        As in `scan_parquet`.
    on_error
        What becomes of a bad record, of a whole file that cannot be read on or has other columns than the
        options allow, and of a row whose event time is null. As in `scan_parquet`.
    hive_partitioning, hive_schema, try_parse_hive_dates, include_file_paths, missing_columns, extra_columns
        As in `scan_parquet`.
    compression
        "infer": gzip, zstd, bz2, xz, snappy or lz4, as the content says, else the ending of the name.
    decompressed_max
        Most bytes that a compressed file may have. None: 1 GiB, or 1,000 times what is stored.
    committed_only, storage_options
        As in `scan_parquet`.
    follow
        Do not end: read files as they grow, also through rotation, and pick up new ones.
    idle_timeout
        As in `scan_parquet`.

    Raises
    ------
    PlanError, DataError, ConnectorError
        As `scan_parquet`; an option that cannot be is a PlanError.

    Examples
    --------
    >>> import arrowstream as ars, tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp(), "bids.csv")
    >>> _ = file.write_text("auction,price\n1,10\n2,many\n3,30\n")
    >>> ars.scan_csv(file, schema={"auction": int, "price": int}, on_error="skip").collect().rows()
    [(1, 10), (3, 30)]
    """
    from arrowstream.connectors.files.csv import CsvFormat
    from arrowstream.connectors.files.options import FileOptions

    names = list(new_columns or ())
    if not has_header and not names:
        names = list(schema or ())
    csv = CsvFormat(
        has_header=has_header,
        separator=separator,
        comment_prefix=comment_prefix,
        quote_char=quote_char,
        eol_char=eol_char,
        skip_rows=skip_rows,
        skip_lines=skip_lines,
        skip_rows_after_header=skip_rows_after_header,
        null_values=null_values,
        empty_string_is_null=empty_string_is_null,
        encoding=encoding,
        try_parse_dates=try_parse_dates,
        truncate_ragged_lines=truncate_ragged_lines,
        decimal_comma=decimal_comma,
        infer_schema=infer_schema,
        infer_schema_length=infer_schema_length,
        schema_overrides=schema_overrides,
        new_columns=names,
    )
    options = FileOptions(
        clock_by=clock_by,
        on_error=on_error,
        schema=_overridden(schema, schema_overrides),
        missing_columns=missing_columns,
        extra_columns=extra_columns,
        hive_partitioning=hive_partitioning,
        hive_schema=hive_schema,
        try_parse_hive_dates=try_parse_hive_dates,
        include_file_paths=include_file_paths,
        storage_options=storage_options,
        compression=compression,
        decompressed_max=decompressed_max,
        committed_only=committed_only,
        follow=follow,
        idle_timeout=idle_timeout,
    )
    return _streamed(source, csv, options, event_time=event_time, lateness=lateness)


def scan_ndjson(
    source: PathLike | Iterable[PathLike],
    *,
    schema: Mapping[str, Any] | None = None,
    schema_overrides: Mapping[str, Any] | None = None,
    infer_schema_length: int | None = 100,
    event_time: str | None = None,
    lateness: Duration | None = None,
    clock_by: ClockBy = "scan",
    on_error: OnError = "raise",
    hive_partitioning: bool | None = None,
    hive_schema: Mapping[str, Any] | None = None,
    try_parse_hive_dates: bool = True,
    include_file_paths: str | None = None,
    missing_columns: MissingColumns = "insert",
    extra_columns: ExtraColumns = "ignore",
    compression: Compression = "infer",
    decompressed_max: int | None = None,
    committed_only: bool = False,
    follow: bool = False,
    idle_timeout: Duration | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Stream:
    r"""Read newline-delimited JSON, compressed too: one object a line.

    A key that an object lacks is null, and keys that the schema does not have are not read. A line that
    cannot be read is one bad record: `on_error` says what becomes of it. Without `lateness`, windows close at
    the end of the input, as JSON has no statistics.

    Parameters
    ----------
    source
        As in `scan_parquet`. Folders are searched for .ndjson, .jsonl and .json, with or without the ending
        of a compression.
    schema
        Columns and types. None: inferred from the first lines of the first ten files.
    schema_overrides
        Types of some columns, in place of those inferred or given.
    infer_schema_length
        How many lines of a file columns and types are inferred from; None: all.
    event_time, lateness, clock_by
        As in `scan_parquet`.
    on_error
        What becomes of a bad line, of a whole file that cannot be read on, and of a row whose event time is
        null. As in `scan_parquet`.
    hive_partitioning, hive_schema, try_parse_hive_dates, include_file_paths
        As in `scan_parquet`.
    missing_columns
        "raise": a column that the first lines of a file do not have is an error.
    extra_columns
        "raise": a key that the first lines of a file have and the schema does not is an error.
    compression, decompressed_max, committed_only, follow, idle_timeout, storage_options
        As in `scan_csv`.

    Raises
    ------
    PlanError, DataError, ConnectorError
        As `scan_parquet`.

    Examples
    --------
    >>> import arrowstream as ars, tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp(), "bids.ndjson")
    >>> _ = file.write_text('{"auction": 1, "by": {"name": "Ann"}}\n{"auction": 2}\n')
    >>> ars.scan_ndjson(file).collect().rows()
    [(1, {'name': 'Ann'}), (2, None)]
    """
    from arrowstream.connectors.files.ndjson import NdjsonFormat
    from arrowstream.connectors.files.options import FileOptions

    ndjson = NdjsonFormat(infer_schema_length=infer_schema_length, schema_overrides=schema_overrides)
    options = FileOptions(
        clock_by=clock_by,
        on_error=on_error,
        schema=_overridden(schema, schema_overrides),
        missing_columns=missing_columns,
        extra_columns=extra_columns,
        hive_partitioning=hive_partitioning,
        hive_schema=hive_schema,
        try_parse_hive_dates=try_parse_hive_dates,
        include_file_paths=include_file_paths,
        storage_options=storage_options,
        compression=compression,
        decompressed_max=decompressed_max,
        committed_only=committed_only,
        follow=follow,
        idle_timeout=idle_timeout,
    )
    return _streamed(source, ndjson, options, event_time=event_time, lateness=lateness)


def scan_avro(
    source: PathLike | Iterable[PathLike],
    *,
    event_time: str | None = None,
    lateness: Duration | None = None,
    clock_by: ClockBy = "scan",
    on_error: OnError = "raise",
    schema: Mapping[str, Any] | None = None,
    hive_partitioning: bool | None = None,
    hive_schema: Mapping[str, Any] | None = None,
    try_parse_hive_dates: bool = True,
    include_file_paths: str | None = None,
    missing_columns: MissingColumns = "raise",
    extra_columns: ExtraColumns = "raise",
    cast_options: pl.ScanCastOptions | None = None,
    compression: Compression = "infer",
    decompressed_max: int | None = None,
    committed_only: bool = False,
    follow: bool = False,
    idle_timeout: Duration | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Stream:
    """Read Avro files (object containers), with any codec of theirs.

    A union with null is a nullable column, any other union a struct with a field for each branch, a map a
    list of structs of key and value. Without `lateness`, windows close at the end of the input, as Avro has
    no statistics.

    Parameters
    ----------
    source, event_time, lateness, clock_by
        As in `scan_parquet`.
    on_error
        What becomes of a bad record or block, of a whole file that cannot be read on or has other columns
        than the options allow, and of a row whose event time is null. As in `scan_parquet`.
    schema, hive_partitioning, hive_schema, try_parse_hive_dates, include_file_paths
        As in `scan_parquet`.
    missing_columns, extra_columns, cast_options
        As in `scan_parquet`.
    compression, decompressed_max
        As in `scan_csv`, of files that are compressed as a whole; a block may not become larger either.
    committed_only, follow, idle_timeout, storage_options
        As in `scan_parquet`.

    Raises
    ------
    PlanError, DataError, ConnectorError
        As `scan_parquet`.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars, tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> pl.DataFrame({"a": [1, 2]}).write_avro(folder / "1.avro")
    >>> ars.scan_avro(folder).collect()["a"].to_list()
    [1, 2]
    """
    from arrowstream.connectors.files.avro import AvroFormat
    from arrowstream.connectors.files.options import FileOptions

    avro = AvroFormat() if decompressed_max is None else AvroFormat(block_bytes_max=decompressed_max)
    options = FileOptions(
        clock_by=clock_by,
        on_error=on_error,
        schema=schema,
        missing_columns=missing_columns,
        extra_columns=extra_columns,
        cast_options=cast_options,
        hive_partitioning=hive_partitioning,
        hive_schema=hive_schema,
        try_parse_hive_dates=try_parse_hive_dates,
        include_file_paths=include_file_paths,
        storage_options=storage_options,
        compression=compression,
        decompressed_max=decompressed_max,
        committed_only=committed_only,
        follow=follow,
        idle_timeout=idle_timeout,
    )
    return _streamed(source, avro, options, event_time=event_time, lateness=lateness)


def _streamed(
    paths: PathLike | Iterable[PathLike],
    format: StreamFormat,  # noqa: A002 - the word for it
    options: FileOptions,
    *,
    event_time: str | None,
    lateness: Duration | None,
) -> Stream:
    from arrowstream.connectors.files.stream_source import StreamSource

    source = _followed(paths, format, options) if options.follow else StreamSource(paths, format, options)
    return scan(source, event_time=event_time, lateness=lateness, on_error=options.on_error)


def _followed(
    paths: PathLike | Iterable[PathLike],
    format: StreamFormat | ParquetFormat,  # noqa: A002 - the word for it
    options: FileOptions,
) -> Source:
    from arrowstream.connectors.files.follow import FollowSource

    return FollowSource(paths, format, options)


def _overridden(
    schema: Mapping[str, Any] | None, overrides: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    return schema if schema is None or overrides is None else {**schema, **overrides}
