"""The address table: arrays whose addresses are looked up when a kernel runs.

A captured CUDA graph fixes its kernels' arguments, while XLA hands every call other buffers. So kernels here take
no arrays. They take one table of addresses in device memory, and for each array its place in the table. A graph then
serves any buffers. A replay only has to write the table first. All lengths but the leading one are known when a kernel
is compiled, which also makes indexing cheaper.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import warp as wp

Table = wp.array(dtype=wp.uint64)
# Loops over what a thread holds are unrolled, so that it is held in registers.
OPTIONS = {"module": "unique", "enable_backward": False, "grid_stride": False, "module_options": {"max_unroll": 32}}
# (slot in the table, items before it in memory, items of a slice, slices); an item is a field of a member, or a number
Place = wp.vec4i
NO_ARRAY = Place(0, 0, 0, 0)


def _options() -> dict[str, Any]:
    """Return `OPTIONS`, with loops left as they are where there is no CUDA: unrolled, some compile for minutes."""
    return OPTIONS if wp.is_cuda_available() else OPTIONS | {"module_options": {"max_unroll": 1}}


def kernel(**options) -> Callable:
    """Decorate a kernel that takes a table.

    In a graph it starts before the previous kernel has ended (`hardware.dependent_launch`), so it must call
    `intrinsics.synchronise_dependent_launch`.

    Raises:
        TypeError: it does not.
    """

    def decorate(function):
        if "synchronise_dependent_launch" not in function.__code__.co_names:
            raise TypeError(f"kernel {function.__name__} does not call synchronise_dependent_launch()")
        return wp.kernel(**_options(), **options)(function)

    return decorate


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  return __ldg((const unsigned long long*)table.data + slot);
#else
  return table.data[slot];
#endif
""")
def address(table: Table, slot: int) -> wp.uint64:
    """Return what stands in a slot of the table. No kernel that reads the table writes it."""
    ...


@wp.func
def slice_at(place: Place, index: int):
    """Return the place of the slice that comes `index` slices later in the same array."""
    return Place(place[0], place[1] + index * place[2], place[2], place[3])


@dataclasses.dataclass(frozen=True)
class Buffer:
    """An array that is known by its place in a table of addresses. `buffer[i]` is a slice along the first axis.

    Members lie along the first axis, or along the second one of four. A buffer may hold a part of that axis: `shape`
    counts the members from `first` on, and `length` all members in memory (None: the same).
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
        """This buffer with its first two axes as one."""
        first, second, *rest = self.shape
        return dataclasses.replace(self, shape=(first * second, *rest))

    def part(self, first: int, members: int, batch: int) -> "Buffer":
        """Return the part of some members of a batch, or the buffer itself where members share it."""
        axis = int(len(self.shape) == 4)
        length = self.shape[axis]
        if length == 1:
            return self
        each = length // batch  # more than one number of a member where all axes are one
        shape = (*self.shape[:axis], members * each, *self.shape[axis + 1 :])
        return dataclasses.replace(self, shape=shape, first=first * each, length=length)

    @property
    def on_cpu(self) -> bool:
        """True on the CPU."""
        return self.table.device.is_cpu

    @property
    def place(self) -> wp.vec4i:
        """The place of the buffer, as one slice."""
        length = self.length or self.shape[0]
        return Place(self.slot, self.index * length + self.first, length, 1)

    @property
    def slices(self) -> wp.vec4i:
        """The place of all slices along its first axis."""
        return Place(self.slot, self.first, self.length or self.shape[1], self.shape[0])


def buffers(table, arrays) -> list[Buffer]:
    """Return the arrays as buffers, given the table that holds their addresses in this order."""
    return [Buffer(table, slot, tuple(array.shape)) for slot, array in enumerate(arrays)]


_only_loads = False  # one thread at a time launches: Warp holds a lock over all callbacks


@contextlib.contextmanager
def loading():
    """Make launches load their kernels on the current device, and not run them.

    A graph is captured after that. To load a module can make CUDA wait for the device, and takes long.
    """
    global _only_loads
    _only_loads = True
    try:
        yield
    finally:
        _only_loads = False


def launch(kernel: wp.Kernel, table: wp.array, blocks: int, arguments: list, block_dim: int) -> None:
    """Launch blocks of threads. The kernel's first parameter is the table; buffers become places."""
    if _only_loads:
        kernel.module.load(table.device, block_dim).get_kernel_hooks(kernel)
        return
    places = [argument.place if isinstance(argument, Buffer) else argument for argument in arguments]
    wp.launch_tiled(kernel, dim=[blocks], inputs=[table, *places], block_dim=block_dim)
