"""Arrays whose addresses are looked up when a kernel runs.

A captured CUDA graph fixes its kernels' arguments, while XLA hands every call other buffers. So kernels here take
no arrays: they take one table of addresses, which lies in device memory, and for each array its place in the table.
A graph then serves any buffers; a replay only has to write the table first. Shapes are known when a kernel is compiled,
but for leading lengths, which makes indexing cheaper too.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import warp as wp

from .accesses import FOLLOW, GLOBAL_NUMBER, GLOBAL_VALUE, NUMBER

Table = wp.array(dtype=wp.uint64)
# Loops over what a thread holds are unrolled, so that it is held in registers.
OPTIONS = {"module": "unique", "enable_backward": False, "grid_stride": False, "module_options": {"max_unroll": 32}}
# (slot in the table, items before it in memory, items of a slice, slices); an item is a field of a member, or a number
Place = wp.vec4i
NONE = Place(0, 0, 0, 0)  # of an array that is not there


def kernel(**options) -> Callable:
    """The decorator of kernels that take a table. In a graph they start before the kernel ahead has ended
    (`warpjaxns._overlap`), so all of them must call `follow`."""

    def decorate(function):
        if "follow" not in function.__code__.co_names:
            raise TypeError(f"kernel {function.__name__} does not call memory.follow()")
        return wp.kernel(**OPTIONS, **options)(function)

    return decorate


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  return from_last ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
#else
  return index;
#endif
""")
def block_index(index: int, from_last: int) -> int:
    """The block's number, given what `wp.tid` says: Warp divides 64-bit numbers for it, which CUDA knows. Blocks start
    one after the other; `from_last`, the one that starts first is the last."""
    ...


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  const int block = blockIdx.x + ahead;
  return block >= gridDim.x ? -1 : from_last ? gridDim.x - 1 - block : block;
#else
  return -1;
#endif
""")
def later_block(ahead: int, from_last: int) -> int:
    """The number of the block that is so many places `ahead` in the order of their starts; -1 where there is none."""
    ...


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  return threadIdx.x;
#else
  return 0;
#endif
""")
def thread_index() -> int:
    """The thread's number in its block."""
    ...


@wp.func
def locate(index: int, parts: int, from_last: int = 0):
    """The member a block works for, which of its `parts` it has, and the thread; `index`: of the block, by `wp.tid`."""
    block = block_index(index, from_last)
    member = block // parts
    return member, block - member * parts, thread_index()


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  return __ldg((const unsigned long long*)table.data + slot);
#else
  return table.data[slot];
#endif
""")
def address(table: Table, slot: int) -> wp.uint64:
    """What stands in a slot of the table. No kernel that reads the table writes it."""
    ...


@wp.func_native(FOLLOW)
def follow():
    """From here on what the kernel ahead has written may be read, and what it reads may be written.

    What came before the kernel ahead is there from the start, for that kernel waited likewise.
    """
    ...


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  __builtin_assume(__isGlobal((const void*)address));
  return address;
#else
  return address;
#endif
""")
def in_global_memory(address: wp.uint64) -> wp.uint64:
    """The same address, known to the compiler as one of global memory: accesses are cheaper and can be reordered."""
    ...


@wp.func
def slice_at(place: Place, index: int):
    """The place of a slice that comes so many later in the same array."""
    return Place(place[0], place[1] + index * place[2], place[2], place[3])


@functools.cache
def stack(dtype, shape: tuple[int, int]) -> Callable:
    """``stack(table, place)`` is the array ``(length, *shape)`` at a place."""
    rows, columns = shape
    item = rows * columns * wp.types.type_size_in_bytes(dtype)

    @wp.func
    def stack(table: Table, place: Place):
        start = address(table, place[0]) + wp.uint64(place[1]) * wp.uint64(item)
        return wp.array(ptr=in_global_memory(start), shape=(place[2], rows, columns), dtype=dtype)

    return stack


@functools.cache
def lane(dtype, shape: tuple[int, int], upwards: bool = False) -> Callable:
    """``lane(table, place, member, i, j)`` is row i of a member as seen from its point j: an array whose index 0 is
    that point. Loops over indices known at compile time then need no arithmetic for addresses. `upwards`: with all that
    comes after it, so that the next row's point is at index nx.
    """
    rows, columns = shape
    reach = rows * columns if upwards else columns
    item = wp.types.type_size_in_bytes(dtype)

    @wp.func
    def lane(table: Table, place: Place, member: int, i: int, j: int):
        row = wp.int64(place[1] + member) * wp.int64(rows) + wp.int64(i)
        offset = (row * wp.int64(columns) + wp.int64(j)) * wp.int64(item)
        start = address(table, place[0]) + wp.uint64(offset)
        length = wp.int32(reach)
        return wp.array(ptr=in_global_memory(start), shape=(length,), dtype=dtype)

    return lane


