"""Avro files as a stream format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import polars as pl

from arrowstream.connectors.files.avro.container import (
    GROUP_BYTES_MAX,
    DeadBlock,
    Group,
    Header,
    Input,
    read_blocks,
    read_header,
)
from arrowstream.connectors.files.avro.program import BYTES_MAX, Memory, Program, compile_program
from arrowstream.connectors.files.compression import FLOOR_BYTES
from arrowstream.connectors.files.streams import BLOCK_BYTES, Block, DeadSlot, with_dead
from arrowstream.errors import ConnectorError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from arrowstream.types import Json, OnError

_ROWS_AT_ONCE_MIN, _ROWS_AT_ONCE_MAX = 1 << 10, 1 << 20
_AT_ONCE_BYTES = (
    4 * BLOCK_BYTES
)  # blocks up to this size are one frame: looking them through before costs half
_FRAME_BYTES = (
    256 << 20
)  # a null is a byte, whatever its type: few records at once where there are many columns
_NO_BOUND = 1 << 62


@dataclass(frozen=True, slots=True)
class AvroFormat:
    """Avro object container files.

    Records become columns: a union with null is a nullable column, any other union a struct with one nullable
    field a branch; a map is a list of structs of key and value; an enum a `pl.Enum`; a fixed is binary;
    a duration a struct of months, days and milliseconds. A schema that is not a record is one column "value".

    Parameters
    ----------
    block_bytes_max
        No block may have more bytes, as it is stored or decompressed.
    """

    block_bytes_max: int = FLOOR_BYTES

    @property
    def name(self) -> str:
        """See `StreamFormat`."""
        return "Avro"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """See `StreamFormat`."""
        return (".avro",)

    @property
    def has_types(self) -> bool:
        """See `StreamFormat`."""
        return True

    @property
    def is_sparse(self) -> bool:
        """See `StreamFormat`."""
        return False

    def schema(self, stream: BinaryIO, path: str) -> pl.Schema:
        """See `StreamFormat`; from the header."""
        header = read_header(Input(stream), path)
        if header is None:
            return pl.Schema()
        return pl.Schema({name: node.dtype for name, node in header.root.fields if node is not None})

    def blocks(
        self,
        stream: BinaryIO,
        path: str,
        *,
        schema: pl.Schema,  # noqa: ARG002 — the file's own
        columns: Sequence[str],
        resume: Json,
        on_error: OnError,
        growing: bool = False,  # noqa: ARG002 — Avro files do not grow
    ) -> Iterator[Block]:
        """See `StreamFormat`.

        `resume` is [byte at which a block begins, slots before it, slots of it that are behind us].
        """
        source = Input(stream)
        header = read_header(source, path)
        if header is None:
            return
        offset, before, done = _checked(resume, header, path)
        source.go_to(offset)
        decoder = _Decoder(header, columns, path, on_error)
        decoder.before = before
        found_blocks = read_blocks(
            source, header, path, bytes_max=self.block_bytes_max, rows_max=decoder.rows_max
        )
        for found in found_blocks:
            if isinstance(found, DeadBlock):
                yield decoder.dead(found)
            else:
                yield from decoder.decoded(found, done)
            done = 0

    def identity(self) -> Json:
        """See `StreamFormat`."""
        return {"format": "avro"}


def _checked(resume: Json, header: Header, path: str) -> tuple[int, int, int]:
    match resume:
        case None:
            return header.size, 0, 0
        case [int(offset), int(before), int(done)] if offset >= header.size and before >= 0 and done >= 0:
            return offset, before, done
    raise ConnectorError(
        f"position {resume} is not in {path}", hint="the position was written for another file"
    )


class _Decoder:
    """Decodes groups of blocks, and counts the slots `before` the next one."""

    def __init__(self, header: Header, columns: Sequence[str], path: str, on_error: OnError) -> None:
        self._program = compile_program(header.root, columns)
        self._checks = compile_program(header.root, ())
        self._columns = pl.Schema({name: place.node.dtype for name, place in self._program.columns.items()})
        self._path = path
        self._on_error = on_error
        self.before = 0
        rows = _FRAME_BYTES // max(self._program.row_bytes, 1)
        self.rows_max = max(_ROWS_AT_ONCE_MIN, min(rows, _ROWS_AT_ONCE_MAX))

    def dead(self, block: DeadBlock) -> Block:
        """One slot for a block that cannot be read."""
        if self._on_error == "raise":
            raise DataError(
                f"{self._path}: the block at byte {block.offset} (record {self.before + 1}) is damaged: "
                f"{block.error}",
                hint='write the file again, or read the rest with on_error="skip" or "dead_letter"',
                offset=self.before,
            )
        letter = DeadSlot(0, block.original, block.error, f"block at byte {block.offset}")
        self.before += 1
        frame = with_dead(pl.DataFrame(schema=self._columns), [letter], self._path)
        return Block(frame, [block.next_offset, self.before, 0])

    def decoded(self, group: Group, done: int) -> Iterator[Block]:
        """The records of a group, without the first `done` slots of it."""
        records = int(group.segments[:, 2].sum())
        content_bytes = int((group.segments[:, 1] - group.segments[:, 0]).sum())
        if len(group.segments) == 1 and (content_bytes > GROUP_BYTES_MAX or records > self.rows_max):
            yield from self._large(group, records, content_bytes, done)
            return
        first, blocks = 0, len(group.segments)
        while first < len(group.segments):
            last = min(first + blocks, len(group.segments))
            run = _Run(self._program, group, first, last, int(group.segments[first:last, 2].sum()))
            run.step(self._path)
            rows, broken = run.rows, run.broken_at
            # Where many blocks are damaged, no memory for all that follow is taken for each.
            blocks = 4 * blocks if broken is None else 1
            if broken is not None:
                last = broken
            if rows or last > first:
                frame = self._with_dead(run, rows)
                self.before += rows
                resume = [int(group.offsets[last]), self.before, 0]
                yield Block(frame[done:], resume)
                done = 0
            if broken is not None:
                yield self.dead(run.dead_block(broken))
                last += 1
            first = last

    def _large(self, group: Group, records: int, content_bytes: int, done: int) -> Iterator[Block]:
        """One large block in several frames, once it is known that its bytes are its records."""
        checked = _Run(self._checks, group, 0, 1, _NO_BOUND)
        checked.step(self._path)
        if checked.broken_at is not None:
            yield self.dead(checked.dead_block(0))
            return
        rows_max = max(_ROWS_AT_ONCE_MIN, min(self.rows_max, records * BLOCK_BYTES // max(content_bytes, 1)))
        run = _Run(self._program, group, 0, 1, min(rows_max, records))
        start, decoded = self.before, 0
        while True:
            run.step(self._path)
            rows = run.rows
            frame = self._with_dead(run, rows)
            decoded += rows
            self.before = start + decoded
            is_last = decoded == records
            resume = (
                [int(group.offsets[1]), self.before, 0]
                if is_last
                else [int(group.offsets[0]), start, decoded]
            )
            if decoded > done:
                yield Block(frame[max(done - (decoded - rows), 0) :], resume)
            if is_last:
                return
            run.renew(min(rows_max, records - decoded))

    def _with_dead(self, run: _Run, rows: int) -> pl.DataFrame:
        """The rows of a run; bad records as dead slots."""
        frame = run.memory.frame(rows)
        letters = []
        is_good = np.ones(rows, np.bool_)
        for row, original, error in run.bad_records(rows):
            position = f"record {self.before + row + 1}"
            if self._on_error == "raise":
                raise DataError(
                    f"{self._path}: {position} cannot be read: {error}",
                    hint='write the file again, or read the rest with on_error="skip" or "dead_letter"',
                    offset=self.before + row,
                )
            is_good[row] = False
            letters.append(DeadSlot(row, original, error, position))
        if not letters:
            return frame
        return with_dead(frame.filter(pl.Series(is_good)), letters, self._path)


class _Run:
    """One run of a program over the segments `first` to `last` of a group."""

    def __init__(self, program: Program, group: Group, first: int, last: int, rows: int) -> None:
        from arrowstream.kernels import avro_decode as k

        self._k = k
        self._program = program
        self._group = group
        self._first = first
        base = group.content.ctypes.data
        self._segments = group.segments[first:last] + np.array([base, base, 0])
        self._base = base
        self._state = np.zeros(k.STATES, np.int64)
        self._state[k.PC] = self._state[k.SEGMENT] = -1
        self._bytes = int((self._segments[:, 1] - self._segments[:, 0]).sum())
        if rows == _NO_BOUND:
            self.memory = Memory.of(program, 1, 0)
            self.memory.capacity[:] = _NO_BOUND
        else:
            self.memory = Memory.of(program, rows, self._bytes)

    def renew(self, rows: int) -> None:
        """New buffers, to go on where the last ones were full."""
        self.memory = Memory.of(self._program, rows, self._bytes)
        self._state[self._k.SEGMENT_ROW] = self._state[self._k.BAD_ROWS] = 0

    def step(self, path: str) -> None:
        """Decode until everything is done, or there is no more room for records."""
        k, memory = self._k, self.memory
        while True:
            k.decode(
                memory.words,
                self._program.jumps,
                self._segments.ravel(),
                memory.rows,
                memory.capacity,
                memory.left,
                memory.used,
                memory.bad,
                self._state,
            )
            if self._state[k.STATUS] != k.GROW:
                return
            if not memory.grow(int(self._state[k.GROW_LEVEL])):
                raise DataError(
                    f"{path}: the lists of a few records take more than {BYTES_MAX:,} bytes in memory",
                    hint="the file is damaged, or its schema too wide: write it with fewer items a record",
                )

    @property
    def broken_at(self) -> int | None:
        """Which segment of the group does not add up."""
        if self._state[self._k.STATUS] != self._k.BROKEN:
            return None
        return self._first + int(self._state[self._k.SEGMENT])

    @property
    def rows(self) -> int:
        """Records decoded, without those of a segment that does not add up."""
        if self.broken_at is not None:
            return int(self._state[self._k.SEGMENT_ROW])
        return int(self.memory.rows[0])

    def bad_records(self, rows: int) -> Iterator[tuple[int, bytes, str]]:
        """Row, bytes and error of the bad ones among the first `rows` records."""
        k = self._k
        count = int(self._state[k.BAD_ROWS])
        for row, begin, end, code in (
            self.memory.bad[: count * k.BAD_COLUMNS].reshape(-1, k.BAD_COLUMNS).tolist()
        ):
            if row < rows:
                original = self._group.content[begin - self._base : end - self._base].tobytes()
                yield row, original, self._error(code % 16, code // 16)

    def dead_block(self, index: int) -> DeadBlock:
        """The segment that does not add up."""
        k, group = self._k, self._group
        begin, end, records = group.segments[index].tolist()
        error = self._error(int(self._state[k.ERROR]), int(self._state[k.ERROR_PC]) // k.WORDS)
        fact = f"its {end - begin:,} bytes are not {records:,} records: {error}"
        original = group.content[begin:end].tobytes() if end - begin <= BLOCK_BYTES else None
        return DeadBlock(int(group.offsets[index]), int(group.offsets[index + 1]), fact, original)

    def _error(self, code: int, instruction: int) -> str:
        k = self._k
        if code == k.TOO_LONG:
            return "bytes are left over"
        fields = self._program.fields
        name = fields[instruction] if instruction < len(fields) else fields[-1]
        texts = {
            k.NOT_UTF8: "is not UTF-8",
            k.OUT_OF_RANGE: "is a number out of its type's range",
            k.NOT_BOOLEAN: "is neither 0 nor 1",
            k.TOO_MANY_DIGITS: "has more digits than its type",
            k.OVERRUN: "goes beyond the end",
            k.BAD_LENGTH: "has a negative length",
            k.BAD_BRANCH: "has a branch that its union does not have",
            k.BAD_VARINT: "is a number of more than 64 bits",
            k.BAD_COUNT: "has more items than bytes",
        }
        return f"field '{name}' {texts[code]}"
