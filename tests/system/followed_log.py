"""A log that is written and rotated, and a reader of it that stops and starts."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl

from arrowstream.connectors.files.follow import FollowSource
from arrowstream.connectors.files.ndjson import NdjsonFormat
from arrowstream.connectors.files.options import FileOptions

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

SCHEMA = {"n": pl.Int64}
_LONG_S = 10.0  # for what has to happen
_QUIET_S = 0.3  # for what must not


class Log:
    """Files in a folder, by their names."""

    def __init__(self, folder: Path, pattern: str, file_format: Any = None) -> None:
        self.folder = folder
        self.pattern = pattern
        self.format = file_format or NdjsonFormat()

    def source(self, **options: Any) -> FollowSource:
        schema = SCHEMA if self.format.name == "NDJSON" else {"x": pl.String, **SCHEMA}
        return FollowSource(
            self.folder / self.pattern, self.format, FileOptions(**{"schema": schema, **options})
        )

    def write(self, *numbers: int, name: str = "a.log") -> None:
        """Whole lines, each in one call."""
        self.append("".join(f'{{"n": {number}}}\n' for number in numbers), name)

    def append(self, text: str, name: str = "a.log") -> None:
        with (self.folder / name).open("a") as file:
            file.write(text)

    def rename(self, name: str, to: str) -> None:
        (self.folder / name).rename(self.folder / to)

    def copy(self, name: str, to: str) -> None:
        shutil.copyfile(self.folder / name, self.folder / to)

    def truncate(self, name: str) -> None:
        with (self.folder / name).open("r+") as file:
            file.truncate(0)

    def compress(self, name: str, suffix: str, codec: Any, *, to: str = "") -> None:
        """In place of the file, or beside it under another name."""
        (self.folder / (to or name + suffix)).write_bytes(codec((self.folder / name).read_bytes()))
        if not to:
            (self.folder / name).unlink()


class Reading:
    """Reads as the engine does, and remembers the position as a checkpoint does: through JSON."""

    def __init__(
        self, log: Log, positions: dict[str, Any] | None = None, *, max_rows: int = 1000, **options: Any
    ) -> None:
        self._log = log
        self._options = options
        self._max_rows = max_rows
        self.position: Any = (positions or {}).get("scan")
        self._taken: list[int] = []
        self._open()

    def _open(self) -> None:
        positions = {} if self.position is None else {"scan": json.loads(json.dumps(self.position))}
        self._following = self._log.source(**self._options).follow(positions, None)
        self.reader = self._following.open("scan")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.reader.close()
        self._following.close()

    def restart(self) -> None:
        """As if the process had been killed."""
        self.close()
        self._open()

    @contextmanager
    def maybe_down(self, up: bool):
        """What happens in the block happens while nobody reads, unless `up`."""
        if not up:
            self.close()
        yield
        if not up:
            self._open()

    def batch(self):
        """The next batch with rows."""
        deadline = time.monotonic() + _LONG_S
        while time.monotonic() < deadline:
            result = self.reader.read(self._max_rows)
            assert result is not None
            if result[0].height:
                self.position = result[1]
                return result
            self.position = result[1]
            self._following.poll(0.05)
        raise AssertionError(self.waiting_for())

    def take(self, count: int, *, in_order: bool = True) -> list[int]:
        """So many numbers, and no more than come with them."""
        del in_order
        numbers: list[int] = []
        while len(numbers) < count:
            numbers += self.batch()[0]["n"].to_list()
        self._taken += numbers
        return numbers

    def take_more(self, count: int) -> list[int]:
        """All numbers so far, sorted, when there are so many."""
        while len(self._taken) < count:
            self.take(1)
        return sorted(self._taken)

    def settle(self, up: bool, count: int) -> None:
        """If somebody reads, wait until so much has been read."""
        if up:
            self.take_more(count)

    def wait(self, seconds: float) -> None:
        """Look for changes, but read nothing."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._following.poll(0.02)

    def take_at_most(self, count: int, seconds: float) -> list[int]:
        numbers: list[int] = []
        deadline = time.monotonic() + seconds
        while len(numbers) < count and time.monotonic() < deadline:
            result = self.reader.read(self._max_rows)
            assert result is not None
            self.position = result[1]
            numbers += result[0]["n"].to_list()
            if not result[0].height:
                self._following.poll(0.01)
        return numbers

    def take_nothing(self, seconds: float = _QUIET_S) -> list[int]:
        """What comes although nothing should."""
        return self.take_at_most(1_000_000, seconds)

    def waiting_for(self) -> str:
        return self._following.waiting_for()
