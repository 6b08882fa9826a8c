"""The settings of a run: what the user gave, else the environment, else the default."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from arrowstream.errors import PlanError, nearest
from arrowstream.plan import durations
from arrowstream.runtime.metrics import ProgressListener
from arrowstream.types import Mode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from arrowstream.types import Duration, PathLike, Progress

ENVIRONMENT_PREFIX = "ARROWSTREAM_"

QUEUE_BYTES_DEFAULT = 256 * 2**20
"""Enough for several batches of a million rows of ten columns, and small beside a laptop's memory."""

QUEUE_BYTES_MIN = 2**20
"""Below a mebibyte the engine would hand over batch by batch, and the limit would not be kept anyway."""

THREADS_MAX = 1024

_RUNNERS = ("local", "ray")
_BYTE_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Checked settings of one run.

    Attributes
    ----------
    batch_rows
        The most rows that go through the operators at once; None: the engine adapts it.
    threads
        Threads of the operators.
    queue_bytes
        Bound of everything that waits between threads.
    progress
        Whom to tell how far the run is, or whether to show it.
    checkpoint
        Folder of the checkpoint; None: the run cannot be continued after a crash.
    epoch_rows, epoch_s
        Length of an epoch, in input rows or in seconds; exactly one is given.
    mode
        What to do with an output that holds something else.
    """

    batch_rows: int | None = None
    threads: int = 1
    queue_bytes: int = QUEUE_BYTES_DEFAULT
    progress: Progress | ProgressListener = False
    runner: Literal["local"] = "local"
    checkpoint: Path | None = None
    epoch_rows: int | None = None
    epoch_s: float | None = 5.0
    mode: Mode = "error"

    @property
    def listener(self) -> ProgressListener | None:
        """The one to tell how far the run is, if any."""
        return self.progress if isinstance(self.progress, ProgressListener) else None


def run_options(
    *,
    batch_rows: int | Literal["auto"] = "auto",
    threads: int | None = None,
    memory_limit: int | str | None = None,
    progress: Progress | ProgressListener = "auto",
    runner: str = "local",
    checkpoint: PathLike | None = None,
    checkpoint_every: Duration | int = "5s",
    mode: Mode = "error",
    environment: Mapping[str, str] | None = None,
) -> RunOptions:
    """Check the settings of a run; one left at its default is looked up in the environment.

    Parameters
    ----------
    batch_rows, threads, memory_limit, progress, runner, checkpoint, checkpoint_every, mode
        As in `Job.run`. `ARROWSTREAM_BATCH_ROWS` and so on replace the default.
    environment
        Where to look instead of `os.environ`.

    Raises
    ------
    PlanError
        If a setting is not one of its choices or out of its range.

    Examples
    --------
    >>> run_options(memory_limit="512MB", checkpoint_every=1000, environment={}).queue_bytes
    512000000
    """
    names = os.environ if environment is None else environment

    def setting(name: str, given: object, default: object) -> object:
        return names.get(ENVIRONMENT_PREFIX + name.upper(), given) if given == default else given

    epoch_rows, epoch_s = _epoch_length(setting("checkpoint_every", checkpoint_every, "5s"))
    return RunOptions(
        batch_rows=_batch_rows(setting("batch_rows", batch_rows, "auto")),
        threads=_threads(setting("threads", threads, None)),
        queue_bytes=_queue_bytes(setting("memory_limit", memory_limit, None)),
        progress=_progress(setting("progress", progress, "auto")),
        runner=_runner(setting("runner", runner, "local")),
        checkpoint=_folder(setting("checkpoint", checkpoint, None)),
        epoch_rows=epoch_rows,
        epoch_s=epoch_s,
        mode=_mode(setting("mode", mode, "error")),
    )


def seconds(name: str, value: Duration | float | None) -> float | None:
    """The seconds of a time-out given as a Polars duration, a timedelta or a number; None stays None."""
    if value is None:
        return None
    if isinstance(value, str | timedelta):
        length_s = _fixed_seconds(value)
        if length_s is not None and length_s >= 0:
            return length_s
    elif not isinstance(value, bool) and value >= 0:
        return float(value)
    raise PlanError(
        f"{name}={value!r} is not a length of time",
        hint=f'give a duration such as {name}="30s", or a number of seconds',
    )


def _fixed_seconds(value: str | timedelta) -> float | None:
    try:
        return durations.parse(value, unit="ns") / 10**9
    except PlanError:  # the caller knows what else could have been given
        return None


def _whole_number(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d[\d_]*", value):
        return int(value)
    return None


def _batch_rows(value: object) -> int | None:
    if value == "auto":
        return None
    rows = _whole_number(value)
    if rows is None or rows < 1:
        raise PlanError(
            f"batch_rows={value!r} is neither 'auto' nor a number of rows",
            hint="leave it at 'auto'; a number such as 65_536 bounds the batches",
        )
    return rows


def _threads(value: object) -> int:
    if value is None:
        return available_cores()
    threads = _whole_number(value)
    if threads is None or not 1 <= threads <= THREADS_MAX:
        raise PlanError(
            f"threads={value!r} is not a number of threads between 1 and {THREADS_MAX}",
            hint=f"leave it at None for all {available_cores()} cores",
        )
    return threads


def available_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _queue_bytes(value: object) -> int:
    if value is None:
        return QUEUE_BYTES_DEFAULT
    limit = _whole_number(value)
    if limit is None and isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        factor = _BYTE_UNITS.get(found[2].upper())
        limit = None if factor is None else int(float(found[1]) * factor)
    if limit is None:
        raise PlanError(
            f"memory_limit={value!r} is not a size", hint='give bytes, or a text such as "512MB" or "2GiB"'
        )
    if limit < QUEUE_BYTES_MIN:
        raise PlanError(
            f"memory_limit={value!r} is less than the smallest possible, {QUEUE_BYTES_MIN:,} bytes",
            hint=f'the default is "{QUEUE_BYTES_DEFAULT // 2**20}MiB"',
        )
    return limit


def _progress(value: object) -> Progress | ProgressListener:
    if isinstance(value, bool | ProgressListener):
        return value
    if value == "auto":
        return "auto"
    if isinstance(value, str) and value.lower() in {"0", "1", "true", "false"}:
        return value.lower() in {"1", "true"}
    raise PlanError(f"progress={value!r} is not one of its choices", choices=("'auto'", "True", "False"))


def _runner(value: object) -> Literal["local"]:
    if value == "ray":
        raise PlanError(
            "runner='ray' is not available yet",
            hint="runner='local' uses all cores of this machine; Ray comes in a later version",
        )
    if value != "local":
        raise PlanError(
            f"runner={value!r} is not one of its choices",
            choices=map(repr, _RUNNERS),
            hint=_did_you_mean(value, _RUNNERS),
        )
    return "local"


def _mode(value: object) -> Mode:
    modes = cast("tuple[str, ...]", get_args(Mode))
    if value not in modes:
        raise PlanError(
            f"mode={value!r} is not one of its choices",
            choices=map(repr, modes),
            hint=_did_you_mean(value, modes),
        )
    return cast("Mode", value)


def _did_you_mean(value: object, choices: tuple[str, ...]) -> str | None:
    found = nearest(str(value), choices)
    return f"did you mean {found!r}?" if found else None


def _folder(value: object) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str | Path) or not str(value):
        raise PlanError(
            f"checkpoint={value!r} is not a folder", hint='give a path, such as checkpoint="state/"'
        )
    if "://" in str(value):
        raise PlanError(
            f"checkpoint={value!r} is a URL, and checkpoints are kept in local folders only",
            hint='give a path, such as checkpoint="state/"',
        )
    if Path(value).is_file():
        raise PlanError(
            f"checkpoint={str(value)!r} is a file, not a folder",
            hint='give a folder, such as checkpoint="state/"; it is made if there is none',
        )
    return Path(value)


def _epoch_length(value: object) -> tuple[int | None, float | None]:
    rows = _whole_number(value)
    if rows is not None and rows > 0:
        return rows, None
    if isinstance(value, str | timedelta):
        length_s = _fixed_seconds(value)
        if length_s is not None and length_s > 0:
            return None, length_s
    raise PlanError(
        f"checkpoint_every={value!r} is neither a duration nor a number of rows",
        hint='give a duration such as "5s", or a number of input rows such as 1_000_000',
    )
