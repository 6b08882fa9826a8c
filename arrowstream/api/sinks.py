"""Where a stream's rows can go. Each of these verbs gives a Job, which has not run yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from arrowstream.api.job import Job
from arrowstream.api.query import Query
from arrowstream.errors import PlanError
from arrowstream.plan import build
from arrowstream.types import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from arrowstream.protocols import Sink
    from arrowstream.types import PathLike

_DELIVERIES: tuple[str, ...] = get_args(Delivery)
_SINK_MEMBERS = ("delivery", "open", "encode", "publish", "close")


class Sinks(Query):
    """The verbs that end a query: its rows go somewhere, when the Job that they give is run."""

    __slots__ = ()

    def sink_parquet(
        self,
        path: PathLike,
        *,
        compression: Literal["lz4", "uncompressed", "snappy", "gzip", "brotli", "zstd"] = "zstd",
        compression_level: int | None = None,
        row_group_size: int | None = None,
    ) -> Job:
        """Write Parquet files into a folder, exactly once.

        Parameters
        ----------
        path
            The folder; taken from the present working directory now. It holds only data files, one for each
            epoch that has rows, and can be read at any time.
        compression, compression_level
            As in `pl.LazyFrame.sink_parquet`.
        row_group_size
            Rows of a row group; None: a good size.

        Raises
        ------
        PlanError
            The path is that of a file, or a column's type cannot be written.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars, tempfile
        >>> folder = tempfile.mkdtemp() + "/out"
        >>> ars.from_polars(pl.DataFrame({"a": [1, 2]})).sink_parquet(folder).run().rows_out
        2
        """
        folder = _folder(path, "sink_parquet")
        from arrowstream.connectors.files.sink import ParquetSink

        sink = ParquetSink(
            folder,
            compression=compression,
            compression_level=compression_level,
            **_given(row_group_size=row_group_size),
        )
        return self._job(sink, f"parquet {folder}")

    def sink_ipc(
        self,
        path: PathLike,
        *,
        compression: Literal["uncompressed", "lz4", "zstd"] = "uncompressed",
        record_batch_size: int | None = None,
    ) -> Job:
        """Write Arrow IPC files (Feather V2) into a folder, exactly once.

        Parameters
        ----------
        path
            As in `sink_parquet`.
        compression
            As in `pl.LazyFrame.sink_ipc`.
        record_batch_size
            Rows of a record batch; None: a good size.

        Raises
        ------
        PlanError
            The path is that of a file, or a column's type cannot be written.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars, tempfile
        >>> folder = tempfile.mkdtemp() + "/out"
        >>> ars.from_polars(pl.DataFrame({"a": [1, 2]})).sink_ipc(folder).run().rows_out
        2
        """
        folder = _folder(path, "sink_ipc")
        from arrowstream.connectors.files.sink import IpcSink

        sink = IpcSink(folder, compression=compression, **_given(record_batch_size=record_batch_size))
        return self._job(sink, f"ipc {folder}")

    def sink_batches(
        self, function: Callable[[pl.DataFrame], object], *, chunk_size: int | None = None
    ) -> Job:
        """Call a function with the rows, at least once: after a crash it may see those of one epoch again.

        Parameters
        ----------
        function
            Takes a `pl.DataFrame`; called on a thread of the job, one call at a time, when the epoch of the
            rows is durable.
        chunk_size
            The most rows of one call; None: as they come.

        Raises
        ------
        PlanError
            It is not callable, or `chunk_size` is not positive.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> seen = []
        >>> job = ars.from_polars(pl.DataFrame({"a": [1, 2]})).sink_batches(lambda f: seen.extend(f.rows()))
        >>> job.run().rows_out, seen
        (2, [(1,), (2,)])
        """
        from arrowstream.connectors.memory.sink import BatchesSink

        name = getattr(function, "__qualname__", type(function).__name__)
        return self._job(BatchesSink(function, chunk_size=chunk_size), f"batches {name}")

    def sink(self, sink: Sink) -> Job:
        """Send the rows to a sink of one's own.

        Parameters
        ----------
        sink
            An object with the methods of `arrowstream.Sink`.

        Raises
        ------
        PlanError
            It lacks one of them, or cannot take a column's type.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> class Printed:
        ...     delivery = "at_least_once"
        ...     def open(self, generation): return None
        ...     def encode(self, batches):
        ...         return repr([row for batch in batches for row in batch.to_pylist()]).encode()
        ...     def publish(self, epoch, outbox): print(epoch, outbox.decode())
        ...     def close(self): pass
        >>> ars.from_polars(pl.DataFrame({"a": [1, 2]})).sink(Printed()).run().rows_out
        1 [{'a': 1}, {'a': 2}]
        2
        """
        lacking = [name for name in _SINK_MEMBERS if not hasattr(sink, name)]
        if lacking:
            raise PlanError(
                f"{type(sink).__name__} is not a sink: it has no {', '.join(lacking)}",
                hint="arrowstream.Sink says what a sink has to have; for files use sink_parquet or sink_ipc",
            )
        if sink.delivery not in _DELIVERIES:
            raise PlanError(
                f"{type(sink).__name__}.delivery is {sink.delivery!r}", choices=map(repr, _DELIVERIES)
            )
        return self._job(sink, f"sink {type(sink).__name__}")

    def _job(self, sink: Sink, name: str) -> Job:
        return Job(build.sinked(self._node, sink, name))


def _folder(path: PathLike, verb: str) -> Path:
    """The folder, wherever the program goes from here."""
    if not isinstance(path, str | Path) or not str(path):
        raise PlanError(f"{verb} takes the path of a folder, not {path!r}", hint=f'write {verb}("out/")')
    if "://" in str(path):
        raise PlanError(
            f"{verb} writes to local folders only, not to {str(path)!r}", hint="give a local path"
        )
    return Path(path).expanduser().absolute()


def _given(**sizes: int | None) -> dict[str, int]:
    """Those that the user gave; the sink knows what is good for the others."""
    return {name: size for name, size in sizes.items() if size is not None}
