"""Transformations of functions, each by JAX or Equinox (`apply`) and by plain Python (`loop`), and flows to transform.

A function takes a dictionary of operands and returns a pytree. `loop` of a derivative is JAX's own, operation by
operation through plain Python.
"""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from dense_code import trajectory
from jax.sharding import NamedSharding, PartitionSpec

import warpjaxns as wns

GRID = wns.Grid((6, 10), (2.0, 3.5))
DEVICES = 4
# so large that each matters in a step, on grids of a unit of length
NUMBERS = {
    "viscosity": 2e-3,
    "dt": 0.01,
    "drag": 0.3,
    "beta": 9.0,
    "mean_flow": (1.5, -0.7),
    "hyperviscosity": 1e-6,
    "hypodrag": 2.0,
    "deformation_radius": 0.3,
    "permeability": 0.05,
}
SCALARS = (
    {"diffusivity": 2e-3, "mean_gradient": (1.7, -3.0), "buoyancy": (-2.0, 5.0)},
    {"diffusivity": 5e-3, "forcing": None},
)


def normal(seed):
    """Return white noise on the grid, of NumPy: it has nothing to compile."""
    return np.random.default_rng(seed).standard_normal(GRID.shape)


FIELDS = {
    "forcing": normal(1),
    "topography": 5 * normal(2),
    "mask": np.random.default_rng(3).uniform(0, 0.7, GRID.shape),
}
LAWS = {
    "Linear": {"rate": 0.7},
    "Sine": {"field": normal(4), "frequency": 30.0, "phase": 0.4, "amplitude": 2.0},
    "Exponential": {"field": normal(5), "rate": -9.0, "amplitude": 2.0},
    "Piecewise": {"field": normal(6), "amplitudes": np.asarray([1.0, -2.0])},
}


def tree(function, *trees):
    return jax.tree.map(function, *trees)


# ------------------------------------------------------------------------------------------------ flows


@dataclasses.dataclass(frozen=True)
class Flow:
    """A rollout.

    Args:
        discretisation: of the solver, as `adjoint` and `backend`.
        names: the parameters that are given besides `viscosity` and `dt`.
        laws: of the forcing, names in `LAWS`.
        scalars: how many.
        steps: of the rollout, with `saves`, other arguments of it.
        control: whether there is a forcing for each step.
        members: None for a single flow, or the length of a leading axis.
        own: the operands that each member has of its own, besides the state.
        replaced: whether operands replace leaves of a solver that exists, or a solver is made of them.
    """

    discretisation: Any
    adjoint: Any = wns.Checkpointed()  # noqa: RUF009
    backend: str = "xla"
    names: tuple[str, ...] = ()
    laws: tuple[str, ...] = ()
    scalars: int = 0
    steps: int = 1
    saves: tuple[tuple[str, Any], ...] = ()
    control: bool = False
    members: int | None = None
    own: tuple[str, ...] = ()
    replaced: bool = False

    def operands(self):
        """Return the operands of the rollout."""
        given = {name: NUMBERS[name] for name in ("viscosity", "dt", *self.names) if name in NUMBERS}
        x = {**tree(np.asarray, given), **{name: FIELDS[name] for name in self.names if name in FIELDS}}
        x |= {name: tree(np.asarray, LAWS[name]) for name in self.laws}
        x["state"] = normal(0)
        if self.scalars:
            x["state"] = wns.State(x["state"], tuple(normal(10 + i) for i in range(self.scalars)))
            x["scalars"] = tuple(
                {name: normal(20) if value is None else tree(np.asarray, value) for name, value in scalar.items()}
                for scalar in SCALARS[: self.scalars]
            )
        if self.control:
            x["control"] = np.stack([normal(30 + step) for step in range(self.steps)])
        if self.members is not None:
            for name in ("state", *self.own):
                x[name] = spread(x[name], self._axis(name), self.members)
        return x

    def _axis(self, name):
        return int(name == "control")

    def apply(self, x):
        """Return the rollout."""
        rollout = self.solver(x).rollout
        out = rollout(x["state"], steps=self.steps, forcing=x.get("control"), **dict(self.saves))
        return out[0] if dict(self.saves).get("check") == "flag" else out

    def solver(self, x):
        """Return a solver with the parameters of x."""
        given = _arguments(x)
        how = {"backend": self.backend, "adjoint": self.adjoint, "discretisation": self.discretisation}
        how["check_finite"] = False
        if not self.replaced:
            return wns.NavierStokes2D(GRID, **given, **how)
        there = wns.NavierStokes2D(GRID, **_arguments(self.operands()), **how)
        return eqx.tree_at(lambda s: [getattr(s, name) for name in given], there, list(given.values()))

    def loop(self, x):
        """Return the same, member by member."""
        if self.members is None:
            return self._one(x)
        owned = [name for name in ("state", *self.own) if name in x]
        return stacked(
            [
                self._one({**x, **{name: part(x[name], i, self._axis(name)) for name in owned}})
                for i in range(self.members)
            ],
            int(self.saved),
        )

    @property
    def saved(self):
        """True where a trajectory is returned."""
        return bool({"save_every", "save_at"} & {name for name, _ in self.saves})

    def _one(self, x):
        states = trajectory(GRID, self.discretisation, x, self.steps)
        saves = dict(self.saves)
        if not self.saved:
            return states[-1]
        at = saves.get("save_at") or range(saves["save_every"], self.steps + 1, saves["save_every"])
        initial = [0] * bool(saves.get("include_initial"))
        return stacked([states[step] for step in (*initial, *at)], 0)


