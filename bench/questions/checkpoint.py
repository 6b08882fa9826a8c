"""What exactly-once costs: the same job with and without checkpoints, on a run long enough to take some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peers import AGGREGATES
from question import Question, Target

if TYPE_CHECKING:
    from question import Input, Result

ROWS_FACTOR = 10  # a run has to be long against "5s"


def run(data: Input, checkpoint_every: str | None) -> Result:
    """Tumbling windows to Parquet."""
    import arrowstream as ars

    job = (
        ars.scan_parquet(data.files, event_time="date_time")
        .group_by_dynamic("date_time", every="10s", group_by="auction")
        .agg(**AGGREGATES)
        .sink_parquet(data.scratch / "output")
    )
    if checkpoint_every is None:
        job.run(progress=False)
    else:
        job.run(checkpoint=data.scratch / "checkpoint", checkpoint_every=checkpoint_every, progress=False)
    return None


QUESTION = Question(
    title="Checkpoints",
    asks="tumbling 10 s by auction into Parquet: without a checkpoint, every 5 s, and every second",
    contenders={
        "no checkpoint": lambda data: run(data, None),
        "every 5 s": lambda data: run(data, "5s"),
        "every 1 s": lambda data: run(data, "1s"),
    },
    targets=[Target("every 5 s", ["no checkpoint"], at_least=0.9)],
    rows_factor=dict.fromkeys(("no checkpoint", "every 5 s", "every 1 s"), ROWS_FACTOR),
)
