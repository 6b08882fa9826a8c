"""Pushes frames and watermarks through the tree of operators."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias, cast

import polars as pl

from arrowstream.config import END_OF_TIME, HIDDEN, NO_TIME
from arrowstream.errors import ArrowStreamError, DataError, InternalError
from arrowstream.plan.nodes import MapBatches, RowStep, Window
from arrowstream.runtime.letters import Letters
from arrowstream.runtime.lowering import SCAN_ID, lower
from arrowstream.runtime.metrics import OperatorMetrics
from arrowstream.runtime.operators.event_time import EventTimeOperator
from arrowstream.runtime.operators.filter_file import FilterFileOperator
from arrowstream.runtime.operators.limit import LimitOperator
from arrowstream.runtime.operators.processing_time import ProcessingTimeOperator
from arrowstream.runtime.operators.rows_in import without
from arrowstream.runtime.operators.validate import ValidateOperator
from arrowstream.runtime.slots import Origin
from arrowstream.runtime.watermark import as_datetime, is_finite, lateness_text, minus, unit_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from arrowstream.plan.nodes import Node
    from arrowstream.protocols import Operator, Snapshot
    from arrowstream.runtime.epochs import OperatorState
    from arrowstream.runtime.lowering import Stage
    from arrowstream.runtime.operators.rejects import Rejects
    from arrowstream.runtime.turns import Turn
    from arrowstream.types import Json

Output: TypeAlias = "tuple[int, pl.DataFrame]"
"""Index of a root, and rows of its result."""

_NOT_OURS = (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError)


class Pipeline:
    """All operators of a run.

    Everything it does is a function of the frames pushed and of the horizons given to `advance`. Used by
    one thread at a time; other threads may read its counters.

    Parameters
    ----------
    roots
        Results of the run, in the order of the indexes of `push`.
    partitions
        Names of the source's partitions.
    checkpointing
        Whether `snapshot` will be called.
    threads
        How many it may use: with more than one, operators get one beside the caller's. `close` ends it.
    origin
        Columns of the frames in which the source says where a row is from.
    """

    def __init__(
        self,
        roots: Sequence[Node],
        *,
        partitions: Sequence[str] = ("all",),
        checkpointing: bool = False,
        threads: int = 1,
        origin: Origin | None = None,
    ) -> None:
        self._schemas = [root.schema for root in roots]
        self._helper = ThreadPoolExecutor(1, "arrowstream-fold") if threads > 1 else None
        self._top, self._stages = lower(
            roots, partitions=partitions, checkpointing=checkpointing, helper=self._helper
        )
        self._letters = Letters(self._stages, partitions, origin or Origin())
        self.rows_in = 0
        self.rows_out = [0] * len(roots)

    @property
    def satisfied(self) -> bool:
        """Whether further input changes nothing: every result has all the rows its limit allows."""
        return _is_satisfied(self._top)

    def begin_epoch(self, epoch: int, given: Mapping[str, Json]) -> dict[str, Json]:
        """Tell the operators what holds for the rows that follow: what is given, else what they see outside.

        Returns
        -------
        dict
            What they were told, by operator id.
        """
        told: dict[str, Json] = {}
        for stage in self._stages:
            operator = stage.operator
            if isinstance(operator, FilterFileOperator | ProcessingTimeOperator):
                operator_id = operator.operator_id
                seen = given[operator_id] if operator_id in given else operator.outside.observe(epoch)
                operator.begin_epoch(seen)
                told[operator_id] = seen
        return told

    def push(self, frame: pl.DataFrame) -> list[Output]:
        """Take rows of the source in; what the results get from them comes out."""
        outputs: list[Output] = []
        frame = self._letters.enter(frame)
        self.rows_in += frame.height
        if frame.height:
            self._push(self._top, frame, outputs)
        for stage in self._letters.stages:
            self._give_letters(stage, outputs)
        self._letters.leave()
        return outputs

    def _give_letters(self, stage: Stage, outputs: list[Output]) -> None:
        """Dead letters go on as rows: those of the source and of all operators, in the order of the input."""
        letters = self._letters.of(stage)
        if letters is not None and not _is_satisfied(stage):
            stage.meter.add(letters.height, letters.height, 0.0)
            self._emit(stage, letters, outputs)

    def turn(self, turns: Sequence[Turn]) -> None:
        """Partitions have come, gone, or wait, before the rows that are pushed next."""
        for stage in self._stages:
            if isinstance(stage.operator, EventTimeOperator):
                stage.operator.turn(turns)
        self._letters.turn(turns)

    def advance(self, horizon: int, ended: Iterable[int] = ()) -> list[Output]:
        """Tell all operators how far time has come; windows that close come out.

        Parameters
        ----------
        horizon
            The smallest event time that the source can still deliver, NO_TIME if that is not known.
        ended
            Partitions of the source that have no further rows.
        """
        outputs: list[Output] = []
        for stage in self._stages:
            if isinstance(stage.operator, EventTimeOperator):
                stage.operator.end_partitions(ended if horizon != END_OF_TIME else ())
        self._advance(self._top, horizon, horizon, outputs)
        for stage in self._letters.stages:
            self._give_letters(stage, outputs)
            time = END_OF_TIME if horizon == END_OF_TIME else NO_TIME  # no source knows of dead letters
            self._advance(stage, time, time, outputs)
        self._letters.leave()
        return outputs

    def finish(self) -> list[Output]:
        """No rows follow: everything closes."""
        return self.advance(END_OF_TIME)

    def close(self) -> None:
        """End its thread. Idempotent; its counters can still be read."""
        if self._helper is not None:
            self._helper.shutdown(cancel_futures=True)

    def _push(self, stage: Stage, frame: pl.DataFrame, outputs: list[Output]) -> None:
        if stage.unwanted:
            frame = without(frame, stage.unwanted)
        if stage.operator is None:
            self._emit(stage, frame, outputs)
            return
        operator = stage.operator
        frames = self._call(stage, frame.height, lambda: operator.process(frame))
        for result in frames:
            self._emit(stage, result, outputs)

    def _emit(self, stage: Stage, frame: pl.DataFrame, outputs: list[Output]) -> None:
        if not frame.height:
            return
        for index in stage.outputs:
            visible = without(frame, HIDDEN)
            if visible.schema != self._schemas[index]:
                raise InternalError(
                    f"a result has columns {dict(visible.schema)}, planned were {dict(self._schemas[index])}",
                    operator_id=stage.operator.operator_id if stage.operator else None,
                )
            self.rows_out[index] += frame.height
            outputs.append((index, visible))
        for child in stage.children:
            if not _is_satisfied(child):
                self._push(child, frame, outputs)

    def _advance(self, stage: Stage, horizon: int, watermark: int, outputs: list[Output]) -> None:
        operator = stage.operator
        stage.watermark_in = watermark
        if not stage.same_event_time and horizon != END_OF_TIME:
            horizon = NO_TIME
        if operator is not None:
            given = horizon if isinstance(operator, EventTimeOperator) else watermark
            frames, watermark = self._call_on_watermark(stage, operator, given)
            for frame in frames:
                self._emit(stage, frame, outputs)
            if isinstance(stage.node, Window):
                horizon = watermark
            elif isinstance(operator, LimitOperator) and operator.satisfied:
                horizon = watermark = END_OF_TIME
        stage.watermark = watermark
        for child in stage.children:
            self._advance(child, horizon, watermark, outputs)

    def _call_on_watermark(
        self, stage: Stage, operator: Operator, watermark: int
    ) -> tuple[list[pl.DataFrame], int]:
        reached = watermark

        def call() -> list[pl.DataFrame]:
            nonlocal reached
            frames, reached = operator.on_watermark(watermark)
            return frames

        return self._call(stage, 0, call), reached

    def _call(self, stage: Stage, rows_in: int, call: Callable[[], list[pl.DataFrame]]) -> list[pl.DataFrame]:
        started = perf_counter()
        try:
            frames = call()
        except _NOT_OURS:
            raise
        except ArrowStreamError as error:
            if error.operator_id is None:
                error.operator_id = stage.operator.operator_id if stage.operator else None
            if isinstance(stage.operator, ValidateOperator) and stage.operator.bad_slot is not None:
                self._letters.locate(error, stage.operator.bad_slot)
            raise
        except BaseException as error:  # Polars' panics are no Exceptions
            raise _translated(error, stage) from error
        stage.meter.add(rows_in, sum(frame.height for frame in frames), perf_counter() - started)
        return frames

    def snapshot(self) -> dict[str, Snapshot]:
        """State of every operator by its id, after the rows pushed so far."""
        return {
            operator.operator_id: operator.snapshot()
            for stage in self._stages
            if (operator := stage.operator) is not None
        }

    def restore(self, states: Mapping[str, OperatorState]) -> None:
        """Go on from a snapshot; called once, before any `push`."""
        for stage in self._stages:
            if stage.operator is not None and stage.operator.operator_id in states:
                state = states[stage.operator.operator_id]
                stage.operator.restore(state.values, state.runs)

    def counters(self) -> dict[str, Json]:
        """Rows in and out so far, for a checkpoint."""
        return {
            "rows_in": self.rows_in,
            "rows_out": list(self.rows_out),
            "dead_letters": self._letters.values(),
        }

    def restore_counters(self, counters: Mapping[str, Json]) -> None:
        """Go on counting; without counters from zero."""
        if counters:
            self.rows_in = cast("int", counters["rows_in"])
            self.rows_out = list(cast("list[int]", counters["rows_out"]))
            self._letters.restore(cast("dict[str, Json]", counters["dead_letters"]))

    # What the run can be asked, from any thread.

    @property
    def operator_ids(self) -> list[str]:
        """Names of the operators, from the source down."""
        return [stage.operator.operator_id for stage in self._stages if stage.operator is not None]

    def operator_metrics(self) -> tuple[OperatorMetrics, ...]:
        """Counters of each operator."""
        return tuple(
            OperatorMetrics(
                stage.operator.operator_id, stage.meter.rows_in, stage.meter.rows_out, stage.meter.busy_s
            )
            for stage in self._stages
            if stage.operator is not None
        )

    @property
    def late_rows(self) -> int:
        """Rows that came too late for all of their windows."""
        return sum(getattr(operator, "late_rows", 0) for operator in self._windows())

    @property
    def missed_windows(self) -> int:
        """Windows missed by rows that entered others."""
        return sum(getattr(operator, "missed_windows", 0) for operator in self._windows())

    @property
    def skipped_rows(self) -> int:
        """What the source and operators have dropped because of `on_error="skip"`."""
        return self._letters.skipped + sum(rejects.skipped_rows for _, rejects in self._rejecting())

    @property
    def reload_errors(self) -> int:
        """How often files of rules could not be read again."""
        return sum(getattr(stage.operator, "reload_errors", 0) for stage in self._stages)

    def dead_letters(self) -> dict[str, int]:
        """How many dead letters the source and each operator has made."""
        found = {SCAN_ID: self._letters.from_source}
        for stage, rejects in self._rejecting():
            if stage.operator is not None:
                found[stage.operator.operator_id] = rejects.dead_letters
        return {name: made for name, made in found.items() if made}

    @property
    def dead_letters_unread(self) -> int:
        """How many of them no stream of the run gives."""
        unread = 0 if self._top.letters_below else self._letters.from_source
        return unread + sum(
            rejects.dead_letters for stage, rejects in self._rejecting() if not stage.letters_below
        )

    def _rejecting(self) -> list[tuple[Stage, Rejects]]:
        found = [(stage, getattr(stage.operator, "rejects", None)) for stage in self._stages]
        return [(stage, rejects) for stage, rejects in found if rejects is not None]

    def lateness_needed(self) -> str | None:
        """A lateness that would have kept all late rows."""
        needed: tuple[int, str] | None = None
        for stage in self._stages:
            units: int | None = getattr(stage.operator, "lateness_needed", None)
            if isinstance(stage.node, Window) and units is not None:
                dtype = stage.node.input.schema[stage.node.index_column]
                found = (units * (unit_ns(dtype) or 1), lateness_text(units, dtype))
                needed = max(needed or found, found)
        return needed[1] if needed else None

    def watermark_value(self) -> int:
        """The watermark at the first event-time node; NO_TIME without one."""
        for stage in self._stages:
            if isinstance(stage.operator, EventTimeOperator):
                return stage.watermark
        return NO_TIME

    def watermark(self) -> datetime | None:
        """The same for people: after the end, the largest event time, minus the lateness."""
        for stage in self._stages:
            operator = stage.operator
            if isinstance(operator, EventTimeOperator):
                value = stage.watermark
                if not is_finite(value):
                    value = NO_TIME if value == NO_TIME else minus(operator.highest, operator.lateness or 0)
                return as_datetime(value, operator.dtype)
        return None

    def _windows(self) -> list[Operator]:
        return [s.operator for s in self._stages if isinstance(s.node, Window) and s.operator is not None]

    @property
    def stages(self) -> Sequence[Stage]:
        """All stages from the source down."""
        return self._stages


def _is_satisfied(stage: Stage) -> bool:
    if isinstance(stage.operator, LimitOperator) and stage.operator.satisfied:
        return True
    below = [*stage.children, *stage.letters_below]
    return not stage.outputs and all(_is_satisfied(child) for child in below)


def _translated(error: BaseException, stage: Stage) -> ArrowStreamError:
    operator_id = stage.operator.operator_id if stage.operator else None
    told = f"{type(error).__name__}: {error}"
    if isinstance(stage.node, MapBatches):
        return DataError(f"the function given to map_batches failed: {told}", operator_id=operator_id)
    if isinstance(error, pl.exceptions.PolarsError | pl.exceptions.PanicException):
        return DataError(f"Polars could not evaluate the expressions: {told}", operator_id=operator_id)
    if isinstance(stage.node, RowStep):
        return DataError(f"a function in an expression failed: {told}", operator_id=operator_id)
    return InternalError(told, operator_id=operator_id)
