"""What a run did."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from arrowstream.errors import DeadLettersWarning, LateRowsWarning
from arrowstream.runtime.metrics import connectors_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import pyarrow as pa

    from arrowstream.runtime.metrics import ConnectorMetrics


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Report:
    """The outcome of a job. Counts, except those of `connectors`, are over all runs of the job.

    Attributes
    ----------
    status
        "finished": the input has ended and everything is published. "stopped": stopped before that.
        "already_complete": an earlier run had finished; nothing was done.
    rows_in
        Input rows read.
    rows_out
        Rows given to the sinks.
    rows_out_by_sink
        The same, sink by sink.
    late_rows
        Rows that came too late for all of their windows.
    missed_windows
        Windows missed by rows that came in time for others of theirs.
    lateness_needed
        A lateness that would have kept them all, None if nothing was late.
    skipped_rows
        What was dropped because of `on_error="skip"`: by the source, what it could not read; by operators,
        rows without event time, or that a rule or a function did not take.
    dead_letters
        What became dead letters because of `on_error="dead_letter"`.
    dead_letters_by_operator
        The same, by the source ("scan") and operators that made them.
    dead_letters_unread
        Those among them that no `.dead_letters()` stream of the run has given.
    reload_errors
        How often a file of rules could not be read again, or had a mistake: the rules stayed as they were.
    epochs
        Epochs published.
    connectors
        What the source and the sinks have done in this run.
    watermark
        No earlier event time is expected; None if nothing is known of event time.
    seconds
        Duration of this run.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars
    >>> report = ars.from_polars(pl.DataFrame({"a": [1, 2]})).sink_batches(lambda rows: None).run()
    >>> report.status, report.rows_in, report.rows_out
    ('finished', 2, 2)
    >>> print(str(report).split(",")[0])
    finished: 2 rows in
    """

    status: Literal["finished", "stopped", "already_complete"]
    rows_in: int = 0
    rows_out: int = 0
    rows_out_by_sink: Mapping[str, int] = field(default_factory=dict)
    late_rows: int = 0
    missed_windows: int = 0
    lateness_needed: str | None = None
    skipped_rows: int = 0
    dead_letters: int = 0
    dead_letters_by_operator: Mapping[str, int] = field(default_factory=dict)
    dead_letters_unread: int = 0
    reload_errors: int = 0
    epochs: int = 0
    connectors: tuple[ConnectorMetrics, ...] = ()
    watermark: datetime | None = None
    seconds: float = 0.0

    def connectors_table(self) -> pa.Table:
        """`connectors` as an Arrow table, one row each.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> report = ars.from_polars(pl.DataFrame({"a": [1, 2]})).sink_batches(lambda rows: None).run()
        >>> report.connectors_table().select(["kind", "rows"]).to_pylist()
        [{'kind': 'source', 'rows': 2}, {'kind': 'sink', 'rows': 2}]
        """
        return connectors_table(self.connectors)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    __repr__ = __str__

    def _lines(self) -> list[str]:
        if self.status == "already_complete":
            return ["already complete: an earlier run had finished, nothing was done"]
        rows = f"{count(self.rows_in, 'row')} in, {count(self.rows_out, 'row')} out"
        lines = [f"{self.status}: {rows}, {count(self.epochs, 'epoch')}, {self.seconds:.2f} s"]
        told = {(one.kind, one.name): text for one in self.connectors if (text := _told(one))}
        if len(self.rows_out_by_sink) > 1:
            for name, out in self.rows_out_by_sink.items():
                files = told.pop(("sink", name), "")
                lines.append(f"  {name}: {count(out, 'row')} out" + (files and f", {files}"))
        if self.watermark is not None:
            lines.append(f"  watermark: {self.watermark}")
        if self.late_rows or self.missed_windows:
            lines.append(f"  late: {late_text(self.late_rows, self.missed_windows)}")
            lines.append(f'  nothing would have been late with lateness="{self.lateness_needed}"')
        if self.skipped_rows:
            lines.append(f"  skipped: {count(self.skipped_rows, 'row')}")
        if self.dead_letters:
            made = [f"{name} {n:,}" for name, n in self.dead_letters_by_operator.items() if n]
            unread = f", {self.dead_letters_unread:,} of them unread" if self.dead_letters_unread else ""
            lines.append(f"  dead letters: {self.dead_letters:,} ({', '.join(made)}){unread}")
        if self.reload_errors:
            lines.append(f"  rules stayed as they were: {count(self.reload_errors, 'mistake')} in their file")
        return lines + [f"  {kind} {name}: {text}" for (kind, name), text in told.items()]


def _told(connector: ConnectorMetrics) -> str:
    """What a connector has done besides rows, which are told elsewhere."""
    counts = [
        count(connector.files, "file") if connector.files else None,
        size_text(connector.bytes) if connector.bytes else None,
        f"{count(connector.errors, 'error')} skipped" if connector.errors else None,
        count(connector.dead_letters, "dead letter") if connector.dead_letters else None,
    ]
    return ", ".join(text for text in counts if text)


def size_text(size_bytes: int) -> str:
    """A size for people.

    Examples
    --------
    >>> size_text(12_345_678)
    '12.3 MB'
    """
    size, unit = float(size_bytes), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"


def count(number: int, noun: str) -> str:
    """A number and its noun.

    Examples
    --------
    >>> count(1200, "row")
    '1,200 rows'
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def late_text(late_rows: int, missed_windows: int) -> str:
    """How much was late."""
    parts = []
    if late_rows:
        parts.append(count(late_rows, "row"))
    if missed_windows:
        parts.append(f"{count(missed_windows, 'window')} missed by rows that entered others")
    return ", ".join(parts)


def warn_of_lost_rows(report: Report) -> None:
    """Warn, at the line of the user, if a run that has come to its end lost rows that nobody asked to lose.

    These are late rows, and dead letters that nobody reads.
    """
    if report.status != "finished":
        return
    if report.late_rows or report.missed_windows:
        warnings.warn(
            f"{late_text(report.late_rows, report.missed_windows)} came too late and changed no result\n"
            f'  hint: lateness="{report.lateness_needed}" would have kept them all; '
            ".late() gives the late rows",
            LateRowsWarning,
            stacklevel=_stacklevel_of_user(),
        )
    if report.dead_letters_unread:
        warnings.warn(
            f"{count(report.dead_letters_unread, 'dead letter')} nobody has read\n"
            "  hint: run .dead_letters() beside the result, as in ars.run([result.sink_parquet(…), "
            "result.dead_letters().sink_parquet(…)]), or collect it; "
            'on_error="skip" drops bad input without this warning',
            DeadLettersWarning,
            stacklevel=_stacklevel_of_user(),
        )


def _stacklevel_of_user() -> int:
    """How far up the first frame is that is not in this package, seen from the caller."""
    frame, level = sys._getframe(1), 1  # noqa: SLF001 - warnings has skip_file_prefixes from 3.12 on
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("arrowstream."):
        frame, level = frame.f_back, level + 1
    return level