def _arguments(x):
    """Return the arguments of a solver."""
    given = {name: x[name] for name in (*NUMBERS, *FIELDS) if name in x and name not in ("mask", "permeability")}
    laws = [getattr(wns.forcing, name)(**x[name]) for name in LAWS if name in x]
    if laws:
        given["forcing"] = sum(laws, given.get("forcing"))
    if "mask" in x:
        given["obstacle"] = (wns.Obstacle(x["mask"], x["permeability"]),)
    if "scalars" in x:
        given["scalars"] = tuple(wns.Scalar(**scalar) for scalar in x["scalars"])
    return given


def spread(value, axis, size):
    """Return so many members of a value, all different, along a new axis."""

    def of_leaf(leaf):
        change = 1 + 0.1 * np.cos(np.arange(leaf.size)).reshape(leaf.shape)
        return np.stack([leaf * change**i for i in range(size)], axis)

    return tree(of_leaf, value)


def part(value, i, axis):
    """Return member i of a value."""
    return tree(lambda leaf: leaf[i] if axis == 0 else leaf[..., i] if axis == -1 else leaf[:, i], value)


def stacked(values, axis):
    """Return values along a new axis."""
    return tree(lambda *leaves: jnp.stack(leaves, axis), *values)


# ------------------------------------------------------------------------------------------------ transformations


class Same:
    """A transformation that changes no value."""

    def apply(self, f):
        """Return the function, transformed."""
        raise NotImplementedError

    def loop(self, f):
        """Return the function."""
        return f

    def spread(self, x):
        """Return the operands of the transformed function, given those of the function."""
        return x


WRAPPERS = {
    "jit": jax.jit,
    "filter_jit": eqx.filter_jit,
    "checkpoint": jax.checkpoint,
    "filter_checkpoint": eqx.filter_checkpoint,
    "inline": functools.partial(jax.jit, inline=True),
}


@dataclasses.dataclass(frozen=True)
class Wrapped(Same):
    kind: str

    def apply(self, f):
        return WRAPPERS[self.kind](lambda x: f(x))  # Equinox warns of a module that JAX transforms


@dataclasses.dataclass(frozen=True)
class Branch(Same):
    """`lax.cond` with a predicate among the operands; the other branch gives zeros."""

    taken: bool

    def apply(self, f):
        return lambda x: jax.lax.cond(x["branch"] > 0, f, self._zeros(f), x)

    def loop(self, f):
        return lambda x: f(x) if x["branch"] > 0 else self._zeros(f)(x)

    @staticmethod
    def _zeros(f):
        return lambda x: tree(lambda like: jnp.zeros(like.shape, like.dtype), jax.eval_shape(f, x))

    def spread(self, x):
        return {**x, "branch": np.asarray(1.0 if self.taken else -1.0)}


@dataclasses.dataclass(frozen=True)
class Twice(Same):
    """A function from states to states, twice, in a loop of JAX."""

    kind: str

    def apply(self, f):
        def run(x):
            def body(state):
                return f({**x, "state": state})

            start = tree(jnp.asarray, x["state"])
            if self.kind == "while":
                return jax.lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, body(c[1])), (0, start))[1]
            if self.kind == "fori":
                return jax.lax.fori_loop(0, 2, lambda _, state: body(state), start)
            kept = jax.checkpoint(body) if self.kind == "scan of checkpoint" else body
            return jax.lax.scan(lambda state, _: (kept(state), None), start, length=2)[0]

        return run

    def loop(self, f):
        return lambda x: f({**x, "state": f(x)})


