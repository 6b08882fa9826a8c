"""Jobs: queries with an output. They run when told to, in the foreground or beside the program."""

from __future__ import annotations

import sys
import warnings
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Self

from arrowstream.api import display
from arrowstream.errors import JobNeverRunWarning, PlanError
from arrowstream.plan import explain as plan_text
from arrowstream.runtime.options import run_options

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from types import TracebackType

    from arrowstream.plan.nodes import Sinked
    from arrowstream.runtime.handle import RunningHandle
    from arrowstream.runtime.metrics import Metrics, ProgressListener
    from arrowstream.runtime.options import RunOptions
    from arrowstream.runtime.report import Report
    from arrowstream.types import Duration, JobState, Mode, PathLike, Progress

_PACKAGE = "arrowstream"


class Job:
    """A query and its output, which has not run yet: made by the `sink_*` verbs of a Stream.

    It can be run again, after a crash for instance: with a checkpoint it goes on where it was. A job that
    is dropped without having been run warns (`JobNeverRunWarning`), for that is hardly ever meant.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> job = ars.from_polars(pl.DataFrame({"a": [1, 2]})).sink_parquet(f"{folder}/out")
    >>> job.run(checkpoint=f"{folder}/state").rows_out, job.run(checkpoint=f"{folder}/state").status
    (2, 'already_complete')
    """

    __slots__ = ("__weakref__", "_forgotten", "_node")

    def __init__(self, node: Sinked) -> None:
        self._node = node
        self._forgotten = weakref.finalize(self, _warn_never_run, node.name, *_line_of_caller())
        self._forgotten.atexit = False  # a program that ends early has said why

    def run(
        self,
        *,
        checkpoint: PathLike | None = None,
        checkpoint_every: Duration | int = "5s",
        mode: Mode = "error",
        batch_rows: int | Literal["auto"] = "auto",
        threads: int | None = None,
        memory_limit: int | str | None = None,
        progress: Progress | ProgressListener = "auto",
        runner: Literal["local", "ray"] = "local",
    ) -> Report:
        """Run the job to the end of its input.

        Parameters
        ----------
        checkpoint
            Folder that remembers how far the job is: run again after a crash, it goes on from there, and
            each row is published exactly once. None: it starts from the beginning each time.
        checkpoint_every
            How often the output is published: a duration such as "5s", or a number of input rows (then the
            files published are the same, byte for byte, however often the job was killed).
        mode
            "error": an output that holds something else is refused. "overwrite": it is emptied first.
        batch_rows, threads, memory_limit, progress, runner
            As in `Stream.collect`.

        Returns
        -------
        Report
            What it did. `status` is "already_complete" if an earlier run had reached the end.

        Raises
        ------
        PlanError
            An option is not one of its choices.
        StateError
            The checkpoint or the output belongs to another job, or is damaged.
        DataError, ConnectorError
            A record, a file or the output failed.
        KeyboardInterrupt
            After the epoch has been finished.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> job = ars.from_polars(pl.DataFrame({"a": [1, 2]})).sink_parquet(f"{folder}/out")
        >>> job.run(checkpoint=f"{folder}/state").status, job.run(checkpoint=f"{folder}/state").status
        ('finished', 'already_complete')
        """
        return run(
            [self],
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            mode=mode,
            batch_rows=batch_rows,
            threads=threads,
            memory_limit=memory_limit,
            progress=progress,
            runner=runner,
        )

    def start(
        self,
        *,
        checkpoint: PathLike | None = None,
        checkpoint_every: Duration | int = "5s",
        mode: Mode = "error",
        batch_rows: int | Literal["auto"] = "auto",
        threads: int | None = None,
        memory_limit: int | str | None = None,
        progress: Progress | ProgressListener = "auto",
        runner: Literal["local", "ray"] = "local",
    ) -> RunningJob:
        """Run the job in the background; use it as `with job.start() as live:`.

        Options are those of `run`; the progress is shown while `RunningJob.wait` waits, and "auto" is off.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> with ars.from_polars(pl.DataFrame({"a": [1, 2]})).sink_batches(lambda f: None).start() as live:
        ...     live.wait(timeout="1m").rows_out
        2
        """
        return start(
            [self],
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            mode=mode,
            batch_rows=batch_rows,
            threads=threads,
            memory_limit=memory_limit,
            progress=progress,
            runner=runner,
        )

    @property
    def has_run(self) -> bool:
        """Whether it has been run or started, whatever came of it."""
        return not self._forgotten.alive

    def explain(self) -> str:
        """What it will do: the query as written, and how it runs.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> job = ars.from_polars(pl.DataFrame({"a": [1]})).sink_batches(lambda frame: None)
        >>> print(job.explain().splitlines()[-1].strip())
        delivery: at least once
        >>> report = job.run()
        """
        return f"{plan_text.logical([self._node])}\n\n{plan_text.physical([self._node])}"

    def __repr__(self) -> str:
        """Its output, and whether it has been run."""
        if not self.has_run:
            return f"<Job to {self._node.name}: has not run yet, call .run() or .start()>"
        return f"<Job to {self._node.name}>"


