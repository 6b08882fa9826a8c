"""Files as places where a stream's rows can go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from arrowstream.api.job import Job
from arrowstream.api.partitions import read_partition_by, with_keys
from arrowstream.api.query import Query
from arrowstream.errors import PlanError
from arrowstream.plan import build

if TYPE_CHECKING:
    from collections.abc import Mapping

    from arrowstream.connectors.files.encode import Encoding
    from arrowstream.types import PathLike


class FileSinks(Query):
    """The verbs that end a query in files: these are written when the Job that they give is run."""

    __slots__ = ()

    def sink_parquet(
        self,
        path: PathLike | pl.PartitionBy,
        *,
        compression: Literal["lz4", "uncompressed", "snappy", "gzip", "brotli", "zstd"] = "zstd",
        compression_level: int | None = None,
        row_group_size: int | None = None,
        max_rows_per_file: int | None = None,
        approximate_bytes_per_file: int | None = None,
        rotate_every: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Job:
        """Write Parquet files into a folder, exactly once.

        Parameters
        ----------
        path
            The folder: a local path, taken from the present working directory now, or a URL such as
            `"s3://bucket/out"`. It holds only data files, one or more for each epoch that has rows, and
            can be read at any time; `scan_parquet(path, committed_only=True)` reads whole epochs only. With a
            `pl.PartitionBy` rows are divided by its `key` into folders `key=value/`, and into files by its
            `max_rows_per_file` and `approximate_bytes_per_file`.

            Exactly once holds for local folders, `s3://` and `memory://`. Elsewhere two processes that write
            at a time could both succeed: delivery is then at least once, as `explain()` says.
        compression, compression_level
            As in `pl.LazyFrame.sink_parquet`.
        row_group_size
            Rows of a row group; None: a good size.
        max_rows_per_file, approximate_bytes_per_file
            A file ends after so many rows, or when it has grown to about this size as it is stored. An epoch
            always ends its files. None: one file an epoch.
        rotate_every
            A new file begins when event time enters another such span, such as "1h", for the first time.
            By event time, not by the clock: so the files of a run do not depend on how fast it was, nor on
            how often it was killed.
        storage_options
            fsspec's keys for a URL, credentials among them. Never shown, never stored.

        Raises
        ------
        PlanError
            The path is that of a file, a column's type cannot be written or cannot be a key, or an option is
            not known.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars, tempfile
        >>> folder = tempfile.mkdtemp() + "/out"
        >>> ars.from_polars(pl.DataFrame({"a": [1, 2]})).sink_parquet(folder).run().rows_out
        2
        >>> cities = ars.from_polars(pl.DataFrame({"city": ["Rome", "Oslo"], "n": [1, 2]}))
        >>> job = cities.sink_parquet(pl.PartitionBy(folder + "/cities", key="city", include_key=False))
        >>> job.run().rows_out, pl.read_parquet(folder + "/cities", hive_partitioning=True).sort("n").rows()
        (2, [(1, 'Rome'), (2, 'Oslo')])
        """
        from arrowstream.connectors.files.parquet_encode import ParquetEncoding

        encoding = ParquetEncoding(
            compression=compression,
            compression_level=compression_level,
            **_given(row_group_size=row_group_size),
        )
        return self._files(
            "parquet",
            path,
            encoding,
            max_rows_per_file=max_rows_per_file,
            approximate_bytes_per_file=approximate_bytes_per_file,
            rotate_every=rotate_every,
            storage_options=storage_options,
        )

    def sink_ipc(
        self,
        path: PathLike | pl.PartitionBy,
        *,
        compression: Literal["uncompressed", "lz4", "zstd"] = "uncompressed",
        record_batch_size: int | None = None,
        format: Literal["file", "stream"] = "file",  # noqa: A002 — the word for it
        max_rows_per_file: int | None = None,
        approximate_bytes_per_file: int | None = None,
        rotate_every: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Job:
        """Write Arrow IPC files (Feather V2) or streams into a folder, exactly once.

        Parameters
        ----------
        path
            As in `sink_parquet`.
        compression
            As in `pl.LazyFrame.sink_ipc`.
        record_batch_size
            Rows of a record batch; None: a good size.
        format
            "file": with a footer, `.arrow`. "stream": to be read from its beginning, `.arrows`.
        max_rows_per_file, approximate_bytes_per_file, rotate_every, storage_options
            As in `sink_parquet`.

        Raises
        ------
        PlanError
            As in `sink_parquet`.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars, tempfile
        >>> folder = tempfile.mkdtemp() + "/out"
        >>> ars.from_polars(pl.DataFrame({"a": [1, 2]})).sink_ipc(folder).run().rows_out
        2
        """
        from arrowstream.connectors.files.ipc_encode import IpcEncoding

        encoding = IpcEncoding(
            compression=compression, format=format, **_given(record_batch_size=record_batch_size)
        )
        return self._files(
            "ipc",
            path,
            encoding,
            max_rows_per_file=max_rows_per_file,
            approximate_bytes_per_file=approximate_bytes_per_file,
            rotate_every=rotate_every,
            storage_options=storage_options,
        )

    def sink_csv(
        self,
        path: PathLike | pl.PartitionBy,
        *,
        include_bom: bool = False,
        compression: Literal["uncompressed", "gzip", "zstd", "bz2", "xz", "snappy", "lz4"] = "uncompressed",
        compression_level: int | None = None,
        include_header: bool = True,
        separator: str = ",",
        line_terminator: str = "\n",
        quote_char: str = '"',
        datetime_format: str | None = None,
        date_format: str | None = None,
        time_format: str | None = None,
        float_scientific: bool | None = None,
        float_precision: int | None = None,
        decimal_comma: bool = False,
        null_value: str | None = None,
        quote_style: Literal["necessary", "always", "non_numeric", "never"] | None = None,
        max_rows_per_file: int | None = None,
        approximate_bytes_per_file: int | None = None,
        rotate_every: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Job:
        """Write CSV files into a folder, exactly once.

        Parameters
        ----------
        path
            As in `sink_parquet`.
        compression, compression_level
            Of whole files, which are then called `.csv.gz` and so on.
        include_bom, include_header, separator, line_terminator, quote_char, datetime_format, date_format, \
