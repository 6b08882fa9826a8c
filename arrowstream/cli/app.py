"""The command line: its commands, and what becomes of an error."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from arrowstream import __version__
from arrowstream.cli import console
from arrowstream.errors import ArrowStreamError

INTERRUPTED = 128 + signal.SIGINT
"""Exit code after Ctrl-C, as shells have it."""

FAILED = 1

PIPELINE_SUFFIXES = (".yaml", ".yml", ".toml")


class ErrorGroup(TyperGroup):
    """Prints an error of arrowstream as fact, choices and hint, and a traceback only with --debug."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; the context is click's, which Typer has a copy of."""
        debug = bool(ctx.params.get("debug"))
        with console.own_warnings():
            try:
                return super().invoke(ctx)
            except ArrowStreamError as error:
                if debug:
                    raise
                console.print_error(error)
                raise typer.Exit(FAILED) from error
            except KeyboardInterrupt:
                console.err.print("interrupted")
                raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="arrowstream",
    cls=ErrorGroup,
    help="Write a Polars query once; replay it over files or run it live, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
checkpoints_app = typer.Typer(help="Look at checkpoints.", no_args_is_help=True)
app.add_typer(checkpoints_app, name="checkpoints")


def main() -> None:
    """Entry point of the `arrowstream` script."""
    app()


def _print_version(value: bool) -> None:  # noqa: FBT001  (Typer passes the flag)
    if value:
        typer.echo(f"arrowstream {__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Write a Polars query once; replay it over files or run it live, exactly once."""


@app.command()
def demo(
    *,
    events: Annotated[int, typer.Option(min=1000, help="Events to generate.")] = 10_000_000,
    folder: Annotated[
        Path | None, typer.Option(help="Where to write them, and keep them. [default: a temporary folder]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other events.")] = 0,
    every: Annotated[str, typer.Option(help="Length of the windows.")] = "10s",
) -> None:
    """Write a Nexmark event stream to Parquet, replay a windowed query over it, and compare with Polars."""
    from arrowstream.cli.demo import run_demo

    run_demo(events=events, folder=folder, seed=seed, every=every)


@app.command()
def run(
    file: Annotated[
        Path,
        typer.Argument(
            help="A pipeline in YAML or TOML, or a Python file that defines jobs.", show_default=False
        ),
    ],
    *,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder that remembers how far the jobs are. [default: none]")
    ] = None,
    checkpoint_every: Annotated[
        str | None,
        typer.Option(help="How often output is published: a duration, or a number of rows. [default: 5s]"),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(help='Where the output already holds something else: "error" (default) or "overwrite".'),
    ] = None,
    batch_rows: Annotated[
        str | None, typer.Option(help='Rows processed at once at most, or "auto" (default).')
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of the operators. [default: all cores]")
    ] = None,
    memory_limit: Annotated[
        str | None, typer.Option(help='Bound of what waits between threads, such as "2GiB".')
    ] = None,
    progress: Annotated[
        bool | None,
        typer.Option("--progress/--no-progress", help="Show how far it is. [default: on a terminal]"),
    ] = None,
) -> None:
    """Run a pipeline file, or the jobs of a Python file: its list `jobs`, or else every variable that is one.

    Options given here go before those that a pipeline file has under `run`. Ctrl-C and SIGTERM finish the
    epoch and publish it; the exit code is then 130 or 143.
    """
    given: dict[str, Any] = {
        "checkpoint": checkpoint,
        "checkpoint_every": checkpoint_every,
        "mode": mode,
        "batch_rows": batch_rows,
        "threads": threads,
        "memory_limit": memory_limit,
        "progress": progress,
    }
    options = {name: value for name, value in given.items() if value is not None}
    if file.suffix.lower() in PIPELINE_SUFFIXES:
        from arrowstream.cli.pipelines import run_pipeline

        if not run_pipeline(file, options):
            raise typer.Exit(FAILED)
        return
    from arrowstream.cli.run import run_file

    run_file(file, options)


