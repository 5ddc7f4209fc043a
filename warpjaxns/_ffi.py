"""Foreign calls: a Python function that launches Warp kernels becomes a JAX call.

Only this file calls Warp's JAX interface.

A launch function takes its inputs and then its outputs, and launches kernels on them:

    def double(x, y):
        address_table.launch(kernel, x.table, blocks, [x, y], block_dim)

    (y,) = _ffi.call(double, x, key=("double",), outputs=[(wp.float32, x.shape)], graph=True)

A call works inside `jit` or eagerly, from a lowering through `mlir.lower_fun`, on the CPU and on any number of CUDA
devices. It has no rules for differentiation or batching: those belong to the primitives.

Design:

- There is one callable with one descriptor for each *signature* (key, types, shapes, platform), kept for good: a
  compiled program may call it at any time, and tracing again finds it. Warp itself never forgets a callable, and makes
  a new descriptor each time one is called from Python.
- On CUDA the launches are captured into a graph, once for each signature and device. Warp's own graph modes key their
  graphs by the addresses of all buffers. A training loop has new buffers in every iteration, and would never replay.
  Here kernels read addresses from a table (`_kernels.hardware.address_table`), and a replay writes the table first.
- A target is named by a hash of its signature (`_names`). A program from JAX's cache on disk, or an exported one, finds
  the same launches in another process, or none.
- Warp loads the module of the function that it calls. That function claims the module `_kernels.hardware.fill`, whose
  kernel is needed.
"""

import contextlib
import dataclasses
import functools
import inspect
import sys
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, cast

import jax
import jax.core
import numpy as np
import warp as wp
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jax.interpreters.xla import apply_primitive

from ._kernels.hardware import address_table
from ._kernels.hardware.dependent_launch import make_programmatic
from ._kernels.hardware.fill import Addresses, Entries, fill, fill_moved
from ._kernels.hardware.groups import Together
from ._kernels.hardware.limits import TABLE_SLOTS
from ._names import name_of
from ._signals import defer_signals
from ._types import abstract_result, dtype_in_jax, shape_in_jax

CALLBACKS = wp.jax_callable.__code__.co_filename  # the file of the functions that XLA calls
CALLBACK_LOCK = wp.jax_callable.__globals__.get("_FFI_CALLBACK_LOCK")  # which Warp holds over each of them
MOST_AHEAD = 10.0  # seconds
ATTEMPTS = 10  # to capture a graph
PATIENCE = 1.0  # seconds of compiling before a message is printed

_lock = threading.Lock()
_callables: dict[tuple, Any] = {}
_replays: dict[tuple, "_Replay"] = {}
_launches = 0


@dataclasses.dataclass(frozen=True)
class Program:
    """A launch function and the types around it. Equal keys and types mean the same program."""

    key: Hashable
    inputs: tuple[type, ...]
    outputs: tuple[tuple[type, tuple[int, ...]], ...]
    graph: bool
    repeats: int
    feed: tuple[int, int]
    aliases: tuple[tuple[int, int], ...]
    moving: tuple[tuple[int, int], ...]
    launch: Callable[..., None] = dataclasses.field(compare=False, repr=False)
    together: Together | None = dataclasses.field(compare=False, repr=False)


