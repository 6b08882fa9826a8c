"""Grouping by windows of event time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from arrowstream.plan import build

if TYPE_CHECKING:
    from arrowstream.api.stream import Stream
    from arrowstream.plan.nodes import Window
    from arrowstream.types import IntoExpr, IntoExprs

_SHORTCUTS = frozenset(
    {"all", "first", "last", "len", "max", "mean", "median", "min", "n_unique", "quantile", "sum"}
)


class DynamicGroupBy:
    """Windows of event time, without what to compute in them: made by `Stream.group_by_dynamic`.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars
    >>> from datetime import datetime
    >>> bids = pl.DataFrame({"t": [datetime(2026, 1, 1, 0, 0, s) for s in (1, 2, 12)], "price": [9, 7, 8]})
    >>> windows = ars.from_polars(bids, event_time="t").group_by_dynamic("t", every="10s")
    >>> windows.agg(bids=pl.len(), top=pl.col("price").max()).select("bids", "top").collect().rows()
    [(2, 9), (1, 8)]
    """

    __slots__ = ("_windows",)

    def __init__(self, windows: Window) -> None:
        self._windows = windows

    def agg(self, *aggs: IntoExprs, **named_aggs: IntoExpr) -> Stream:
        """One row for each window and group, as the window closes.

        Parameters
        ----------
        *aggs
            Any Polars aggregation. `len count sum min max mean var std first last any all` over an
            expression that looks at one row are kept as small partial states; for any other expression the
            window's rows are kept until it closes. `explain()` says which is which.
        **named_aggs
            More of them, under the keyword's name.

        Returns
        -------
        Stream
            Columns: group keys, the boundaries if asked for, the window's start, aggregates. Rows come by
            window start, then by the group's first row. Its event time is the window's start.

        Raises
        ------
        PlanError
            Unknown column, ill-typed expression, or two columns of one name.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> from datetime import datetime
        >>> rows = pl.DataFrame({"t": [datetime(2026, 1, 1, 0, 0, s) for s in (1, 2, 12)], "x": [5, 6, 7]})
        >>> windows = ars.from_polars(rows, event_time="t").group_by_dynamic("t", every="10s")
        >>> windows.agg(pl.col("x").sum()).collect()["x"].to_list()
        [11, 7]
        """
        from arrowstream.api.stream import Stream  # the two classes make each other

        return Stream(build.aggregate(self._windows, *aggs, **named_aggs))

    def late(self) -> Stream:
        """The rows that came too late for all of their windows, with the columns they came with.

        Without `lateness` no row is late, and the stream is empty.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> from datetime import datetime
        >>> rows = pl.DataFrame({"t": [datetime(2026, 1, 1, 0, 0, s) for s in (1, 30, 2)]})
        >>> bids = ars.from_polars(rows, event_time="t", lateness="5s")
        >>> bids.group_by_dynamic("t", every="10s").late().collect()["t"].dt.second().to_list()
        [2]
        """
        from arrowstream.api.stream import Stream

        return Stream(build.late_rows(self._windows))

    def dead_letters(self) -> Stream:
        """What could not be read, or was rejected, upstream: see `Stream.dead_letters`.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> from datetime import datetime
        >>> rows = pl.DataFrame({"t": [datetime(2026, 1, 1), None]})
        >>> bids = ars.from_polars(rows, event_time="t", on_error="dead_letter")
        >>> bids.group_by_dynamic("t", every="10s").dead_letters().collect()["original"].to_list()
        [b'{"t":null}']
        """
        from arrowstream.api.stream import Stream

        return Stream(build.dead_letters(self._windows.input))

    def __repr__(self) -> str:
        """Its windows, in one line."""
        windows = self._windows
        keys = f", by {', '.join(windows.keys)}" if windows.keys else ""
        lengths = f"every {windows.every}, period {windows.period}"
        return f"<DynamicGroupBy on {windows.index_column}, {lengths}{keys}: give it to .agg(...)>"

    def __getattr__(self, name: str) -> NoReturn:
        """Say what to write instead."""
        text = f"'DynamicGroupBy' has no {name!r}"
        if name in _SHORTCUTS:
            call = "pl.len()" if name == "len" else "pl.all()" if name == "all" else f"pl.all().{name}(...)"
            text += f"\n  hint: use .agg({call})"
        elif not name.startswith("_"):
            text += "\n  hint: use .agg(...), which gives a Stream"
        raise AttributeError(text)