@app.command()
def lint(
    files: Annotated[list[Path], typer.Argument(help="Pipelines in YAML or TOML.", show_default=False)],
    *,
    form: Annotated[str, typer.Option("--format", help='"text", "json", or "github".')] = "text",
    read_input: Annotated[
        bool, typer.Option("--input/--no-input", help="Check against the columns of the real input.")
    ] = True,
) -> None:
    """Report every mistake in pipeline files, as file:line:column: message; the exit code is then 1.

    Nothing runs. Of the input only the schema is read: expressions are checked against its columns.
    """
    from arrowstream.cli.pipelines import lint_files

    if not lint_files(files, form=form, read_input=read_input):
        raise typer.Exit(FAILED)


@app.command()
def convert(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="A file, a folder, or a glob.", show_default=False)
    ],
    output: Annotated[
        str,
        typer.Argument(
            metavar="OUT", help="A file, or a folder (with --to) that ends in /.", show_default=False
        ),
    ],
    *,
    from_format: Annotated[
        str | None, typer.Option("--from", help="Format of IN. [default: by its suffix]")
    ] = None,
    to_format: Annotated[
        str | None, typer.Option("--to", help="Format of OUT. [default: by its suffix]")
    ] = None,
    compression: Annotated[
        str | None, typer.Option(help="Codec of OUT. [default: by its suffix, or the format's own]")
    ] = None,
    level: Annotated[int | None, typer.Option(help="Level of the codec. [default: the codec's own]")] = None,
    schema: Annotated[
        str | None,
        typer.Option(help='Types of the columns, "price: Int64, time: Datetime". [default: inferred]'),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(help="A column, or SQL expression AS name; for several, give it several times."),
    ] = None,
    where: Annotated[
        str | None, typer.Option("--filter", help="Keep the rows for which this is true.")
    ] = None,
    on_error: Annotated[
        str, typer.Option(help='What to do with bad input: "raise", "skip" or "dead_letter".')
    ] = "raise",
    dead_letters: Annotated[
        str | None, typer.Option(help="File or folder for dead letters, with --on-error dead_letter.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is there.")] = False,
    progress: Annotated[
        bool | None,
        typer.Option("--progress/--no-progress", help="Show how far it is. [default: on a terminal]"),
    ] = None,
) -> None:
    """Convert files of any format to any other, streaming: Parquet, Arrow IPC, CSV, newline JSON, Avro.

    The format is told by the suffix, also that of a compressed file (.csv.gz). OUT gets its name when it is
    whole: a conversion that fails or is killed leaves none.
    """
    from arrowstream.cli.convert import Conversion
    from arrowstream.cli.convert import convert as run_conversion

    run_conversion(
        Conversion(
            source=source,
            output=output,
            from_format=from_format,
            to_format=to_format,
            compression=compression,
            level=level,
            schema=schema,
            select=tuple(select or ()),
            where=where,
            on_error=on_error,
            dead_letters=dead_letters,
            overwrite=overwrite,
            progress="auto" if progress is None else progress,
        )
    )


@app.command()
def schema() -> None:
    """Print the JSON Schema of pipeline files, with which editors complete and check them."""
    from arrowstream.cli.pipelines import print_schema

    print_schema()


@app.command()
def inspect(
    path: Annotated[str, typer.Argument(help="A file, a folder, or a glob.", show_default=False)],
    *,
    rows: Annotated[int, typer.Option(min=0, help="First rows to show.")] = 5,
) -> None:
    """Show the schema, the number of rows and the first rows of files."""
    from arrowstream.cli.inspect import inspect_path

    inspect_path(path, rows=rows)


@app.command()
def warmup() -> None:
    """Compile the kernels ahead, so that the first query does not have to wait for them."""
    from arrowstream.cli.warmup import compile_kernels

    compile_kernels()


@checkpoints_app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of the checkpoint.", show_default=False)],
) -> None:
    """Read every file of a checkpoint and check it; the exit code is 1 if one is damaged or missing."""
    from arrowstream.cli.checkpoints import verify_checkpoint

    if not verify_checkpoint(folder):
        raise typer.Exit(FAILED)
