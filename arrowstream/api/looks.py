"""The verbs that look at a query without running it."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from arrowstream.api import display, graph
from arrowstream.api.query import Query
from arrowstream.plan import explain as plan_text
from arrowstream.types import type_text

if TYPE_CHECKING:
    import polars as pl

    from arrowstream.types import PathLike

_COLUMNS_SHOWN_MAX = 40  # more make a notebook unreadable; `schema` has them all


class Looks(Query):
    """What is known of a query before it runs."""

    __slots__ = ()

    def collect_schema(self) -> pl.Schema:
        """Names and types of the columns; known without running.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> ars.from_polars(pl.DataFrame({"a": [1]})).collect_schema()
        Schema([('a', Int64)])
        """
        return self._node.schema.copy()

    @property
    def schema(self) -> pl.Schema:
        """The same as `collect_schema()`."""
        return self.collect_schema()

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return self._node.schema.names()

    @property
    def dtypes(self) -> list[pl.DataType]:
        """Types of the columns."""
        return self._node.schema.dtypes()

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self._node.schema)

    def explain(self) -> str:
        """The query as written and how it runs: what is fused, what is kept, what may be nondeterministic.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> "a" in ars.from_polars(pl.DataFrame({"a": [1]})).filter(a=1).explain()
        True
        """
        return f"{plan_text.logical([self._node])}\n\n{plan_text.physical([self._node])}"

    def show_graph(
        self, *, show: bool = True, output_path: PathLike | None = None, raw_output: bool = False
    ) -> str | None:
        """Draw the query as SVG; no external program is needed, and nothing runs.

        Parameters
        ----------
        show
            Show it in the notebook, if this is one.
        output_path
            Write the SVG to this file.
        raw_output
            Return the SVG whatever else is done with it.

        Returns
        -------
        str or None
            The SVG, if it has neither been shown nor written, or with `raw_output`.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> ars.from_polars(pl.DataFrame({"a": [1]})).show_graph(raw_output=True)[:4]
        '<svg'
        """
        picture = self._picture(standalone=True)
        shown = show and not raw_output and display.in_notebook()
        if shown:
            display.show_html(self._picture())
        if output_path is not None:
            Path(output_path).write_text(picture, encoding="utf-8")
        return picture if raw_output or not (shown or output_path is not None) else None

    def _picture(self, *, standalone: bool = False) -> str:
        drawn = plan_text.graph([self._node])
        boxes = [graph.Box(node.title, tuple(node.lines)) for node in drawn.nodes]
        return graph.svg(boxes, drawn.edges, standalone=standalone)

    def _repr_html_(self) -> str:
        """Schema and plan for notebooks; never runs the query."""
        node = self._node
        rows = [
            f"<tr><td style='text-align:left'>{escape(name)}</td><td style='text-align:left'>"
            f"{escape(type_text(dtype))}{' · event time' if name == node.event_time else ''}</td></tr>"
            for name, dtype in list(node.schema.items())[:_COLUMNS_SHOWN_MAX]
        ]
        if len(node.schema) > _COLUMNS_SHOWN_MAX:
            rows.append(f"<tr><td colspan='2'>… {len(node.schema) - _COLUMNS_SHOWN_MAX} more</td></tr>")
        head = "<tr><th style='text-align:left'>column</th><th style='text-align:left'>type</th></tr>"
        table = f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
        style = "display:flex;flex-wrap:wrap;gap:2em;align-items:flex-start"
        return f"<div style='{style}'>{table}<div>{self._picture()}</div></div>"

    def __repr__(self) -> str:
        """Columns, event time and whether the input ends, in one line; never runs the query."""
        node = self._node
        columns = ", ".join(
            f"{name}: {type_text(dtype)}" for name, dtype in list(node.schema.items())[:_COLUMNS_SHOWN_MAX]
        )
        more = ", …" if len(node.schema) > _COLUMNS_SHOWN_MAX else ""
        time = f", event time {node.event_time}" if node.event_time is not None else ""
        return f"<Stream {{{columns}{more}}}{time}, {'unbounded' if node.unbounded else 'bounded'}>"