class RunningJob:
    """A job in the background. As a context manager it stops the job at the end of the block.

    All of it can be used from any thread.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars
    >>> job = ars.from_polars(pl.DataFrame({"a": [1, 2]})).sink_batches(lambda frame: None)
    >>> with job.start() as live:
    ...     report = live.wait(timeout="1m")
    >>> live.state, live.metrics.rows_in, report.rows_out
    ('finished', 2, 2)
    """

    __slots__ = ("_handle", "_name", "_options")

    def __init__(self, handle: RunningHandle, name: str, options: RunOptions) -> None:
        self._handle = handle
        self._name = name
        self._options = options

    @property
    def state(self) -> JobState:
        """One of "running", "stopping", "stopped", "finished" and "failed"."""
        return self._handle.state

    @property
    def watermark(self) -> datetime | None:
        """No earlier event time is expected; None as long as nothing is known."""
        return self._handle.watermark

    @property
    def metrics(self) -> Metrics:
        """How far it is, as of now."""
        return self._handle.metrics

    def explain_silence(self) -> str:
        """Why nothing is coming out at the moment: no input, a window that is still open, a slow sink.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> live = ars.from_polars(pl.DataFrame({"a": [1]})).sink_batches(lambda frame: None).start()
        >>> report = live.wait()
        >>> live.explain_silence()
        'the run has ended: finished'
        """
        return self._handle.explain_silence()

    def wait(self, timeout: Duration | float | None = None) -> Report:
        """Wait for the end.

        Parameters
        ----------
        timeout
            How long at most: a duration such as "1m", or seconds. None: as long as it takes.

        Raises
        ------
        TimeoutError
            It has not ended by then; it goes on.
        ArrowStreamError
            What the job failed with.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> live = ars.from_polars(pl.DataFrame({"a": [1]})).sink_batches(lambda frame: None).start()
        >>> live.wait(timeout="1m").status, live.state
        ('finished', 'finished')
        """
        with display.shown(self._options, auto=False) as options:
            return self._handle.wait(timeout, progress=options.listener)

    def stop(self, *, drain: bool = False, timeout: Duration | float | None = "30s") -> Report:
        """Finish the epoch, publish it, and end. A job that has ended already only gives its report.

        Parameters
        ----------
        drain
            Also close the windows that are open, and publish what they have. Their rows are then final:
            run again, the job cannot add to them.
        timeout
            How long to wait for it at most: a duration such as "30s", or seconds. None: no bound.

        Raises
        ------
        TimeoutError
            It has not ended by then; it goes on stopping.
        ArrowStreamError
            What the job failed with.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars, itertools
        >>> def endless(): return (pl.DataFrame({"a": [n]}) for n in itertools.count())
        >>> rows = ars.from_batches(endless, schema={"a": pl.Int64}, bounded=False)
        >>> rows.sink_batches(lambda frame: None).start().stop().status
        'stopped'
        """
        return self._handle.stop(drain=drain, timeout=timeout)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the job; raises what it failed with."""
        self.stop()

    def __repr__(self) -> str:
        """Its output and its state."""
        return f"<RunningJob to {self._name}: {self.state}>"


def run(
    jobs: Iterable[Job],
    *,
    checkpoint: PathLike | None = None,
    checkpoint_every: Duration | int = "5s",
    mode: Mode = "error",
    batch_rows: int | Literal["auto"] = "auto",
    threads: int | None = None,
    memory_limit: int | str | None = None,
    progress: Progress | ProgressListener = "auto",
    runner: Literal["local", "ray"] = "local",
) -> Report:
    """Run several jobs over one read of their common input, with one checkpoint for all.

    Parameters
    ----------
    jobs
        Jobs built from the same `scan_*` call.

    Raises
    ------
    PlanError
        No jobs, or jobs that read different sources. Otherwise options and errors are those of `Job.run`.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars
    >>> bids = ars.from_polars(pl.DataFrame({"price": [90, 120, 150]}))
    >>> cheap, dear = bids.filter(pl.col("price") < 100), bids.filter(pl.col("price") >= 100)
    >>> report = ars.run([part.sink_batches(lambda frame: None) for part in (cheap, dear)])
    >>> report.rows_in, list(report.rows_out_by_sink.values())
    (3, [1, 2])
    """
    options = run_options(
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        mode=mode,
        batch_rows=batch_rows,
        threads=threads,
        memory_limit=memory_limit,
        progress=progress,
        runner=runner,
    )
    roots = _begin(jobs)
    from arrowstream.runtime.local import run_job  # loads the operators, which are not light

    with display.shown(options) as told:
        return run_job(roots, told)


def start(
    jobs: Iterable[Job],
    *,
    checkpoint: PathLike | None = None,
    checkpoint_every: Duration | int = "5s",
    mode: Mode = "error",
    batch_rows: int | Literal["auto"] = "auto",
    threads: int | None = None,
    memory_limit: int | str | None = None,
    progress: Progress | ProgressListener = "auto",
    runner: Literal["local", "ray"] = "local",
) -> RunningJob:
    """Run several jobs in the background over one read of their common input.

    Options and errors are those of `run`; an error of the run itself is raised by `RunningJob.wait`.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars
    >>> bids = ars.from_polars(pl.DataFrame({"price": [90, 120]}))
    >>> with ars.start([bids.filter(price=90).sink_batches(lambda frame: None)]) as live:
    ...     live.wait().rows_in
    2
    """
    options = run_options(
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        mode=mode,
        batch_rows=batch_rows,
        threads=threads,
        memory_limit=memory_limit,
        progress=progress,
        runner=runner,
    )
    roots = _begin(jobs)
    from arrowstream.runtime.local import start_job

    return RunningJob(start_job(roots, options), ", ".join(root.name for root in roots), options)


def _begin(jobs: Iterable[Job]) -> list[Sinked]:
    """The plans of the jobs, which count as run from now on; names that occur twice get a number."""
    if isinstance(jobs, Job):
        raise PlanError(
            "run and start take a list of jobs, not one", hint="call .run() or .start() of the job"
        )
    if not hasattr(jobs, "__iter__"):
        raise PlanError(
            f"run and start take a list of jobs, not {type(jobs).__name__}", hint="write ars.run([job, job])"
        )
    listed = list(jobs)
    for job in listed:
        if not isinstance(job, Job):
            hint = "give its rows an output first, such as .sink_parquet(path)"
            raise PlanError(f"a {type(job).__name__} is not a Job", hint=hint)
    if not listed:
        raise PlanError(
            "there is no job to run", hint='give at least one, such as stream.sink_parquet("out/")'
        )
    nodes = [job._node for job in listed]  # noqa: SLF001 - our own class
    _check_outputs(nodes)
    for job in listed:
        job._forgotten.detach()  # noqa: SLF001 - our own class
    names = [node.name for node in nodes]
    counts = [names[:index].count(name) for index, name in enumerate(names)]
    return [
        replace(node, name=f"{node.name} #{count + 1}") if count else node
        for node, count in zip(nodes, counts, strict=True)
    ]


def _check_outputs(nodes: list[Sinked]) -> None:
    """Raise PlanError if two jobs would write to one place."""
    for index, node in enumerate(nodes):
        place = getattr(node.sink, "outbox_folder", None)
        for other in nodes[:index]:
            if node is other:
                raise PlanError(f"the job to {node.name} is given twice", hint="give each job once")
            if place is not None and place == getattr(other.sink, "outbox_folder", None):
                raise PlanError(
                    f"two jobs write to one place: {other.name}, {node.name}", hint="give each its own folder"
                )


def _line_of_caller() -> tuple[str, int]:
    """File and line of the code outside of this package that made the job."""
    frame = sys._getframe(1)  # noqa: SLF001 - what `warnings` and `logging` use too
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).split(".")[0] == _PACKAGE:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _warn_never_run(name: str, filename: str, line: int) -> None:
    text = f"the job to {name} was never run\n  hint: call .run() or .start() on what sink_* returns"
    warnings.warn_explicit(text, JobNeverRunWarning, filename, line)