@dataclasses.dataclass(frozen=True)
class Members(Same):
    """Members along an axis, of the operands that are named with their axes; all others are shared."""

    axes: tuple[tuple[str, int], ...]
    size: int = 2
    kind: str = "vmap"
    out: int = 0

    def apply(self, f):
        axes = dict(self.axes)

        def run(x):
            if self.kind in ("vmap", "filter_vmap"):
                given = {name: axes.get(name) for name in x}
                vmap = jax.vmap if self.kind == "vmap" else eqx.filter_vmap
                return vmap(f, in_axes=(given,), out_axes=self.out)(x)
            own = {name: x[name] for name in axes}

            def one(own):
                return f({**x, **own})

            if self.kind == "map":
                return jax.lax.map(one, own)
            return jax.lax.scan(lambda _, own: (None, one(own)), None, own)[1]

        return run

    def loop(self, f):
        def run(x):
            owned = [{name: part(x[name], i, axis) for name, axis in self.axes} for i in range(self.size)]
            return stacked([f({**x, **own}) for own in owned], self.out)

        return run

    def spread(self, x):
        return {**x, **{name: spread(x[name], axis, self.size) for name, axis in self.axes}}


def weighed(y):
    """Return a number that depends on all numbers of a pytree, on each otherwise."""

    def of_leaf(leaf):
        weights = np.cos(np.arange(leaf.size)).reshape(leaf.shape)
        return jnp.sum(weights * (leaf + leaf * leaf / 2))

    return sum(map(of_leaf, jax.tree.leaves(y)))


def along(y):
    """Return a direction that depends on a pytree."""
    return tree(lambda leaf: jnp.sin(3 * leaf), y)


@dataclasses.dataclass(frozen=True)
class Derivative(Same):
    """A derivative with respect to some operands.

    Kinds: the gradient of `weighed`, in reverse mode; the cotangent of a direction; the derivative along a
    direction, in forward mode. The Jacobian with respect to one operand of few numbers, by `jax.jacfwd`.
    """

    wrt: tuple[str, ...]
    kind: str

    def apply(self, f):
        return lambda x: self._of(
            lambda some: f({**x, **some}), {name: tree(jnp.asarray, x[name]) for name in self.wrt}
        )

    def _of(self, g, at):
        def loss(at):
            return weighed(g(at))

        match self.kind:
            case "grad":
                return jax.grad(loss)(at)
            case "filter_grad":
                return eqx.filter_grad(loss)(at)
            case "value_and_grad":
                return jax.value_and_grad(loss)(at)
            case "vjp":
                y, pullback = jax.vjp(g, at)
                return pullback(along(y))[0]
            case "jvp":
                return jax.jvp(g, (at,), (along(at),))
            case "filter_jvp":
                return eqx.filter_jvp(g, (at,), (along(at),))
            case "linearize":
                return jax.linearize(g, at)[1](along(at))
            case "transpose":
                y, linear = jax.linearize(g, at)
                return jax.linear_transpose(linear, at)(along(y))[0]
            case "jacfwd":
                return jax.jacfwd(g)(at)
        raise AssertionError(self.kind)

    def loop(self, f):
        plain = {"filter_grad": "grad", "filter_jvp": "jvp", "transpose": "vjp"}
        if self.kind != "jacfwd":
            return Derivative(self.wrt, plain.get(self.kind, self.kind)).apply(f)

        def run(x):
            (name,) = self.wrt
            at = jnp.asarray(x[name])
            units = np.eye(at.size).reshape(at.size, *at.shape)
            columns = [jax.jvp(lambda value: f({**x, name: value}), (at,), (jnp.asarray(unit),))[1] for unit in units]
            jacobian = tree(lambda *leaves: jnp.stack(leaves, -1).reshape(*leaves[0].shape, *at.shape), *columns)
            return tree(lambda leaf: {name: leaf}, jacobian)

        return run


@dataclasses.dataclass(frozen=True)
class Sharded(Same):
    """Operands over four devices, those that are named along their first axis, by `jit` or by `shard_map`."""

    names: tuple[str, ...]
    kind: str = "jit"

    def apply(self, f):
        mesh = jax.make_mesh((DEVICES,), ("a",), (jax.sharding.AxisType.Auto,))

        def run(x):
            specs = {name: PartitionSpec("a") if name in self.names else PartitionSpec() for name in x}
            placed = {name: jax.device_put(x[name], NamedSharding(mesh, specs[name])) for name in x}
            g = f
            if self.kind == "shard_map":
                g = jax.shard_map(f, mesh=mesh, in_specs=(specs,), out_specs=PartitionSpec("a"))
            return jax.jit(g)(placed)

        return run


def compose(flow, transformations):
    """Return the operands of a composition, the composition by JAX, and by loops."""
    x, by_jax, by_loops = flow.operands(), flow.apply, flow.loop
    for transformation in transformations:
        x = transformation.spread(x)
        by_jax, by_loops = transformation.apply(by_jax), transformation.loop(by_loops)
    return x, by_jax, by_loops
