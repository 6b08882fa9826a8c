"""Running one stream for its rows: as frames, as Arrow batches, or step by step beside an event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from threading import Event
from typing import TYPE_CHECKING, Final, TypeVar, cast

import polars as pl

from arrowstream.api import display
from arrowstream.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

    import pyarrow as pa

    from arrowstream.plan.nodes import Node
    from arrowstream.runtime.metrics import Metrics, ProgressListener
    from arrowstream.runtime.options import RunOptions

T = TypeVar("T")

_END: Final = object()
_NOT_IN_ARROW = (pl.Int128, pl.UInt128)


class Cancelled(Exception):  # noqa: N818 - not an error: the user wanted it
    """Ends a run from the inside, when nobody waits for its result any more."""


@dataclass(slots=True)
class Cancellation:
    """Listens to a run only to end it, once `requested` is set: between two results too."""

    listener: ProgressListener | None = None
    requested: Event = field(default_factory=Event)

    def update(self, metrics: Metrics) -> None:
        """Raise if the run is to end."""
        if self.requested.is_set() and metrics.state == "running":
            raise Cancelled
        if self.listener is not None:
            self.listener.update(metrics)


def frames_of(
    node: Node, options: RunOptions, *, auto: bool = True, cancellation: Cancellation | None = None
) -> Generator[pl.DataFrame]:
    """The rows of `node`, as they come. Nothing runs before the first is asked for; closing stops it.

    Parameters
    ----------
    node, options
        What to run, and how.
    auto
        What the setting `progress="auto"` means where there is somebody to see it.
    cancellation
        Ends the run from another thread.
    """
    from arrowstream.runtime.local import iterate  # loads the operators, which are not light

    with display.shown(options, auto=auto) as told:
        if cancellation is not None:
            cancellation.listener = told.listener
            told = replace(told, progress=cancellation)  # noqa: PLW2901 - the same options, overheard
        with closing(iterate(node, told)) as frames:
            yield from frames


def arrow_schema(schema: pl.Schema) -> pa.Schema:
    """The Arrow types that `to_batches` gives these columns.

    Raises
    ------
    PlanError
        Arrow has no such type.
    """
    try:
        return pl.DataFrame(schema=schema).to_arrow().schema
    except ValueError as error:  # pyarrow's ArrowInvalid
        name, dtype = next(
            ((name, dtype) for name, dtype in schema.items() if dtype in _NOT_IN_ARROW), ("?", "nested")
        )
        raise PlanError(
            f'column "{name}" is {dtype}, a type that Arrow does not have',
            hint="cast it first: to pl.Int64 if the values fit, else to pl.Decimal(38, 0) or pl.String",
        ) from error


def to_batches(frames: Generator[pl.DataFrame], schema: pl.Schema) -> Generator[pa.RecordBatch]:
    """Each frame as one record batch; frames without rows are left out."""
    arrow = arrow_schema(schema)
    with closing(frames):
        for frame in frames:
            for batch in frame.rechunk().to_arrow().to_batches():
                yield batch if batch.schema.equals(arrow, check_metadata=True) else batch.cast(arrow)


def concatenated(frames: list[pl.DataFrame], schema: pl.Schema) -> pl.DataFrame:
    """All frames as one."""
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)


async def in_own_thread(steps: Generator[T], cancellation: Cancellation) -> AsyncIterator[T]:
    """Advance `steps` on a thread of its own.

    When this is cancelled or left, the step that is running is told to end, and `steps` is closed after it:
    a generator cannot be closed while it runs.
    """
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="arrowstream-async")
    try:
        while (item := await asyncio.wrap_future(thread.submit(next, steps, _END))) is not _END:
            yield cast("T", item)
    finally:
        cancellation.requested.set()
        closed = thread.submit(steps.close)
        thread.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closed))
