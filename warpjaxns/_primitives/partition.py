"""Members over devices under plain `jit`: XLA's partitioner learns which axis of each array is the members'.

A batch that is sharded stays sharded. Each device computes its own members, without communication.

JAX's `custom_partitioning` has neither derivative nor batching rules. Here it needs none: it stands inside the lowering
of a primitive that has them. The partitioner calls back with the arrays of one device, and the function is then traced
anew for these, with the plan and the scratch memory that fit so many members.

Fields live whole on a device. An array that is sharded along another axis is an error, since XLA would gather it on
every device.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import custom_partitioning as jax_partitioning
from jax.experimental.custom_partitioning import ArrayMapping, SdyShardingRule, custom_partitioning
from jax.interpreters import mlir
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from .._names import name_of

ADVICE = (
    "fields live whole on a device for now, and only the batch axis can be sharded, of several the outermost one. "
    "Put the mesh there, or gather the array with jax.device_put or jax.sharding.reshard"
)


def several_devices(ctx) -> bool:
    """Return whether XLA will divide the program: not on one device, inside a full `shard_map`, or for export."""
    if ctx.module_context.lowering_parameters.for_export:
        return False
    context = ctx.module_context.axis_context
    if hasattr(context, "manual_axes"):
        return set(context.manual_axes) != set(context.mesh.axis_names)
    return getattr(context, "num_devices", 1) > 1


def lower(function: Callable, ctx, operands, name: str, key, axes: Sequence, out_axes: Sequence):
    """Lower ``function(*operands)`` to a call that XLA's partitioner may divide among devices by members.

    Args:
        function: takes and returns several arrays. It may not depend on the number of members but by its operands.
        ctx: the context of the lowering rule.
        operands: values of MLIR.
        name: that of the primitive, for messages.
        key: everything that the function depends on, plain data.
        axes: the members' axis of each operand, or None for an operand that has none.
        out_axes: that of each result.
    """
    avals, results = ctx.avals_in, ctx.avals_out
    shapes = [aval.shape for aval in (*avals, *results)]
    places = _places(shapes, [*axes, *out_axes])

    def types(*_):  # only the types of the results are looked at
        return tuple(jnp.zeros(aval.shape, aval.dtype) for aval in results)

    def on_a_device(*operands):  # no mesh of the user's is left
        with jax.sharding.use_abstract_mesh(AbstractMesh((), ())):
            return tuple(function(*operands))

    def partition(mesh, given, wanted):
        found = [x.sharding for x in (*given, *wanted)]
        for shape, place, sharding in zip(shapes, places, found[: len(given)], strict=False):
            for axis, shards in enumerate(_shards(sharding, len(shape))):
                if shards > 1 and axis != place:
                    raise ValueError(_message(name, shape, f"along axis {axis}, in {shards} parts"))
        made = _along_members(found, shapes, places)
        devices = Mesh(np.array(found[0]._device_assignment), ("devices",))
        return devices, on_a_device, tuple(made[len(given) :]), tuple(made[: len(given)])

    split = custom_partitioning(types)
    rule = SdyShardingRule(*_mappings(shapes, places, len(avals)))
    split.def_partition(partition, decode_shardings=False, sharding_rule=rule)
    values = mlir.lower_fun(split, multiple_results=True)(_knowing_devices(ctx), *operands)
    _name(values, ctx, name_of((name, key, [(aval.shape, aval.dtype.name) for aval in avals])))
    return values


def _places(shapes, axes):
    """Return the axis of each array that has an entry for each member, or None where members share one."""
    lengths = [1 if axis is None else shape[axis] for shape, axis in zip(shapes, axes, strict=True)]
    members = max(lengths)
    return [axis if n == members > 1 else None for n, axis in zip(lengths, axes, strict=True)]


def _mappings(shapes, places, count):
    """Return factors of the axes of operands and results. All arrays have the factor of the members in common."""
    mappings = [
        ArrayMapping(*("members" if axis == place else f"array{i}_axis{axis}" for axis in range(len(shape))))
        for i, (shape, place) in enumerate(zip(shapes, places, strict=True))
    ]
    return tuple(mappings[:count]), tuple(mappings[count:])


def _message(name, shape, how):
    return f"an operand of '{name}' of shape {tuple(shape)} is sharded {how}: {ADVICE}"


def _shards(sharding, ndim):
    """Return the number of shards along each axis."""
    tiles = [] if sharding is None else sharding._to_xla_hlo_sharding(ndim).tile_assignment_dimensions()
    return tuple(tiles[:ndim]) or (1,) * ndim


def _along_members(found, shapes, places):
    """Return shardings of all arrays along the members, as the partitioner has `found` the most of them sharded."""

    def shards_of(i):
        return 1 if places[i] is None else _shards(found[i], len(shapes[i]))[places[i]]

    best = max(range(len(found)), key=shards_of)
    model, ndim, shards = found[best], len(shapes[best]), shards_of(best)
    hlo, kind = model._to_xla_hlo_sharding(ndim), type(model)
    whole = kind.get_replicated(model._device_assignment)
    if shards == 1:
        return [whole] * len(found)
    tiles = hlo.tile_assignment_dimensions()
    devices = np.moveaxis(np.reshape(hlo.tile_assignment_devices(), tiles), places[best], 0).reshape(shards, -1)

    def along(ndim, place):
        if place is None:
            return whole
        proto = hlo.to_proto()
        proto.iota_reshape_dims, proto.iota_transpose_perm, proto.last_tile_dims = [], [], []
        proto.tile_assignment_dimensions = [*(shards if i == place else 1 for i in range(ndim)), devices.shape[1]]
        proto.tile_assignment_devices = devices.flatten().tolist()
        proto.replicate_on_last_tile_dim = True
        return kind(model._device_assignment, proto)

    return [along(len(shape), place) for shape, place in zip(shapes, places, strict=True)]


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


def with_members(results, avals, name: str, axes: Sequence, out_axes: Sequence):
    """Return the types of results, which are sharded along the members as the operands are.

    Raises:
        ValueError: operands are sharded along another axis, or along the members in two ways.
    """
    mesh = next((aval.sharding.mesh for aval in avals if not aval.sharding.mesh.empty), None)
    if mesh is None or not mesh._any_axis_explicit:
        return results
    places = _places([aval.shape for aval in (*avals, *results)], [*axes, *out_axes])
    ways = set()
    for aval, place in zip(avals, places, strict=False):
        spec = aval.sharding.spec
        for axis, along in enumerate(spec):
            if along is not None and axis != place:
                raise ValueError(_message(name, aval.shape, f"as {spec}"))
        if place is not None and len(spec) > place and spec[place] is not None:
            ways.add(spec[place])
    if len(ways) > 1:
        raise ValueError(f"operands of '{name}' are sharded over members in several ways, {sorted(map(str, ways))}")
    way = ways.pop() if ways else None

    def spec(ndim, place):
        return PartitionSpec(*(way if axis == place else None for axis in range(ndim)))

    return [
        aval.update(sharding=NamedSharding(mesh, spec(aval.ndim, place)))
        for aval, place in zip(results, places[len(avals) :], strict=True)
    ]
