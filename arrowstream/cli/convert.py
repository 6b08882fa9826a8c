"""`arrowstream convert`: files of one format as files of another.

The rows stream through a job like any other, into a hidden folder beside the output. Its one file gets its
name when it is whole and on the disk: a half-written file never has it.
"""

from __future__ import annotations

import inspect
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import arrowstream as ars
from arrowstream.cli import console
from arrowstream.cli.formats import WHOLLY_COMPRESSED, Format, format_of, is_one_file
from arrowstream.cli.signals import sigterm_as_interrupt
from arrowstream.connectors.files.compression import CODECS, compressor, suffix_of_codec
from arrowstream.durable import fsync_folder
from arrowstream.errors import ArrowStreamError, ConnectorError, PlanError
from arrowstream.runtime.report import count, size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ONE_EPOCH = "36500d"
"""An epoch longer than any conversion: all rows come into one file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What to convert, and how; the options of the command."""

    source: str
    output: str
    from_format: str | None = None
    to_format: str | None = None
    compression: str | None = None
    level: int | None = None
    schema: str | None = None
    select: tuple[str, ...] = ()
    where: str | None = None
    on_error: str = "raise"
    dead_letters: str | None = None
    overwrite: bool = False
    progress: bool | str = "auto"


_ARGUMENT = re.compile(r"""\b(on_error|compression|schema)=(?:(["'])(.*?)\2|)""")
"""What errors of the API call by its name in Python, and this command by that of its option."""


def convert(conversion: Conversion) -> None:
    """Convert, and say how many rows and how long.

    Raises
    ------
    PlanError
        An option, a format or an expression is wrong, or the output is there already.
    DataError, ConnectorError
        The input is damaged, or a file cannot be read or written.
    """
    try:
        _convert(conversion)
    except ArrowStreamError as error:
        error.fact = _with_options(error.fact)
        error.hint = None if error.hint is None else _with_options(error.hint)
        raise


def _with_options(text: str) -> str:
    return _ARGUMENT.sub(lambda found: f"--{found[1].replace('_', '-')} {found[3] or ''}".rstrip(), text)


def _convert(conversion: Conversion) -> None:
    started = time.perf_counter()
    if conversion.dead_letters is not None and conversion.on_error != "dead_letter":
        raise PlanError(
            "--dead-letters is given, but no dead letters are made", hint="add --on-error dead_letter"
        )
    if conversion.on_error == "dead_letter" and conversion.dead_letters is None:
        raise PlanError(
            "dead letters are to be made, but have no place to go", hint="add --dead-letters bad.ndjson"
        )
    rows = _rows(conversion)
    from arrowstream.pipelines.letters import TEXT_FORMATS, as_text

    with sigterm_as_interrupt(), _Outputs() as outputs:
        target = format_of(conversion.output, conversion.to_format)
        outputs.add(rows, target, conversion)
        if conversion.dead_letters is not None:
            letters = format_of(conversion.dead_letters)
            plain = Conversion(source="", output=conversion.dead_letters, overwrite=conversion.overwrite)
            dead = rows.dead_letters()
            outputs.add(as_text(dead) if letters.name in TEXT_FORMATS else dead, letters, plain)
        report = ars.run(
            outputs.jobs,
            checkpoint_every=_ONE_EPOCH,
            mode="overwrite" if conversion.overwrite else "error",
            progress=conversion.progress,  # type: ignore[arg-type]
        )
        outputs.publish()
    counts = list(report.rows_out_by_sink.values()) or [report.rows_out]
    seconds = time.perf_counter() - started
    size = "" if "://" in conversion.output else f" ({_size(conversion.output)})"
    said = f"{count(counts[0], 'row')} in {seconds:.2f} s: {conversion.output}{size}"
    console.out.print(said, markup=False)
    if report.skipped_rows:
        console.out.print(f"{report.skipped_rows:,} skipped: could not be read", markup=False)
    if conversion.dead_letters is not None:
        console.out.print(f"{count(counts[1], 'dead letter')}: {conversion.dead_letters}", markup=False)


def _rows(conversion: Conversion) -> ars.Stream:
    """The rows of the input, and what was asked to be done with them."""
    from arrowstream.pipelines import sql
    from arrowstream.pipelines.dtypes import parse_dtype

    read = format_of(conversion.source, conversion.from_format)
    scan: Callable[..., ars.Stream] = getattr(ars, f"scan_{read.name}")
    options: dict[str, Any] = {"on_error": conversion.on_error}
    if read.suffix == ".tsv":
        options["separator"] = "\t"
    if conversion.schema is not None:
        options["schema"] = {name: parse_dtype(text) for name, text in _columns(conversion.schema)}
    rows = scan(conversion.source, **options)
    if conversion.where is not None:
        rows = rows.filter(sql.expression(conversion.where))
    if conversion.select:
        rows = rows.select(*(sql.item(text) for text in conversion.select))
    return rows


