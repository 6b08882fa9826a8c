"""The verbs that work on each row alone, with the names and arguments of `pl.LazyFrame`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from arrowstream.api.query import Query
from arrowstream.plan import build

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal, Self

    import polars as pl

    from arrowstream.plan.nodes import Node
    from arrowstream.types import ColumnNames, IntoExpr, IntoExprs, OnError, PathLike


class RowVerbs(Query):
    """Stateless verbs: each gives a new stream; what is written is checked at once, and nothing runs.

    An expression sees one row: those that look at other rows (`shift`, `cum_sum`, `over`, `len()`,
    `mean()` …) are a PlanError, for they would be computed per micro-batch.
    """

    __slots__ = ()

    def _step(self, node: Node) -> Self:
        return type(self)(node)

    def filter(self, *predicates: IntoExprs, **constraints: Any) -> Self:
        """Keep the rows for which every predicate is true; those with a null result go.

        Parameters
        ----------
        *predicates
            Boolean expressions, joined by `&`.
        **constraints
            `name=value` is `pl.col("name") == value`.

        Raises
        ------
        PlanError
            Unknown column, not boolean, or an expression that looks at other rows.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> bids = ars.from_polars(pl.DataFrame({"price": [90, 120]}))
        >>> bids.filter(pl.col("price") > 100).collect().rows()
        [(120,)]
        """
        return self._step(build.row_step(self._node, "filter", *predicates, **constraints))

    def remove(self, *predicates: IntoExprs, **constraints: Any) -> Self:
        """Drop the rows for which every predicate is true; those with a null result stay.

        Parameters and errors are those of `filter`.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> bids = ars.from_polars(pl.DataFrame({"price": [90, 120]}))
        >>> bids.remove(price=90).collect().rows()
        [(120,)]
        """
        return self._step(build.row_step(self._node, "remove", *predicates, **constraints))

    def select(self, *exprs: IntoExprs, **named_exprs: IntoExpr) -> Self:
        """Keep or compute these columns, and no others.

        Parameters
        ----------
        *exprs
            Column names or expressions; all of the row's length.
        **named_exprs
            More of them, under the keyword's name.

        Raises
        ------
        PlanError
            Unknown column, ill-typed, or an expression that looks at other rows.

        Notes
        -----
        Windows need the event-time column downstream: keep it among the columns.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> bids = ars.from_polars(pl.DataFrame({"price": [90, 120]}))
        >>> bids.select(euro=pl.col("price") / 100).collect().rows()
        [(0.9,), (1.2,)]
        """
        return self._step(build.row_step(self._node, "select", *exprs, **named_exprs))

    def with_columns(self, *exprs: IntoExprs, **named_exprs: IntoExpr) -> Self:
        """Add columns, or replace those of the same name.

        Parameters and errors are those of `select`.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> bids = ars.from_polars(pl.DataFrame({"price": [90, 120]}))
        >>> bids.with_columns(dear=pl.col("price") > 100).collect().rows()
        [(90, False), (120, True)]
        """
        return self._step(build.row_step(self._node, "with_columns", *exprs, **named_exprs))

    def validate(self, rules: Mapping[str, pl.Expr | str], *, on_error: OnError = "raise") -> Self:
        """Keep the rows for which every rule is true; a rule that gives null has failed.

        Parameters
        ----------
        rules
            By name, boolean expressions that look at one row, or SQL such as "price > 0".
        on_error
            What to do with a row that fails: "raise"; "skip" it (counted); or "dead_letter": give it to
            `dead_letters()`, with the names of the rules in `error`.

        Raises
        ------
        PlanError
            No rules, an unknown column, not boolean, or an expression that looks at other rows.
        DataError
            While running, with "raise": a row fails; the message names the rules, the row and its place.

        Notes
        -----
        A rule that cannot be evaluated, such as a strict cast of what does not fit, ends the run whatever
        `on_error` says: write `cast(…, strict=False)`, in SQL `TRY_CAST`, which give null.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> bids = ars.from_polars(pl.DataFrame({"price": [90, None, 120]}))
        >>> bids.validate({"has a price": pl.col("price") > 0}, on_error="skip").collect().rows()
        [(90,), (120,)]
        """
        return self._step(build.validate(self._node, rules, on_error=on_error))

    def filter_file(self, path: PathLike) -> Self:
        """Keep the rows for which every rule of a file is true, and read the file again when it changes.

        Parameters
        ----------
        path
            Rules are SQL expressions over the columns. `.yaml`, `.toml`, `.json`: a mapping from names to
            expressions, or a list of them; `.sql`, `.txt`: one a line, with comments after `--` or `#`.
            Without rules every row passes; a row for which a rule gives null does not.

        Raises
        ------
        PlanError
            There is no such file, or it has a mistake; the message names the line.

        Notes
        -----
        The file is looked at when an epoch begins, and the rules then hold for the whole epoch. Its PLAN in
        the checkpoint records them, and an epoch that is computed again after a crash has the same ones. A
        file that is gone or has a mistake changes nothing: it is logged ("arrowstream.rules") and counted
        (`reload_errors`). What is collected has one epoch. As rules to come may name any column, all columns
        are read.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars, tempfile, pathlib
        >>> rules = pathlib.Path(tempfile.mkdtemp()) / "rules.yaml"
        >>> _ = rules.write_text("dear: price > 100")
        >>> ars.from_polars(pl.DataFrame({"price": [90, 120]})).filter_file(rules).collect().rows()
        [(120,)]
        """
        return self._step(build.filter_file(self._node, path))

    def with_metadata(
        self,
        *,
        file: str | None = None,
        row: str | None = None,
        processing_time: str | None = None,
        batch: str | None = None,
    ) -> Self:
        """Add columns that say where each row comes from, and when it was processed.

        Parameters
        ----------
        file
            Name of a column with the path or URL of the file, a string.
        row
            Name of a column with the row's number within its file, from 0; bad input that has been skipped
            or made dead letters is counted too.
        processing_time
            Name of a column with the time at which the row's epoch began, in UTC.
        batch
            Name of a column with the number of the row's epoch, from 1. What is collected has one.

        Raises
        ------
        PlanError
            No name, a name that is taken, or file or row of a source that has none; these two have to be
            asked for before any other verb.

        Notes
        -----
        With `processing_time` or `batch` results are not repeatable: they are other in every run. (Epochs of
        a number of rows have the same numbers in every run.) An epoch that is computed again after a crash
        has those that its PLAN in the checkpoint records.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> bids = ars.from_polars(pl.DataFrame({"price": [90]}))
        >>> bids.with_metadata(processing_time="read_at").schema
        Schema([('price', Int64), ('read_at', Datetime(time_unit='us', time_zone='UTC'))])
        """
        return self._step(
            build.with_metadata(self._node, file=file, row=row, processing_time=processing_time, batch=batch)
        )

    def drop(self, *columns: ColumnNames, strict: bool = True) -> Self:
        """Remove columns.

        Parameters
        ----------
        *columns
            Names or selectors.
        strict
            A name that is not there is an error.

        Raises
        ------
        PlanError
            Unknown column, with `strict`.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> ars.from_polars(pl.DataFrame({"a": [1], "b": [2]})).drop("a").columns
        ['b']
        """
        return self._step(build.row_step(self._node, "drop", *columns, strict=strict))

    def rename(self, mapping: Mapping[str, str] | Callable[[str], str], *, strict: bool = True) -> Self:
        """Give columns other names; the event-time column keeps its meaning under its new one.

        Parameters
        ----------
        mapping
            Old name to new name, or a function from the one to the other.
        strict
            A name that is not there is an error.

        Raises
        ------
        PlanError
            Unknown column, with `strict`, or two columns of one name.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> ars.from_polars(pl.DataFrame({"a": [1]})).rename({"a": "b"}).columns
        ['b']
        """
        return self._step(build.row_step(self._node, "rename", mapping, strict=strict))

    def cast(self, dtypes: Any, *, strict: bool = True) -> Self:
        """Convert columns to other types.

        Parameters
        ----------
        dtypes
            A type for all columns, or a mapping from names, selectors or types to types.
        strict
            A value that does not fit is a DataError when it is met; else it becomes null.

        Raises
        ------
        PlanError
            Unknown column, or a conversion that does not exist.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> ars.from_polars(pl.DataFrame({"a": ["1"]})).cast({"a": pl.Int64}).collect().rows()
        [(1,)]
        """
        return self._step(build.row_step(self._node, "cast", dtypes, strict=strict))

    def explode(
        self,
        columns: ColumnNames,
        *more_columns: ColumnNames,
        empty_as_null: bool = False,
        keep_nulls: bool = True,
    ) -> Self:
        """One row for each element of a list or array column; the other columns are repeated.

        Parameters
        ----------
        columns, *more_columns
            Names or selectors; several are exploded side by side and must have lists of equal length.
        empty_as_null
            An empty list gives one row with null (else none).
        keep_nulls
            A null list gives one row with null (else none).

        Raises
        ------
        PlanError
            Unknown column, or neither list nor array.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> ars.from_polars(pl.DataFrame({"a": [[1, 2], [3]]})).explode("a").collect().rows()
        [(1,), (2,), (3,)]
        """
        step = build.row_step(
            self._node, "explode", columns, *more_columns, empty_as_null=empty_as_null, keep_nulls=keep_nulls
        )
        return self._step(step)

    def unnest(
        self, columns: ColumnNames | None = None, *more_columns: ColumnNames, separator: str | None = None
    ) -> Self:
        """Replace struct columns by their fields.

        Parameters
        ----------
        columns, *more_columns
            Names or selectors; None: all struct columns.
        separator
            Name the new columns struct name + separator + field name.

        Raises
        ------
        PlanError
            Unknown column, not a struct, or two columns of one name.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> ars.from_polars(pl.DataFrame({"s": [{"a": 1, "b": 2}]})).unnest("s").collect().rows()
        [(1, 2)]
        """
        return self._step(build.row_step(self._node, "unnest", columns, *more_columns, separator=separator))

    def unpivot(
        self,
        on: ColumnNames | None = None,
        *,
        index: ColumnNames | None = None,
        variable_name: str | None = None,
        value_name: str | None = None,
    ) -> Self:
        """One row for each of the columns `on`: its name, its value, and the `index` columns.

        Parameters
        ----------
        on
            Columns to turn into rows; None: all that are not in `index`.
        index
            Columns to keep beside them.
        variable_name, value_name
            Names of the new columns ("variable" and "value").

        Raises
        ------
        PlanError
            Unknown column, or types without a common supertype.

        Notes
        -----
        A row's new rows follow one another (Polars leaves the order open).

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> wide = ars.from_polars(pl.DataFrame({"k": ["x"], "a": [1], "b": [2]}))
        >>> sorted(wide.unpivot(["a", "b"], index="k").collect().rows())
        [('x', 'a', 1), ('x', 'b', 2)]
        """
        step = build.row_step(
            self._node, "unpivot", on, index=index, variable_name=variable_name, value_name=value_name
        )
        return self._step(step)

    def drop_nulls(self, subset: ColumnNames | None = None) -> Self:
        """Drop the rows that have a null in one of the columns of `subset` (None: in any column).

        Raises
        ------
        PlanError
            Unknown column.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> ars.from_polars(pl.DataFrame({"a": [1, None]})).drop_nulls().collect().rows()
        [(1,)]
        """
        return self._step(build.row_step(self._node, "drop_nulls", subset))

    def fill_null(
        self,
        value: Any = None,
        strategy: Literal["zero", "one"] | str | None = None,  # noqa: PYI051 - says what is allowed
        limit: int | None = None,
        *,
        matches_supertype: bool = True,
    ) -> Self:
        """Replace nulls by a value.

        Parameters
        ----------
        value
            A literal or an expression.
        strategy
            "zero" or "one" instead of a value. Polars' other strategies look at other rows: PlanError.
        limit
            Belongs to those strategies: PlanError if given.
        matches_supertype
            Fill also columns that `value` fits only after widening.

        Raises
        ------
        PlanError
            Neither or both of `value` and `strategy`, or a strategy that looks at other rows.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> ars.from_polars(pl.DataFrame({"a": [1, None]})).fill_null(0).collect().rows()
        [(1,), (0,)]
        """
        step = build.row_step(
            self._node, "fill_null", value, strategy, limit, matches_supertype=matches_supertype
        )
        return self._step(step)
