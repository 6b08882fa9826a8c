"""Arrow IPC files and streams, told apart by how they begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from arrowstream.connectors.files.compression import MAGIC_BYTES, codec_of_content
from arrowstream.connectors.files.ipc_stream import HEAD_BYTES, IpcStreamFormat, layout
from arrowstream.connectors.files.parts import PartsFormat
from arrowstream.connectors.files.places import place_of
from arrowstream.connectors.files.record_batches import RecordBatches
from arrowstream.connectors.files.source import found_files
from arrowstream.connectors.files.stream_source import stored_suffixes
from arrowstream.connectors.files.streams import Rewindable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import polars as pl

    from arrowstream.connectors.files.options import FileOptions
    from arrowstream.connectors.files.streams import Block, StreamFormat
    from arrowstream.types import Json, OnError, PathLike


@dataclass(frozen=True, slots=True)
class IpcFormat:
    """Arrow IPC in whichever layout. What is neither is read as a file, which says what is wrong with it.

    Parameters
    ----------
    decompressed_max
        See `Parts`.
    """

    decompressed_max: int | None = None
    name: str = "Arrow IPC"
    suffixes: tuple[str, ...] = (".arrow", ".ipc", ".feather", ".arrows")
    has_types: bool = True
    is_sparse: bool = False

    def schema(self, stream: BinaryIO, path: str) -> pl.Schema:
        """See `StreamFormat`."""
        found, begun = self._found(stream)
        return found.schema(begun, path)

    def blocks(
        self,
        stream: BinaryIO,
        path: str,
        *,
        schema: pl.Schema,
        columns: Sequence[str],
        resume: Json,
        on_error: OnError,
        growing: bool = False,
    ) -> Iterator[Block]:
        """See `StreamFormat`."""
        found, begun = self._found(stream)
        return found.blocks(
            begun,
            path,
            schema=schema,
            columns=columns,
            resume=resume,
            on_error=on_error,
            growing=growing,
        )

    def identity(self) -> Json:
        """See `StreamFormat`."""
        return {"decompressed_max": self.decompressed_max}

    def _found(self, stream: BinaryIO) -> tuple[StreamFormat, BinaryIO]:
        """The format of what begins so, and the stream at its beginning."""
        if stream.seekable():
            head = stream.read(HEAD_BYTES)
            stream.seek(0)
        else:
            again = Rewindable(stream)
            head = again.read(HEAD_BYTES)
            again.rewind()
            stream = cast("BinaryIO", again)
        if layout(head) == "stream" or not head:
            return IpcStreamFormat(self.decompressed_max), stream
        return PartsFormat(RecordBatches, self.decompressed_max), stream


def have_footers(paths: PathLike | Iterable[PathLike], options: FileOptions) -> bool:
    """Whether all are local files in the layout of files, so that footers say how many rows there are."""
    place = place_of(paths, options.storage_options)
    if (
        not place.is_local
        or options.on_error != "raise"
        or options.compression not in {"infer", "uncompressed"}
    ):
        return False
    found = found_files(place, paths, stored_suffixes(IpcFormat()), options)
    if any(
        file.in_folder and not file.path.lower().endswith(RecordBatches.format.suffixes) for file in found
    ):
        return False
    return not any(_begins_otherwise(place.open(file)) for file in found)


def _begins_otherwise(stream: BinaryIO) -> bool:
    with stream:
        head = stream.read(max(HEAD_BYTES, MAGIC_BYTES))
    return layout(head) == "stream" or codec_of_content(head) is not None