def call(
    launch: Callable[..., None],
    *operands: jax.Array,
    key: Hashable,
    outputs: Sequence[tuple[type, Sequence[int]]],
    inputs: Sequence[type] | None = None,
    graph: bool = False,
    repeats: int = 1,
    feed: tuple[int, int] = (0, 0),
    aliases: Mapping[int, int] | None = None,
    at: jax.Array | None = None,
    moving: Mapping[int, int] | None = None,
    together: Together | None = None,
) -> tuple[jax.Array, ...]:
    """Run `launch(*inputs, *outputs)` on the device where the operands are.

    **Arguments:**

    - `launch`: launches Warp kernels on contiguous arrays of the shapes given here. They are `address_table.Buffer`s
        with `graph`, and Warp arrays without. It must not call JAX, synchronise, allocate, or write to an input.
        Scratch is one more output. Outputs are not initialised.
    - `operands`: JAX arrays.
    - `key`: everything that `launch` depends on besides its arrays, as a hashable value. The first function with a key
        (and types, and shapes) serves all later calls, so keys of different functions must differ.
    - `outputs`: `(dtype, shape)` each, with Warp's dtype and shape. Warp's shape leaves out the components of a vector
        or matrix, which are the last axes of JAX's shape.
    - `inputs`: Warp's dtypes of the operands. Needed if an operand holds vectors or matrices.
    - `graph`: capture the launches into a CUDA graph that serves all later calls. The kernels must then be made by
        `address_table.kernel`; they take places in a table of up to 32 addresses. Without `graph`, `launch` gets
        arrays and runs at each call.
    - `repeats`: runs of the graph, with `graph`. From the second run on, the output `feed[1]` takes the place of the
        input `feed[0]`, so that the launches work in place. Both are numbers among all arrays. Equal numbers feed
        nothing.
    - `aliases`: for an operand, the output that takes its place in memory. `launch` gets the same memory twice, and may
        write to it.
    - `at`, `moving`: slices along the first axis, known on the device only. An array that moves begins, for `launch`,
        with its slice ``at[moving[array]]``. Arrays are numbered as in `feed`, and `at` holds int32. With `graph`, and
        without `repeats`.

    - `together`: for launches whose kernels wait for those of the same call on other devices. A run fails if one has
        given up.

    **Returns:** the outputs, a tuple.

    **Raises:** `TypeError` if an operand does not fit its dtype, `ValueError` for more arrays than a table holds.
    """
    operands = tuple(jax.numpy.asarray(x) for x in operands)
    if inputs is None:
        inputs = [wp.dtype_from_jax(x.dtype) for x in operands]
    for index, (x, dtype) in enumerate(zip(operands, inputs, strict=True)):
        components = shape_in_jax((), dtype)
        if x.dtype != dtype_in_jax(dtype) or x.shape[x.ndim - len(components) :] != components:
            raise TypeError(f"operand {index} is {x.dtype}{list(x.shape)}, which cannot hold {dtype.__name__}")
    if graph and len(operands) + len(outputs) > TABLE_SLOTS:
        raise ValueError(f"a graph has {len(operands)} operands and {len(outputs)} outputs; {TABLE_SLOTS} in all fit")
    shapes = tuple((dtype, tuple(int(n) for n in shape)) for dtype, shape in outputs)
    if moving:
        operands = (jax.numpy.asarray(at, np.int32), *operands)
    same, moved = (tuple(sorted((chosen or {}).items())) for chosen in (aliases, moving))
    program = Program(key, tuple(inputs), shapes, graph, repeats, feed, same, moved, launch, together)
    return tuple(call_p.bind(*operands, program=program))


def clear() -> None:
    """Forget the captured CUDA graphs. Callables stay, since compiled programs still refer to them."""
    with _lock:
        _replays.clear()


def statistics() -> dict[str, int]:
    """Return counts of callables, captures and launches.

    `callables`: distinct signatures. `captures`: CUDA graphs kept. `launches`: runs of launch functions since the
    process started. On CUDA a launch function runs once a capture, so the count does not grow while graphs are
    replayed.
    """
    with _lock:
        return {"callables": len(_callables), "captures": len(_replays), "launches": _launches}


call_p = Primitive("warp_call")
call_p.multiple_results = True
call_p.def_impl(functools.partial(apply_primitive, call_p))


@call_p.def_abstract_eval
def _abstract_eval(*operands, program):
    return [
        abstract_result(shape_in_jax(shape, dtype), dtype_in_jax(dtype), *operands) for dtype, shape in program.outputs
    ]


def _lower(ctx, *operands, program, platform):
    shapes = tuple(tuple(aval.shape) for aval in ctx.avals_in)
    signature = (program, platform, shapes)
    with _lock:
        if signature not in _callables:
            _callables[signature] = _register(signature)
        callable_ = _callables[signature]
    same = {operand + bool(program.moving): output for operand, output in program.aliases}
    return jax.ffi.ffi_lowering(callable_.name, operand_output_aliases=same)(ctx, *operands, call_id=np.int64(0))


for _platform in ("cpu", "cuda"):
    mlir.register_lowering(call_p, functools.partial(_lower, platform=_platform), platform=_platform)