time_format, float_scientific, float_precision, decimal_comma, null_value, quote_style
            As in `pl.LazyFrame.sink_csv`.
        max_rows_per_file, approximate_bytes_per_file, rotate_every, storage_options
            As in `sink_parquet`.

        Raises
        ------
        PlanError
            As in `sink_parquet`.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars, tempfile
        >>> folder = tempfile.mkdtemp() + "/out"
        >>> stream = ars.from_polars(pl.DataFrame({"a": [1, 2]}))
        >>> stream.sink_csv(folder, compression="gzip").run().rows_out
        2
        >>> pl.read_csv(folder + "/part-00000001.csv.gz")["a"].to_list()
        [1, 2]
        """
        from arrowstream.connectors.files.compressed import compressed
        from arrowstream.connectors.files.csv import CsvEncoding

        encoding = CsvEncoding(
            include_bom=include_bom,
            include_header=include_header,
            separator=separator,
            line_terminator=line_terminator,
            quote_char=quote_char,
            datetime_format=datetime_format,
            date_format=date_format,
            time_format=time_format,
            float_scientific=float_scientific,
            float_precision=float_precision,
            decimal_comma=decimal_comma,
            null_value=null_value,
            quote_style=quote_style,
        )
        return self._files(
            "csv",
            path,
            compressed(encoding, compression, compression_level),
            max_rows_per_file=max_rows_per_file,
            approximate_bytes_per_file=approximate_bytes_per_file,
            rotate_every=rotate_every,
            storage_options=storage_options,
        )

    def sink_ndjson(
        self,
        path: PathLike | pl.PartitionBy,
        *,
        compression: Literal["uncompressed", "gzip", "zstd", "bz2", "xz", "snappy", "lz4"] = "uncompressed",
        compression_level: int | None = None,
        max_rows_per_file: int | None = None,
        approximate_bytes_per_file: int | None = None,
        rotate_every: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Job:
        """Write files of newline-delimited JSON into a folder, exactly once.

        Parameters
        ----------
        path
            As in `sink_parquet`.
        compression, compression_level
            As in `sink_csv`.
        max_rows_per_file, approximate_bytes_per_file, rotate_every, storage_options
            As in `sink_parquet`.

        Raises
        ------
        PlanError
            As in `sink_parquet`.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars, tempfile
        >>> folder = tempfile.mkdtemp() + "/out"
        >>> ars.from_polars(pl.DataFrame({"a": [1, 2]})).sink_ndjson(folder).run().rows_out
        2
        """
        from arrowstream.connectors.files.compressed import compressed
        from arrowstream.connectors.files.ndjson import NdjsonEncoding

        return self._files(
            "ndjson",
            path,
            compressed(NdjsonEncoding(), compression, compression_level),
            max_rows_per_file=max_rows_per_file,
            approximate_bytes_per_file=approximate_bytes_per_file,
            rotate_every=rotate_every,
            storage_options=storage_options,
        )

    def sink_avro(
        self,
        path: PathLike | pl.PartitionBy,
        *,
        compression: Literal["uncompressed", "deflate", "snappy", "zstd", "bzip2", "xz"] = "uncompressed",
        compression_level: int | None = None,
        name: str = "row",
        max_rows_per_file: int | None = None,
        approximate_bytes_per_file: int | None = None,
        rotate_every: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Job:
        """Write Avro object container files into a folder, exactly once.

        Parameters
        ----------
        path
            As in `sink_parquet`.
        compression, compression_level
            Of the blocks in a file, which its header names.
        name
            Of the record that a row is.
        max_rows_per_file, approximate_bytes_per_file, rotate_every, storage_options
            As in `sink_parquet`.

        Raises
        ------
        PlanError
            As in `sink_parquet`.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars, tempfile
        >>> folder = tempfile.mkdtemp() + "/out"
        >>> ars.from_polars(pl.DataFrame({"a": [1, 2]})).sink_avro(folder).run().rows_out
        2
        """
        from arrowstream.connectors.files.avro import AvroEncoding

        encoding = AvroEncoding(
            compression=compression, compression_level=compression_level, record_name=name
        )
        return self._files(
            "avro",
            path,
            encoding,
            max_rows_per_file=max_rows_per_file,
            approximate_bytes_per_file=approximate_bytes_per_file,
            rotate_every=rotate_every,
            storage_options=storage_options,
        )

    def _files(
        self,
        kind: str,
        path: PathLike | pl.PartitionBy,
        encoding: Encoding,
        *,
        max_rows_per_file: int | None,
        approximate_bytes_per_file: int | None,
        rotate_every: str | None,
        storage_options: Mapping[str, Any] | None,
    ) -> Job:
        """A job that writes files of any format."""
        from arrowstream.connectors.files.division import Division
        from arrowstream.connectors.files.sink import FileSink

        verb = f"sink_{kind}"
        node, include_key = self._node, True
        keys: tuple[str, ...] = ()
        if isinstance(path, pl.PartitionBy):
            asked = read_partition_by(path, verb)
            if (max_rows_per_file, approximate_bytes_per_file) != (None, None):
                raise PlanError(
                    f"{verb} has max_rows_per_file or approximate_bytes_per_file beside a pl.PartitionBy",
                    hint="give them to pl.PartitionBy",
                )
            max_rows_per_file = asked.max_rows_per_file
            approximate_bytes_per_file = asked.approximate_bytes_per_file
            node, keys, include_key = with_keys(node, asked.keys), asked.names, asked.include_key
            path = asked.base_path
        place = _place(path, verb)
        division = Division(
            partition_by=keys,
            include_key=include_key,
            max_rows_per_file=max_rows_per_file,
            approximate_bytes_per_file=approximate_bytes_per_file,
            rotate_every=rotate_every,
            rotate_by=node.event_time if rotate_every is not None else None,
        )
        sink = FileSink(place, encoding, division, storage_options)
        return Job(build.sinked(node, sink, f"{kind} {place}"))


def _place(path: PathLike, verb: str) -> PathLike:
    """The folder, wherever the program goes from here; or the URL."""
    if not isinstance(path, str | Path) or not str(path):
        raise PlanError(
            f"{verb} takes the path of a folder, a URL or a pl.PartitionBy, not {path!r}",
            hint=f'write {verb}("out/")',
        )
    return path if "://" in str(path) else Path(path).expanduser().absolute()


def _given(**sizes: int | None) -> dict[str, int]:
    """Those that the user gave; the sink knows what is good for the others."""
    return {name: size for name, size in sizes.items() if size is not None}
