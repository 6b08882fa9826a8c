"""The files of an output that are published, epoch by epoch whole: what `committed_only=True` reads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from arrowstream.connectors.files.history import read_manifest, require_contiguous
from arrowstream.connectors.files.output import medium_of
from arrowstream.errors import PlanError, StateError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from arrowstream.types import PathLike

_READS_AT_ONCE = 8  # an object store answers slowly, but many at a time


def committed_files(folder: PathLike, storage_options: Mapping[str, Any] | None = None) -> list[str]:
    """Paths or URLs of the data files of all published epochs, in the order of epochs.

    A plain look at the folder may see a part of the files of the epoch that is being published; this sees
    all of them, or none.

    Parameters
    ----------
    folder
        The output of a job: a local folder or a URL.
    storage_options
        As in `scan_parquet`.

    Raises
    ------
    PlanError
        No job has written there.
    StateError
        The history is damaged, or files of an epoch that was published are gone.
    """
    medium = medium_of(folder, storage_options)
    if medium.read("job.json") is None:
        raise PlanError(
            f"{medium.label} is not the output of a job: it has no history beside it",
            hint="leave committed_only out, or name the folder that was given to a sink",
        )
    epochs = medium.epochs()
    if not epochs:
        return []
    require_contiguous(medium, epochs)
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        manifests = list(pool.map(partial(read_manifest, medium), epochs))
    if missing := medium.missing(manifests[-1]):
        # Its manifest is there, its files are on their way. Those before it were complete by then.
        later = medium.epochs()
        if later[-1] > epochs[-1] and (missing := medium.missing(manifests[-1])):
            raise StateError(
                f"{medium.url(missing[0])} was published, and is gone",
                hint='restore the file, or write the output anew with mode="overwrite"',
            )
        if missing:
            manifests.pop()
    return [medium.url(file.name) for manifest in manifests for file in manifest.files]
