"""The verbs that run a query for its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from arrowstream.api.execution import (
    Cancellation,
    arrow_schema,
    concatenated,
    frames_of,
    in_own_thread,
    to_batches,
)
from arrowstream.api.query import Query
from arrowstream.errors import PlanError
from arrowstream.plan import build
from arrowstream.runtime.options import run_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import polars as pl
    import pyarrow as pa

    from arrowstream.runtime.metrics import ProgressListener
    from arrowstream.types import Progress


class Results(Query):
    """The verbs that run a query and give its rows to the caller."""

    __slots__ = ()

    def collect(
        self,
        *,
        batch_rows: int | Literal["auto"] = "auto",
        threads: int | None = None,
        memory_limit: int | str | None = None,
        progress: Progress | ProgressListener = "auto",
        runner: Literal["local", "ray"] = "local",
    ) -> pl.DataFrame:
        """Run the query and return all rows of its result.

        Parameters
        ----------
        batch_rows
            The most rows that go through the operators at once; "auto" adapts. No influence on the result.
        threads
            Threads of the operators; None: all cores. No influence on the result.
        memory_limit
            Bytes, or a text such as "2GiB": bound of what waits between threads.
        progress
            Show how far it is; "auto": on a terminal or in a notebook, if it takes long enough. Or an
            object with `update(metrics)`, which is told about ten times a second.
        runner
            "local".

        Raises
        ------
        PlanError
            The input is unbounded, or an option is not one of its choices.
        DataError, ConnectorError
            A record or a file could not be read.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> ars.from_polars(pl.DataFrame({"a": [1, 2]})).filter(a=2).collect().rows()
        [(2,)]
        """
        self._refuse_unbounded("collect")
        options = run_options(
            batch_rows=batch_rows,
            threads=threads,
            memory_limit=memory_limit,
            progress=progress,
            runner=runner,
        )
        return concatenated(list(frames_of(self._node, options)), self._node.schema)

    async def collect_async(
        self,
        *,
        batch_rows: int | Literal["auto"] = "auto",
        threads: int | None = None,
        memory_limit: int | str | None = None,
        progress: Progress | ProgressListener = "auto",
        runner: Literal["local", "ray"] = "local",
    ) -> pl.DataFrame:
        """`collect` that leaves the event loop free; cancelling it stops the run.

        Options and errors are those of `collect`.

        Examples
        --------
        >>> import asyncio, polars as pl, arrowstream as ars
        >>> stream = ars.from_polars(pl.DataFrame({"a": [1, 2]}))
        >>> asyncio.run(stream.collect_async()).rows()
        [(1,), (2,)]
        """
        self._refuse_unbounded("collect_async")
        options = run_options(
            batch_rows=batch_rows,
            threads=threads,
            memory_limit=memory_limit,
            progress=progress,
            runner=runner,
        )
        cancellation = Cancellation()
        frames = frames_of(self._node, options, cancellation=cancellation)
        collected = [frame async for frame in in_own_thread(frames, cancellation)]
        return concatenated(collected, self._node.schema)

    def iter_batches(
        self,
        *,
        batch_rows: int | Literal["auto"] = "auto",
        threads: int | None = None,
        memory_limit: int | str | None = None,
        progress: Progress | ProgressListener = "auto",
        runner: Literal["local", "ray"] = "local",
    ) -> Iterator[pa.RecordBatch]:
        """Run the query and give its rows as they come, of unbounded input too.

        Work starts with the first batch; an iterator that is closed or dropped stops its threads. Options
        and errors are those of `collect`, but `progress="auto"` is off: the loop has its own output.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> stream = ars.from_polars(pl.DataFrame({"a": [1, 2]}))
        >>> [batch.num_rows for batch in stream.iter_batches()]
        [2]
        """
        options = run_options(
            batch_rows=batch_rows,
            threads=threads,
            memory_limit=memory_limit,
            progress=progress,
            runner=runner,
        )
        return to_batches(frames_of(self._node, options, auto=False), self._node.schema)

    def iter_batches_async(
        self,
        *,
        batch_rows: int | Literal["auto"] = "auto",
        threads: int | None = None,
        memory_limit: int | str | None = None,
        progress: Progress | ProgressListener = "auto",
        runner: Literal["local", "ray"] = "local",
    ) -> AsyncIterator[pa.RecordBatch]:
        """`iter_batches` for `async for`; cancelling or leaving it stops the run.

        Options and errors are those of `iter_batches`. As with every asynchronous generator, one that is
        left by `break` stops when it is collected; `contextlib.aclosing` stops it at once.

        Examples
        --------
        >>> import asyncio, polars as pl, arrowstream as ars
        >>> stream = ars.from_polars(pl.DataFrame({"a": [1, 2]}))
        >>> async def count(): return sum([batch.num_rows async for batch in stream.iter_batches_async()])
        >>> asyncio.run(count())
        2
        """
        options = run_options(
            batch_rows=batch_rows,
            threads=threads,
            memory_limit=memory_limit,
            progress=progress,
            runner=runner,
        )
        cancellation = Cancellation()
        frames = frames_of(self._node, options, auto=False, cancellation=cancellation)
        return in_own_thread(to_batches(frames, self._node.schema), cancellation)

    def show(self, limit: int = 5) -> None:
        """Run the query until there are `limit` rows, and print them.

        Raises
        ------
        PlanError
            `limit` is negative.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> ars.from_polars(pl.DataFrame({"a": [1, 2, 3]})).show(limit=1)  # doctest: +ELLIPSIS
        shape: (1, 1)
        ...
        """
        first = build.limit(self._node, limit)
        frames = list(frames_of(first, run_options()))
        concatenated(frames, first.schema).show(limit)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The result as an Arrow stream (PyCapsule protocol), for `duckdb.sql`, `pl.DataFrame` and others.

        Consumers ask for several streams and read one of them: the query runs with the first batch that is
        read, and a stream that is released stops its threads.

        Raises
        ------
        PlanError
            The input is unbounded.

        Examples
        --------
        >>> import polars as pl, pyarrow as pa, arrowstream as ars
        >>> pa.table(ars.from_polars(pl.DataFrame({"a": [1, 2]}))).num_rows
        2
        """
        import pyarrow as pa

        self._refuse_unbounded("reading it as an Arrow stream")
        batches = to_batches(frames_of(self._node, run_options(), auto=False), self._node.schema)
        reader = pa.RecordBatchReader.from_batches(arrow_schema(self._node.schema), batches)
        capsule: object = reader.__arrow_c_stream__(requested_schema)
        return capsule

    def _refuse_unbounded(self, what: str) -> None:
        if self._node.unbounded:
            raise PlanError(
                f"{what} needs all rows, and the input is unbounded",
                hint="use iter_batches(), limit(n) before it, or an output: sink_parquet(path).start()",
            )