@functools.cache
def force(dtype, shape: tuple[int, int], upwards: bool = False) -> Callable:
    """``force(table, place, step, member, i, j)``: as `lane`, of a forcing, whose place is a `Buffer.whole`; it may be
    per step or steady, per member or shared."""
    row = lane(dtype, shape, upwards)

    @wp.func
    def force(table: Table, place: Place, step: int, member: int, i: int, j: int):
        when = slice_at(place, wp.where(place[3] == 1, 0, step))
        return row(table, when, wp.where(place[2] == 1, 0, member), i, j)

    return force


@functools.cache
def at(real) -> Callable:
    """``at(lane, i)`` is ``lane[i]`` where i may be negative, which for Warp's own indexing is undefined."""

    @wp.func_native(GLOBAL_VALUE)
    def at(lane: wp.array(dtype=real), i: int) -> real: ...

    return at


@functools.cache
def of_tile(real, size: int) -> Callable:
    """``value(tile, i)`` is the i-th number of a tile of that size."""
    Tile = wp.tile(dtype=real, shape=(size,))

    @wp.func_native("return tile.data.ptr[i];")
    def value(tile: Tile, i: int) -> real: ...

    return value


@functools.cache
def to_tile(real, size: int) -> Callable:
    """``put(tile, i, value)``: likewise."""
    Tile = wp.tile(dtype=real, shape=(size,))

    @wp.func_native("tile.data.ptr[i] = value;")
    def put(tile: Tile, i: int, value: real): ...

    return put


@functools.cache
def numbers(real) -> tuple[Callable, Callable]:
    """``get(lane, i)`` and ``put(lane, i, value)`` for lanes of complex numbers, one access each.

    Warp's 2-vectors are only known to be aligned as their components are, and take two.
    """
    name = "double" if real is wp.float64 else "float"
    Complex = wp.types.vector(length=2, dtype=real)
    array = wp.array(dtype=Complex)
    at = NUMBER.format(real=name) + GLOBAL_NUMBER

    @wp.func_native(f"{at} const Number p = *at; return wp::vec_t<2, {name}>(p.x, p.y);")
    def get(lane: array, i: int) -> Complex: ...

    @wp.func_native(f"{at} Number p; p.x = value[0]; p.y = value[1]; *at = p;")
    def put(lane: array, i: int, value: Complex): ...

    return get, put


@functools.cache
def line(dtype) -> Callable:
    """``line(table, place)`` is the array ``(length,)`` at a place."""
    item = wp.types.type_size_in_bytes(dtype)

    @wp.func
    def line(table: Table, place: Place):
        start = address(table, place[0]) + wp.uint64(place[1]) * wp.uint64(item)
        return wp.array(ptr=in_global_memory(start), shape=(place[2],), dtype=dtype)

    return line


@dataclasses.dataclass(frozen=True)
class Buffer:
    """An array that is known by its place in a table of addresses. `buffer[i]` is a slice along the first axis.

    Of the axis of members, the first one, or the second where there are four, it may be a part: `shape` counts those
    from `first` on, and `length` all that there are in memory (None: the same).
    """

    table: Any
    slot: int
    shape: tuple[int, ...]
    index: int = 0
    first: int = 0
    length: int | None = None

    def __getitem__(self, index: int) -> "Buffer":
        if not 0 <= index < self.shape[0]:
            raise IndexError(f"slice {index} of a buffer of shape {self.shape}")
        return dataclasses.replace(self, shape=self.shape[1:], index=index)

    @property
    def merged(self) -> "Buffer":
        """Its first two axes as one."""
        first, second, *rest = self.shape
        return dataclasses.replace(self, shape=(first * second, *rest))

    def part(self, first: int, members: int, batch: int) -> "Buffer":
        """What it has of some members of a batch; all of it, where these share it."""
        axis = int(len(self.shape) == 4)
        length = self.shape[axis]
        if length == 1:
            return self
        each = length // batch  # more than one number of a member where all axes are one
        shape = (*self.shape[:axis], members * each, *self.shape[axis + 1 :])
        return dataclasses.replace(self, shape=shape, first=first * each, length=length)

    @property
    def on_cpu(self) -> bool:
        return self.table.device.is_cpu

    @property
    def place(self) -> wp.vec4i:
        length = self.length or self.shape[0]
        return Place(self.slot, self.index * length + self.first, length, 1)

    @property
    def whole(self) -> wp.vec4i:
        """The place of all slices, for `force`."""
        return Place(self.slot, self.first, self.length or self.shape[1], self.shape[0])


def buffers(table, arrays) -> list[Buffer]:
    """The arrays, by their places in the table that holds their addresses in this order."""
    return [Buffer(table, slot, tuple(array.shape)) for slot, array in enumerate(arrays)]


def launch(kernel: wp.Kernel, blocks: int, arguments: list, block_dim: int) -> None:
    """Launch blocks of threads; the kernel's first parameter is the table, and buffers become places."""
    table = next(argument.table for argument in arguments if isinstance(argument, Buffer))
    places = [argument.place if isinstance(argument, Buffer) else argument for argument in arguments]
    wp.launch_tiled(kernel, dim=[blocks], inputs=[table, *places], block_dim=block_dim)
