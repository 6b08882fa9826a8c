"""Where a stream's rows can go. Each of these verbs gives a Job, which has not run yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from arrowstream.api.file_sinks import FileSinks
from arrowstream.api.job import Job
from arrowstream.errors import PlanError
from arrowstream.plan import build
from arrowstream.types import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from arrowstream.protocols import Sink

_DELIVERIES: tuple[str, ...] = get_args(Delivery)
_SINK_MEMBERS = ("delivery", "open", "encode", "publish", "close")


class Sinks(FileSinks):
    """The verbs that end a query: its rows go somewhere, when the Job that they give is run."""

    __slots__ = ()

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
                hint="arrowstream.Sink says what a sink has to have; for files use sink_parquet and its like",
            )
        if sink.delivery not in _DELIVERIES:
            raise PlanError(
                f"{type(sink).__name__}.delivery is {sink.delivery!r}", choices=map(repr, _DELIVERIES)
            )
        return self._job(sink, f"sink {type(sink).__name__}")

    def _job(self, sink: Sink, name: str) -> Job:
        return Job(build.sinked(self._node, sink, name))
