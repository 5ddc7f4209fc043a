"""Views: Warp functions that make arrays of places in the address table, and access numbers in one piece."""

import functools
from collections.abc import Callable

import warp as wp

from .address_table import Place, Table, address
from .intrinsics import in_global_memory
from .numbers import c_name, complex_type

# A complex number that is read and written in one access. (Tiles on the CPU are not aligned for that.)
NUMBER = """
#if defined(__CUDA_ARCH__)
  struct alignas(2 * sizeof({real})) Number {{ {real} x, y; }};
#else
  struct Number {{ {real} x, y; }};
#endif
"""
_NUMBER_IN_GLOBAL_MEMORY = """
  auto* at = (Number*)row.data + i;
#if defined(__CUDA_ARCH__)
  __builtin_assume(__isGlobal(at));
#endif
"""
_PAIR_IN_GLOBAL_MEMORY = _NUMBER_IN_GLOBAL_MEMORY.replace("(Number*)row.data + i", "(Number*)(row.data + i)")
_VALUE_IN_GLOBAL_MEMORY = """
  const auto* at = row.data + i;
#if defined(__CUDA_ARCH__)
  __builtin_assume(__isGlobal(at));
#endif
  return *at;
"""


@functools.cache
def member_view(dtype, shape: tuple[int, int]) -> Callable:
    """``field(table, place, member)`` is the array of that shape of a member. (Warp's strides end at 2 GiB.)"""
    rows, columns = shape
    item = rows * columns * wp.types.type_size_in_bytes(dtype)

    @wp.func
    def field(table: Table, place: Place, member: int):
        start = address(table, place[0]) + wp.uint64(place[1] + member) * wp.uint64(item)
        return wp.array(ptr=in_global_memory(start), shape=(rows, columns), dtype=dtype)

    return field


@functools.cache
def row_view(dtype, shape: tuple[int, int], upwards: bool = False) -> Callable:
    """``row(table, place, member, i, j)`` is row i of a member; its index 0 is point j.

    Loops over indices known at compile time then need no address arithmetic. With `upwards` the view also has all rows
    above: the same point of the next row has index nx.
    """
    rows, columns = shape
    reach = rows * columns if upwards else columns
    item = wp.types.type_size_in_bytes(dtype)

    @wp.func
    def row(table: Table, place: Place, member: int, i: int, j: int):
        row = wp.int64(place[1] + member) * wp.int64(rows) + wp.int64(i)
        offset = (row * wp.int64(columns) + wp.int64(j)) * wp.int64(item)
        start = address(table, place[0]) + wp.uint64(offset)
        length = wp.int32(reach)
        return wp.array(ptr=in_global_memory(start), shape=(length,), dtype=dtype)

    return row


@functools.cache
def vector_view(dtype) -> Callable:
    """``vector(table, place)`` is the array ``(length,)`` at a place."""
    item = wp.types.type_size_in_bytes(dtype)

    @wp.func
    def vector(table: Table, place: Place):
        start = address(table, place[0]) + wp.uint64(place[1]) * wp.uint64(item)
        return wp.array(ptr=in_global_memory(start), shape=(place[2],), dtype=dtype)

    return vector


@functools.cache
def value_at(real) -> Callable:
    """``at(row, i)`` is ``row[i]`` for any i. Warp's own indexing does not define negative ones."""

    @wp.func_native(_VALUE_IN_GLOBAL_MEMORY)
    def at(row: wp.array(dtype=real), i: int) -> real: ...

    return at


@functools.cache
def complex_access(real) -> tuple[Callable, Callable]:
    """``get(row, i)`` and ``put(row, i, value)`` for rows of complex numbers, one access each.

    Warp's 2-vectors take two accesses, since the compiler does not know that they are aligned.
    """
    name, Complex = c_name(real), complex_type(real)
    array = wp.array(dtype=Complex)
    at = NUMBER.format(real=name) + _NUMBER_IN_GLOBAL_MEMORY

    @wp.func_native(f"{at} const Number p = *at; return wp::vec_t<2, {name}>(p.x, p.y);")
    def get(row: array, i: int) -> Complex: ...

    @wp.func_native(f"{at} Number p; p.x = value[0]; p.y = value[1]; *at = p;")
    def put(row: array, i: int, value: Complex): ...

    return get, put


@functools.cache
def pair_access(real) -> tuple[Callable, Callable]:
    """``get(row, i)`` and ``put(row, i, value)`` for numbers i and i + 1 of a real row, one access each; i is even."""
    name, Complex = c_name(real), complex_type(real)
    array, at = wp.array(dtype=real), NUMBER.format(real=name) + _PAIR_IN_GLOBAL_MEMORY

    @wp.func_native(f"{at} const Number p = *at; return wp::vec_t<2, {name}>(p.x, p.y);")
    def get(row: array, i: int) -> Complex: ...

    @wp.func_native(f"{at} Number p; p.x = value[0]; p.y = value[1]; *at = p;")
    def put(row: array, i: int, value: Complex): ...

    return get, put


@functools.cache
def tile_access(real, size: int) -> tuple[Callable, Callable]:
    """``get(tile, i)`` and ``put(tile, i, value)`` for the numbers of a tile of that size."""
    Tile = wp.tile(dtype=real, shape=(size,))

    @wp.func_native("return tile.data.ptr[i];")
    def get(tile: Tile, i: int) -> real: ...

    @wp.func_native("tile.data.ptr[i] = value;")
    def put(tile: Tile, i: int, value: real): ...

    return get, put
