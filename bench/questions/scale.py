"""Ten times the input, generated on the fly: neither the cost of a row nor memory may grow with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peers import AGGREGATES
from question import MemoryTarget, Question, Target

if TYPE_CHECKING:
    from question import Input, Result

COLUMNS = ("auction", "price", "date_time")


def replay(data: Input) -> Result:
    """Tumbling windows over generated bids; each result is dropped as it comes."""
    import arrowstream as ars
    from arrowstream import nexmark

    windows = (
        ars.from_batches(
            lambda: nexmark.iter_bids(data.rows, columns=COLUMNS),
            schema={name: nexmark.BID_SCHEMA[name] for name in COLUMNS},
            event_time="date_time",
            lateness="0s",
        )
        .group_by_dynamic("date_time", every="10s", group_by="auction")
        .agg(**AGGREGATES)
    )
    for _ in windows.iter_batches(progress=False):
        pass
    return None


QUESTION = Question(
    title="Ten times the rows",
    asks="tumbling 10 s by auction over ten times as many rows, generated on the fly: time and memory",
    contenders={"1×": replay, "10×": replay},
    targets=[Target("10×", ["1×"], at_least=0.9), MemoryTarget("10×", "1×", at_most=1.2)],
    rows_factor={"10×": 10},
    input=None,
    fresh_process=True,
)
