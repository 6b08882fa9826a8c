"""Why nothing is coming out: what each operator has let through, and what windows wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arrowstream.config import NO_TIME
from arrowstream.plan.nodes import Window
from arrowstream.runtime.operators.event_time import EventTimeOperator
from arrowstream.runtime.report import count
from arrowstream.runtime.watermark import as_datetime, is_finite, lateness_text

if TYPE_CHECKING:
    from arrowstream.runtime.lowering import Stage
    from arrowstream.runtime.pipeline import Pipeline


_NAMES_MAX = 3  # of idle partitions: more do not help a reader


def explain_silence(pipeline: Pipeline) -> str:
    """A line for each reason, the nearest to the source first."""
    if not pipeline.rows_in:
        return "no row has come from the source yet"
    reasons = [reason for stage in pipeline.stages for reason in _reasons(stage)]
    if not reasons:
        reasons = [f"rows are coming out: {count(sum(pipeline.rows_out), 'row')} so far"]
    return "\n".join([*reasons, *(told for stage in pipeline.stages for told in _idle(stage))])


def _idle(stage: Stage) -> list[str]:
    """Partitions that nobody waits for, as they have had no rows for `idle_timeout`."""
    operator = stage.operator
    if not isinstance(operator, EventTimeOperator) or not operator.idle:
        return []
    names = operator.idle
    more = f" and {len(names) - _NAMES_MAX} more" if len(names) > _NAMES_MAX else ""
    return [f"{operator.operator_id}: not waiting for idle {', '.join(map(repr, names[:_NAMES_MAX]))}{more}"]


def _reasons(stage: Stage) -> list[str]:
    operator = stage.operator
    if operator is None:
        return []
    if isinstance(operator, EventTimeOperator):
        return _no_watermark(stage, operator)
    if not stage.meter.rows_in or stage.meter.rows_out:
        return []
    if isinstance(stage.node, Window):
        return [_waiting(stage, stage.node)]
    return [f"{operator.operator_id}: none of {count(stage.meter.rows_in, 'row')} has passed it"]


def _no_watermark(stage: Stage, operator: EventTimeOperator) -> list[str]:
    if stage.watermark != NO_TIME:
        return []
    reason = (
        f"as long as partition {operator.slowest()!r} has delivered no row"
        if operator.lateness is not None
        else f"until the input ends: without lateness it is the earliest {operator.column!r} that is still "
        "to be read, which this source cannot tell"
    )
    return [f"{operator.operator_id}: the watermark is minus infinity {reason}"]


def _waiting(stage: Stage, node: Window) -> str:
    dtype = node.input.schema[node.index_column]
    told = f"{_name(stage)}: {count(stage.meter.rows_in, 'row')} wait in open windows"
    if is_finite(stage.watermark_in):
        told += f"; the watermark is at {as_datetime(stage.watermark_in, dtype)}"
    if node.input.lateness:
        told += f", which is {lateness_text(node.input.lateness, dtype)} behind the latest row"
    slowest = _slowest_partition(stage)
    return told if slowest is None else f"{told}; partition {slowest!r} is furthest behind"


def _slowest_partition(stage: Stage) -> str | None:
    """The partition that the watermark of this stage waits for, if there are several."""
    above = stage.above
    while above is not None and not isinstance(above.operator, EventTimeOperator):
        above = above.above
    operator = above.operator if above is not None else None
    if not isinstance(operator, EventTimeOperator) or operator.partition_count == 1:
        return None
    return operator.slowest()


def _name(stage: Stage) -> str:
    return stage.operator.operator_id if stage.operator is not None else "scan"
