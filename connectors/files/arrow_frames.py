"""What PyArrow has read from bytes that anybody may have written, as a frame of Polars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

_VIEWS = {pa.string_view(), pa.binary_view()}
_VIEWS_OF = {
    pa.string(): pa.string_view(),
    pa.large_string(): pa.string_view(),
    pa.binary(): pa.binary_view(),
    pa.large_binary(): pa.binary_view(),
}
_LARGE = {pa.large_string(), pa.large_binary()}
_VIEW_BYTES = 16
_VIEW_WORDS = 2  # of 64 bits
_DATA_BYTES_MAX = 2**31 - 1  # that a view can lead to


def as_frame(batch: pa.RecordBatch, schema: pl.Schema) -> pl.DataFrame:
    """The columns `schema` of a batch, after everything in it has been checked.

    Raises
    ------
    pa.ArrowInvalid
        The batch is damaged.
    pl.exceptions.PolarsError
        A column has a type that Polars does not have.
    """
    frame = cast("pl.DataFrame", pl.from_arrow(sound(batch), rechunk=False))
    if frame.columns != schema.names():
        frame = frame.select(schema.names())
    return frame if frame.schema == schema else frame.cast(schema)


def sound(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, after everything in it has been checked that Polars would take over unseen.

    Text and bytes come as views, as Polars has them: checked and made in one go, which takes a tenth of the
    time that Arrow and Polars take. Views of nulls may be anything to Arrow, but not to Polars, which follows
    them: where they are not zeros, what has them is written anew.

    Raises
    ------
    pa.ArrowInvalid
        The batch is damaged: an offset, a view or an index that leads elsewhere, or text that is not UTF-8.
    """
    batch.validate()
    given = batch.columns
    columns = [_sound(array) for array in given]
    if all(new is old for new, old in zip(columns, given, strict=True)):
        return batch
    fields = [field.with_type(array.type) for field, array in zip(batch.schema, columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _sound(array: pa.Array) -> pa.Array:
    viewed = _viewed(array) if len(array) else None
    if viewed is not None:
        return viewed
    array.validate(full=True)
    return array.cast(_copied(pa.field("", array.type)).type) if _is_wild(array) else array


def _viewed(array: pa.Array) -> pa.Array | None:
    """Text or bytes as views that are known to be sound, of nulls too; None for all else."""
    if array.type in _VIEWS:
        viewed = array if _are_proven(array) else None
    elif array.type in _VIEWS_OF:
        viewed = _with_views(array, _VIEWS_OF[array.type])
    else:
        return None
    if viewed is not None:
        counted = pa.Array.from_buffers(
            pa.binary(_VIEW_BYTES), len(viewed), viewed.buffers()[:2], viewed.null_count, viewed.offset
        )
        counted.validate(full=True)  # whether it has as many nulls as it says
    return viewed


def _are_proven(array: pa.Array) -> bool:
    from arrowstream.kernels.views import unproven_view  # loads Numba

    _, views, *data = array.buffers()
    words = _elements(views, np.uint64, _VIEW_WORDS * array.offset, _VIEW_WORDS * len(array))
    buffers = np.array([(buffer.address, buffer.size) for buffer in data], np.int64).reshape(-1, 2)
    is_text = array.type == pa.string_view()
    return words is not None and bool(unproven_view(words, buffers, is_text) < 0)


def _with_views(array: pa.Array, kind: pa.DataType) -> pa.Array | None:
    from arrowstream.kernels.views import write_views  # loads Numba

    validity, offsets, data = array.buffers()
    width = np.int64 if array.type in _LARGE else np.int32
    places = _elements(offsets, width, array.offset, len(array) + 1)
    if places is None or data is None or data.size > _DATA_BYTES_MAX:
        return None
    views = pa.allocate_buffer(_VIEW_BYTES * (array.offset + len(array)))
    words = np.frombuffer(views, np.uint64)[_VIEW_WORDS * array.offset :]
    if write_views(places, data.address, data.size, kind == pa.string_view(), words) >= 0:
        return None
    return pa.Array.from_buffers(kind, len(array), [validity, views, data], array.null_count, array.offset)


def _elements(buffer: pa.Buffer, kind: type[np.generic], first: int, count: int) -> Any:
    """Some of a buffer for a kernel; None if it is not aligned."""
    from arrowstream.kernels.compile import frozen

    array = np.frombuffer(buffer, kind, first + count)[first:]
    return frozen(array) if array.flags.aligned else None


def _is_wild(array: pa.Array) -> bool:
    """Whether a view in the slot of a null is not all zeros."""
    if array.type in _VIEWS:
        if array.null_count == 0:
            return False
        views = np.frombuffer(array.buffers()[1], np.uint8, _VIEW_BYTES * (array.offset + len(array)))
        nulls = array.is_null().to_numpy(zero_copy_only=False)
        return bool(views.reshape(-1, _VIEW_BYTES)[array.offset :][nulls].any())
    return any(_is_wild(child) for child in _children(array))


def _children(array: pa.Array) -> Iterator[pa.Array]:
    kind = array.type
    if pa.types.is_struct(kind):
        yield from (array.field(index) for index in range(kind.num_fields))
    elif pa.types.is_map(kind):
        yield from (array.keys, array.items)
    elif pa.types.is_dictionary(kind):
        yield array.dictionary
    elif pa.types.is_nested(kind) and not pa.types.is_union(kind):
        yield array.values


def _copied(field: pa.Field) -> pa.Field:
    """The field without views, so that a cast writes its values anew."""
    kind = field.type
    if kind == pa.string_view():
        kind = pa.large_string()
    elif kind == pa.binary_view():
        kind = pa.large_binary()
    elif pa.types.is_dictionary(kind):
        values = _copied(pa.field("", kind.value_type)).type
        kind = pa.dictionary(kind.index_type, values, kind.ordered)
    elif pa.types.is_struct(kind):
        kind = pa.struct([_copied(kind.field(index)) for index in range(kind.num_fields)])
    elif pa.types.is_map(kind):
        kind = pa.map_(_copied(kind.key_field), _copied(kind.item_field), kind.keys_sorted)
    elif pa.types.is_fixed_size_list(kind):
        kind = pa.list_(_copied(kind.value_field), kind.list_size)
    elif pa.types.is_large_list(kind):
        kind = pa.large_list(_copied(kind.value_field))
    elif pa.types.is_list(kind):
        kind = pa.list_(_copied(kind.value_field))
    return field.with_type(kind)