def _columns(text: str) -> Iterator[tuple[str, str]]:
    """`name: Type, name: Type`; a type may have commas in parentheses."""
    from arrowstream.pipelines.sql import split_list

    for part in split_list(text):
        name, colon, dtype = part.partition(":")
        if not colon:
            raise PlanError(
                f"--schema: {part.strip()} says no type", hint="write price: Int64, channel: String"
            )
        yield name.strip(), dtype.strip()


class _Outputs:
    """The outputs of one conversion: hidden until they are whole."""

    def __init__(self) -> None:
        self.jobs: list[ars.Job] = []
        self._hidden: list[tuple[Path, Path]] = []

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Remove what was hidden and has not become an output, and jobs that have not come to run."""
        from arrowstream.pipelines.build import forget

        forget(self.jobs)
        for hidden, _ in self._hidden:
            _remove(hidden)

    def add(self, rows: ars.Stream, target: Format, options: Conversion) -> None:
        """A job that writes the rows: into a hidden folder if the output is one file."""
        output = options.output
        given = _sink_options(target, options)
        sink: Callable[..., ars.Job] = getattr(rows, f"sink_{target.name}")
        if not is_one_file(output):
            if "://" not in output:
                _check_free(Path(output), overwrite=options.overwrite)
            self.jobs.append(sink(output, **given))
            return
        if "://" in output:
            raise PlanError(
                f"{output} names a file, but the output at a URL is a folder",
                hint=f"end it in /, and add --to {target.name}",
            )
        path = Path(output).expanduser().absolute()
        _check_free(path, overwrite=options.overwrite)
        if not path.parent.is_dir():
            raise ConnectorError(f"there is no folder {path.parent}", hint="make it first")
        hidden = path.parent / f".{path.name}.converting"
        _remove(hidden)  # of a run that was killed
        self._hidden.append((hidden, path))
        self.jobs.append(sink(hidden, **given))

    def publish(self) -> None:
        """Give each file its name."""
        for hidden, path in self._hidden:
            parts = [file for file in hidden.iterdir() if not file.name.startswith((".", "_"))]
            try:
                (_empty(hidden, path) if not parts else parts[0]).replace(path)
                fsync_folder(path.parent)
            except OSError as error:
                raise ConnectorError(
                    f"{path} cannot be written: {error.strerror or error}",
                    hint="free or repair the disk, then run again",
                ) from error


def _empty(folder: Path, path: Path) -> Path:
    """A file of no rows, in a format that has nothing to say without any."""
    codec = format_of(path.name).compression
    file = folder / "empty"
    file.write_bytes(b"" if codec is None else compressor(codec).finish())
    return file


def _sink_options(target: Format, options: Conversion) -> dict[str, Any]:
    """The arguments of the sink: codec and level, and what the suffix says besides."""
    given: dict[str, Any] = {}
    compression = options.compression
    _check_name(target, options)
    if target.compression is not None:
        if compression not in (None, target.compression):
            raise PlanError(
                f"{options.output} is named as {target.compression}, but --compression says {compression}",
                hint="leave one of them out",
            )
        compression = target.compression
    if compression is not None:
        given["compression"] = compression
    if options.level is not None:
        given["compression_level"] = options.level
    if target.suffix == ".tsv":
        given["separator"] = "\t"
    if target.suffix == ".arrows":
        given["format"] = "stream"
    known = inspect.signature(getattr(ars.Stream, f"sink_{target.name}")).parameters
    for name in given:
        if name not in known:
            raise PlanError(f"{target.name} has no {name}", hint="leave it out, or choose another format")
    return given


def _check_name(target: Format, options: Conversion) -> None:
    """Raise PlanError for a name that says something else of the compression than is done.

    A text is compressed as a whole, and its name says so; other formats are compressed inside.
    """
    if not target.suffix or not is_one_file(options.output):
        return
    if target.name not in WHOLLY_COMPRESSED:
        if target.compression is not None:
            plain = options.output[: options.output.rindex(".")]
            raise PlanError(
                f"{options.output}: {target.name} is compressed inside of the file",
                hint=f"name it {plain}, and say --compression",
            )
        return
    if target.compression is None and options.compression not in (None, "uncompressed"):
        suffix = {str(codec): suffix_of_codec(codec) for codec in CODECS}.get(options.compression)
        raise PlanError(
            f"{options.output} does not say that it is compressed",
            choices=CODECS if suffix is None else (),
            hint=None if suffix is None else f"name it {options.output}{suffix}",
        )


def _check_free(path: Path, *, overwrite: bool) -> None:
    taken = path.is_file() or (path.is_dir() and any(path.iterdir()))
    if taken and not overwrite:
        raise PlanError(f"{path} is there already", hint="--overwrite replaces it")


def _remove(folder: Path) -> None:
    """Remove a hidden output and its history beside it."""
    for path in (folder, folder.parent / f".{folder.name}.arrowstream"):
        shutil.rmtree(path, ignore_errors=True)


def _size(output: str) -> str:
    path = Path(output).expanduser()
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return size_text(sum(file.stat().st_size for file in files))