def _register(signature):
    """Make Warp's callable of one signature, with its one descriptor."""
    defer_signals(CALLBACKS)
    program, _, shapes = signature
    inputs = (cast(Any, wp.int32),) * bool(program.moving) + program.inputs
    devices = set()  # names of those where it has run

    def launch(*arrays):
        defer_signals(CALLBACKS)
        if program.together:
            program.together.check()
        device = arrays[0].device
        with contextlib.nullcontext() if device.alias in devices else _excuse(program):
            launch_there(device, *arrays)
        devices.add(device.alias)
        if program.together:
            program.together.count(device.alias)

    def launch_there(device, *arrays):
        # Warp holds one lock over all callbacks
        at, arrays = (arrays[0], arrays[1:]) if program.moving else (cast(Any, None), arrays)
        if not program.graph:
            _run(program, arrays)
        elif device.is_cpu:
            addresses = np.array([array.ptr or 0 for array in arrays], np.uint64)
            for i, entry in program.moving:
                addresses[i] += int(at.numpy()[entry]) * arrays[i].strides[0]
            table = wp.array(addresses, dtype=wp.uint64, device=device, copy=False)
            for _ in range(program.repeats):
                _run(program, address_table.buffers(table, arrays))
                addresses[program.feed[0]] = addresses[program.feed[1]]
        else:
            place = signature, device.ordinal, device.stream.cuda_stream
            replay = _replays.get(place)
            if replay is None:
                if program.together:  # a capture may wait for the device, and that for other devices
                    _let_others_go_on(lambda: program.together.ahead(device.alias))
                    wp.set_device(device)  # others have changed it
                replay = _replays[place] = _Replay(program, arrays, at, device)
            replay(arrays, at)

    ndims = [len(shape) - len(shape_in_jax((), dtype)) for shape, dtype in zip(shapes, inputs, strict=True)]
    types = {f"in_{i}": wp.array(dtype=t, ndim=n) for i, (t, n) in enumerate(zip(inputs, ndims, strict=True))}
    types |= {f"out_{i}": wp.array(dtype=t, ndim=len(shape)) for i, (t, shape) in enumerate(program.outputs)}
    launch.__module__, launch.__qualname__ = cast(wp.Kernel, fill).module.name, f"warpjaxns_{name_of(signature)}"
    launch.__annotations__ = types
    launch.__signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in types]
    )
    callable_ = wp.jax_callable(
        launch,
        num_outputs=len(program.outputs),
        graph_mode=wp.JaxCallableGraphMode.NONE,
        vmap_method=None,
        output_dims={f"out_{i}": shape for i, (_, shape) in enumerate(program.outputs)},
        module_preload_mode=wp.JaxModulePreloadMode.NONE,
    )
    # Python calls it only here. That makes descriptor 0, to which the lowering refers.
    avals = [jax.ShapeDtypeStruct(s, dtype_in_jax(t)) for s, t in zip(shapes, inputs, strict=True)]
    with jax.enable_x64(True), jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())):
        jax.eval_shape(callable_, *avals)
    return callable_


def _let_others_go_on(ahead):
    """Release Warp's lock over callbacks, which is held here, as long as `ahead()`, at most for a while."""
    end = time.monotonic() + MOST_AHEAD
    while CALLBACK_LOCK is not None and ahead() and time.monotonic() < end:
        CALLBACK_LOCK.release()
        try:
            time.sleep(1e-4)
        finally:
            CALLBACK_LOCK.acquire()


@contextlib.contextmanager
def _excuse(program):
    """Print a message if kernels have to be compiled."""
    name = program.key[0] if isinstance(program.key, tuple) else getattr(program.key, "key", "a call")
    message = f"warpjaxns: compiling kernels of {name}; later runs find them in Warp's cache"
    timer = threading.Timer(PATIENCE, print, [message], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _run(program, arguments):
    global _launches
    _launches += 1
    program.launch(*arguments)


def _captured(launch):
    """Return the CUDA graph of launches.

    A capture is relaxed, since Python may collect garbage meanwhile, and XLA then unloads modules in this thread. It is
    begun again if it breaks: in another thread XLA may wait for the device before it frees memory.
    """
    for attempt in range(ATTEMPTS):
        try:
            with wp.ScopedCapture(capture_mode=wp.CaptureMode.RELAXED) as capture:
                launch()
            return capture.graph
        except RuntimeError:
            if attempt == ATTEMPTS - 1:
                raise


class _Replay:
    """The CUDA graph of a program on one device and stream, and the table of addresses its kernels read."""

    def __init__(self, program, arrays, at, device):
        self.program = program
        self.table = wp.empty(len(arrays), dtype=cast(Any, wp.uint64), device=device)
        arguments: list = [Addresses(), self.table]
        if program.moving:
            entries, slices = Entries(), Addresses()
            for i, entry in program.moving:
                entries[i], slices[i] = entry, arrays[i].strides[0]
            arguments[1:1] = [at, entries, slices]
        kernel = fill_moved if program.moving else fill
        self.fill: Any = wp.launch(kernel, dim=1, inputs=arguments, device=device, record_cmd=True)
        buffers = address_table.buffers(self.table, arrays)
        with address_table.loading():
            program.launch(*buffers)
        self.graph: Any = _captured(lambda: _run(program, buffers))
        make_programmatic(self.graph.graph.value)

    def __call__(self, arrays, at):
        # The addresses travel as a kernel argument, by value: calls in flight do not disturb each other.
        addresses = Addresses()
        for i, array in enumerate(arrays):
            addresses[i] = array.ptr or 0
        for repeat in range(self.program.repeats):
            if repeat < 2:
                self.fill.set_param_at_index(0, addresses)
                if at is not None:
                    self.fill.set_param_at_index(1, at)
                self.fill.launch()
                addresses[self.program.feed[0]] = addresses[self.program.feed[1]]
            wp.capture_launch(self.graph)
