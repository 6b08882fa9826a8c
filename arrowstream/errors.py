"""Every error and warning that arrowstream raises, in one tree.

The branch says whose fault it is: `PlanError` the query's, `DataError` the input's, `ConnectorError`
the outside world's, `StateError` the checkpoint's, `InternalError` ours.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CHOICES_SHOWN_MAX = 20  # more names than that do not help a reader


class ArrowStreamError(Exception):
    """Root of all errors.

    Parameters
    ----------
    fact
        What is wrong, naming the thing.
    choices
        What could have been written instead, if that is a closed set.
    hint
        The way out.
    operator_id, partition, file, offset
        Where it happened, as far as it is known; `offset` is a row, counted from 0, of the file if that is
        known, else of the partition.

    Examples
    --------
    >>> print(ArrowStreamError("there is no mode 'ad'", choices=("append", "error"), hint="leave it out"))
    there is no mode 'ad'
      choices: append, error
      hint: leave it out
    """

    def __init__(
        self,
        fact: str,
        *,
        choices: Iterable[str] = (),
        hint: str | None = None,
        operator_id: str | None = None,
        partition: str | None = None,
        offset: int | None = None,
    ) -> None:
        self.fact = fact
        self.choices = tuple(choices)
        self.hint = hint
        self.operator_id = operator_id
        self.partition = partition
        self.file: str | None = None
        self.offset = offset
        super().__init__(fact)

    def __str__(self) -> str:
        lines = [self.fact]
        place = [
            f"{name} {value}"
            for name, value in (
                ("operator", self.operator_id),
                ("partition", self.partition),
                ("file", self.file),
                ("row", self.offset),
            )
            if value is not None
        ]
        if place:
            lines.append(f"  at: {', '.join(place)}")
        if self.choices:
            shown = ", ".join(self.choices[:_CHOICES_SHOWN_MAX])
            more = len(self.choices) - _CHOICES_SHOWN_MAX
            lines.append(f"  choices: {shown}" + (f", … {more} more" if more > 0 else ""))
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class PlanError(ArrowStreamError):
    """The query cannot run as written; raised at the line that wrote it, before any data moves.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars
    >>> try:
    ...     ars.from_polars(pl.DataFrame({"price": [1]})).filter(pl.col("prize") > 0)
    ... except PlanError as error:
    ...     print(error.hint)
    did you mean "price"?
    """


class DataError(ArrowStreamError):
    """A record cannot be processed.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars
    >>> try:
    ...     ars.from_polars(pl.DataFrame({"a": [1, -1]})).validate({"positive": "a > 0"}).collect()
    ... except DataError as error:
    ...     print(error.fact, error.operator_id, error.offset)
    a row does not keep the rules (failed: positive): a: -1 validate-2 1
    """


class ConnectorError(ArrowStreamError):
    """A file, a service or a client library failed.

    Attributes
    ----------
    retryable
        Whether the same call may succeed later.

    Examples
    --------
    >>> ConnectorError("the service does not answer", retryable=True).retryable
    True
    """

    def __init__(
        self,
        fact: str,
        *,
        retryable: bool = False,
        choices: Iterable[str] = (),
        hint: str | None = None,
        operator_id: str | None = None,
        partition: str | None = None,
        offset: int | None = None,
    ) -> None:
        super().__init__(
            fact, choices=choices, hint=hint, operator_id=operator_id, partition=partition, offset=offset
        )
        self.retryable = retryable


class StateError(ArrowStreamError):
    """A checkpoint cannot be used: damaged, of another query, or of another output."""


class FencedError(StateError):
    """A newer process has taken over this checkpoint; this one has published nothing since."""


class InternalError(ArrowStreamError):
    """A bug in arrowstream."""


class ArrowStreamWarning(UserWarning):
    """Root of all warnings."""


class JobNeverRunWarning(ArrowStreamWarning):
    """A Job was dropped without having been run."""


class LateRowsWarning(ArrowStreamWarning):
    """A replay met late rows; the message names the lateness that would have kept them."""


class DeadLettersWarning(ArrowStreamWarning):
    """Bad input was made dead letters, and no `.dead_letters()` stream of the run gave them to anybody."""


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name most like `name`, for a "did you mean" hint.

    Examples
    --------
    >>> nearest("prize", ["auction", "price"])
    'price'
    """
    found = get_close_matches(name, list(names), n=1)
    return found[0] if found else None


def unknown_choice(option: str, value: object, choices: Iterable[str]) -> PlanError:
    """The error for an option that has another value than those it can have.

    Examples
    --------
    >>> print(unknown_choice("compression", "zst", ("gzip", "zstd")))
    compression='zst' is not known
      choices: gzip, zstd
      hint: did you mean 'zstd'?
    """
    choices = tuple(choices)
    near = nearest(str(value), choices)
    hint = f"did you mean {near!r}?" if near else None
    return PlanError(f"{option}={value!r} is not known", choices=choices, hint=hint)
