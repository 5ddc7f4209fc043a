"""Members over devices under plain `jit`: XLA's partitioner learns which axis of each array is the members'.

A batch that is sharded stays sharded. Each device computes its own members, without communication.

JAX's `custom_partitioning` has neither derivative nor batching rules. Here it needs none: it stands inside the lowering
of a primitive that has them. The partitioner calls back with the arrays of one device, and the function is then traced
anew for these, with the plan and the scratch memory that fit so many members.

Fields live whole on a device. An array that is sharded along another axis is an error, since XLA would gather it on
every device.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import custom_partitioning as jax_partitioning
from jax.experimental.custom_partitioning import ArrayMapping, SdyShardingRule, custom_partitioning
from jax.interpreters import mlir
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from .._names import name_of

options: Any = jax.config
ADVICE = (
    "fields live whole on a device, unless their grid is divided (Grid.over). Put the mesh on a batch axis, or gather "
    "the array first, with "
    "jax.device_put, jax.lax.with_sharding_constraint or jax.sharding.reshard"
)


def several_devices(ctx) -> bool:
    """Return whether XLA will divide the program: not on one device, inside a full `shard_map`, or for export."""
    if ctx.module_context.lowering_parameters.for_export or not options.jax_use_shardy_partitioner:
        return False
    context = ctx.module_context.axis_context
    if hasattr(context, "manual_axes"):
        return set(context.manual_axes) != set(context.mesh.axis_names)
    return getattr(context, "num_devices", 1) > 1


def lower(function: Callable, ctx, operands, name: str, key, foreign: bool, axes: Sequence, out_axes: Sequence):
    """Lower ``function(*operands)`` to a call that XLA's partitioner may divide among devices.

    Args:
        function: takes and returns several arrays. It may not depend on the number of members but by its operands.
        ctx: the context of the lowering rule.
        operands: values of MLIR.
        name: that of the primitive, for messages.
        key: everything that the function depends on, plain data.
        foreign: whether it makes foreign calls.
        axes: the batch axes of each operand, a tuple. Entries at the same place belong together, and None stands for
            an axis that the operand does not have. An axis of length 1 is shared.
        out_axes: those of each result.
    """
    avals, results = ctx.avals_in, ctx.avals_out
    shapes = [aval.shape for aval in (*avals, *results)]
    labels = _labels(shapes, [*axes, *out_axes])

    def types(*_):  # only the types of the results are looked at
        return tuple(jnp.zeros(aval.shape, aval.dtype) for aval in results)

    def on_a_device(*operands):  # no mesh of the user's is left
        with jax.sharding.use_abstract_mesh(AbstractMesh((), ())):
            return tuple(function(*operands))

    def partition(mesh, given, wanted):
        found = [x.sharding for x in (*given, *wanted)]
        for shape, names, sharding in zip(shapes, labels, found[: len(given)], strict=False):
            for axis, shards in enumerate(_shards(sharding, len(shape))):
                if shards > 1 and names[axis] is None:
                    raise ValueError(_message(name, shape, f"along axis {axis}, in {shards} parts"))
        made = _along_batch(found, labels)
        devices = Mesh(np.array(found[0]._device_assignment), ("devices",))
        return devices, on_a_device, tuple(made[len(given) :]), tuple(made[: len(given)])

    if foreign and options.jax_compilation_cache_dir:
        _register_parts(on_a_device, ctx, labels)
    split = custom_partitioning(types)
    factors = [ArrayMapping(*_factors(i, names)) for i, names in enumerate(labels)]
    rule = SdyShardingRule(tuple(factors[: len(avals)]), tuple(factors[len(avals) :]))
    split.def_partition(partition, decode_shardings=False, sharding_rule=rule)
    values = mlir.lower_fun(split, multiple_results=True)(_knowing_devices(ctx), *operands)
    _name(values, ctx, name_of((name, key, [(aval.shape, aval.dtype.name) for aval in avals])))
    return values


def _register_parts(function, ctx, labels):
    """Register the foreign calls of a device, for all numbers of shards of a batch axis.

    A program that JAX finds in its cache on disk needs them, and the partitioner does not call back for it.
    """
    context = ctx.module_context.axis_context
    devices = context.mesh.size if hasattr(context, "mesh") else context.num_devices
    numbers = {number for names in labels for number in names} - {None}
    divided = itertools.product(numbers, (n for n in range(2, devices + 1) if devices % n == 0))
    for number, shards in [(-1, 1), *divided]:
        sizes = [
            [-(-n // shards) if name == number else n for n, name in zip(aval.shape, names, strict=True)]
            for aval, names in zip(ctx.avals_in, labels, strict=False)
        ]
        parts = [jax.ShapeDtypeStruct(size, aval.dtype) for size, aval in zip(sizes, ctx.avals_in, strict=True)]
        jax.jit(function).trace(*parts).lower(lowering_platforms=tuple(ctx.module_context.platforms))


def _labels(shapes, axes):
    """Return for each array which batch axis each of its axes is, a number, or None for one that must stay whole."""
    labels: list[list[int | None]] = [[None] * len(shape) for shape in shapes]
    for number, places in enumerate(zip(*axes, strict=True)):
        lengths = [1 if axis is None else shape[axis] for shape, axis in zip(shapes, places, strict=True)]
        for names, axis, length in zip(labels, places, lengths, strict=True):
            if length != 1:
                names[axis] = number
    return labels


def _factors(array, names):
    """Return factors of the axes of an array. Arrays have those of the batch axes in common."""
    return [f"array{array}_axis{i}" if number is None else f"batch{number}" for i, number in enumerate(names)]


def _message(name, shape, how):
    return f"an operand of '{name}' of shape {tuple(shape)} is sharded {how}: {ADVICE}"


def _shards(sharding, ndim):
    """Return the number of shards along each axis."""
    hlo = sharding._to_xla_hlo_sharding(ndim)
    return (1,) * ndim if hlo.is_replicated() else tuple(hlo.tile_assignment_dimensions()[:ndim])


def _along_batch(found, labels):
    """Return shardings of all arrays along their batch axes, as that one is sharded which has the most shards."""

    def parts(sharding, names):
        shards = zip(names, _shards(sharding, len(names)), strict=True)
        return {number: n for number, n in shards if number is not None and n > 1}

    model, names = max(zip(found, labels, strict=True), key=lambda pair: math.prod(parts(*pair).values()))
    shards, kind = parts(model, names), type(model)
    if not shards:
        return [kind.get_replicated(model._device_assignment)] * len(found)
    hlo = model._to_xla_hlo_sharding(len(names))
    # devices, with an axis for each batch axis that is sharded, and a last one for the copies
    split = [names.index(number) for number in shards]
    devices = np.reshape(hlo.tile_assignment_devices(), hlo.tile_assignment_dimensions())
    devices = np.moveaxis(devices, split, range(len(split))).reshape(*shards.values(), -1)

    def along(names):
        here = [list(shards).index(number) for number in names if number in shards]
        if not here:
            return kind.get_replicated(model._device_assignment)
        order = np.moveaxis(devices, here, range(len(here)))
        proto = hlo.to_proto()
        proto.iota_reshape_dims, proto.iota_transpose_perm, proto.last_tile_dims = [], [], []
        proto.tile_assignment_dimensions = [shards.get(number, 1) for number in names]
        proto.tile_assignment_dimensions += [order.size // math.prod(shards[n] for n in names if n in shards)]
        proto.tile_assignment_devices = order.flatten().tolist()
        proto.replicate_on_last_tile_dim = True
        return kind(model._device_assignment, proto)

    return [along(names) for names in labels]


def _knowing_devices(ctx):
    """Return the context with devices, which JAX withholds from lowerings that it may share.

    `custom_partitioning` counts them, and needs no more.
    """
    context = ctx.module_context.axis_context
    if getattr(context, "device_assignment", ()) is not None:
        return ctx
    context = dataclasses.replace(context, device_assignment=tuple(jax.devices()[: context.num_devices]))
    return ctx.replace(module_context=ctx.module_context.replace(axis_context=context))


def _name(values, ctx, name):
    """Name the call by a hash of its content.

    JAX names it by an address. No program would then be found again in the compilation cache on disk, or, with the same
    address by accident, a wrong one.
    """
    call = values[0].owner
    callbacks = jax_partitioning._sharding_callbacks
    given = callbacks[bytes(call.attributes["backend_config"].value, "utf8")]
    same = callbacks.setdefault(bytes(name, "utf8"), given)
    ctx.module_context.add_keepalive(same)
    call.attributes["backend_config"] = type(call.attributes["backend_config"]).get(name)


# Explicit axes of a mesh: types say what is sharded


def with_batch(results, avals, name: str, axes: Sequence, out_axes: Sequence):
    """Return the types of results, which are sharded along the batch axes as the operands are.

    Raises:
        ValueError: operands are sharded along another axis, or along one in two ways.
    """
    mesh = next((aval.sharding.mesh for aval in avals if not aval.sharding.mesh.empty), None)
    if mesh is None or not mesh._any_axis_explicit:
        return results
    labels = _labels([aval.shape for aval in (*avals, *results)], [*axes, *out_axes])
    ways: dict = {}
    for aval, names in zip(avals, labels, strict=False):
        for number, along in zip(names, aval.sharding.spec, strict=False):
            if along is None:
                continue
            if number is None:
                raise ValueError(_message(name, aval.shape, f"as {aval.sharding.spec}"))
            if ways.setdefault(number, along) != along:
                raise ValueError(f"operands of '{name}' are sharded in two ways, over {ways[number]} and {along}")
    return [
        aval.update(sharding=NamedSharding(mesh, PartitionSpec(*map(ways.get, names))))
        for aval, names in zip(results, labels[len(avals) :], strict=True)
    ]
