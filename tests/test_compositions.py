"""Random compositions of transformations of random flows are what plain Python makes of an independent code.

Each number is a composition. Those of the fast tier are short. A release has longer ones too:
``WARPJAXNS_COMPOSITIONS=1000 pytest tests/test_compositions.py``. All is float64, on four devices where a composition
is sharded.
"""

import os
import random

import jax
import jaxtyping
import numpy as np
import pytest
from compositions import (
    DEVICES,
    FIELDS,
    LAWS,
    NUMBERS,
    WRAPPERS,
    Branch,
    Derivative,
    Flow,
    Members,
    Sharded,
    Twice,
    Wrapped,
    compose,
)
from layouts import fast_cases
from tolerances import ROLLOUT, assert_trees_close, relative_error

import warpjaxns as wns

SHORT = 64  # numbers under it are short; the fast tier has some that compile in a second or two
FAST = [7, 10, 12, 15, 19, 23, 25, 26, 29, 31, 32, 33, 34, 36, 38, 40, 56, 58, 61]
FULL = [8, 9, 14, 18, 22, 27, 30, 39, 47, 52, 59]  # what they have is in others too, but for 52's `value_and_grad`
EXAMPLES = int(os.environ.get("WARPJAXNS_COMPOSITIONS", "0"))
NUMBERED = range(EXAMPLES) if EXAMPLES else fast_cases([*FAST, *FULL], *range(len(FAST)))
DISCRETISATIONS = [
    *(wns.FiniteDifference(advection) for advection in ("arakawa", "central")),
    *(wns.Spectral(integrator, dealiasing) for integrator in ("rk3", "rk4") for dealiasing in ("two-thirds", "smooth")),
]
ADJOINTS = [wns.Direct(), wns.Checkpointed(), wns.Checkpointed(every=1), wns.Checkpointed(every=2, keep_last=False)]
REVERSE = ("grad", "filter_grad", "value_and_grad", "vjp", "transpose")
FORWARD = ("jvp", "filter_jvp", "linearize")


@pytest.fixture(autouse=True)
def no_annotations():
    """Turn annotations off: operands are NumPy's, which have nothing to compile."""
    jaxtyping.config.update("jaxtyping_disable", True)  # `own_errors` puts it back


def likely(draw, probability):
    return draw.random() < probability


def subset(draw, names, most):
    names = sorted(names)
    return tuple(draw.sample(names, draw.randint(0, min(most, len(names)))))


def any_flow(draw, short):
    """Return a flow. By Warp a `short` one has kernels that other tests compile too."""
    backend = draw.choice(["xla", "xla", "warp"] if short else ["xla", "warp"])
    plain = short and backend == "warp"
    discretisation = draw.choice([wns.FiniteDifference(), wns.Spectral("rk3")] if plain else DISCRETISATIONS)
    names = set() if likely(draw, 0.3) else {"drag", "forcing"}
    names |= set() if plain else set(subset(draw, {*NUMBERS, *FIELDS} - {"viscosity", "dt", "permeability"}, 7))
    if isinstance(discretisation, wns.FiniteDifference):
        names -= {"hyperviscosity"}
        names -= {"hypodrag"} if "deformation_radius" in names else set()
    names |= {"permeability"} if "mask" in names else set()
    scalars = 0 if plain else draw.choice([0, 0, 1, 2])
    steps = draw.choice([1, 2]) if short else draw.randint(1, 4)
    saves = {}
    if likely(draw, 0.3):
        saves = {"save_every": draw.choice([1, steps]), "include_initial": likely(draw, 0.5)}
    elif likely(draw, 0.2):
        saves = {"save_at": draw.choice([(0, steps), (steps,)])}
    if likely(draw, 0.4):
        saves["check"] = draw.choice(["flag", "raise"])
    members, control = (2 if likely(draw, 0.3) else None), likely(draw, 0.3)
    laws = () if plain or likely(draw, 0.6) else subset(draw, LAWS, 2)
    own = {"viscosity", "dt", *names, *laws} | ({"scalars"} if scalars else set()) | ({"control"} if control else set())
    return Flow(
        discretisation,
        adjoint=draw.choice(ADJOINTS),
        backend=backend,
        names=tuple(sorted(names)),
        laws=laws,
        scalars=scalars,
        steps=steps,
        saves=tuple(saves.items()),
        control=control,
        members=members,
        own=() if members is None else subset(draw, own, len(own)),
        replaced=likely(draw, 0.3),
    )


def any_chain(draw, flow, short):
    """Return transformations of a flow: one to four, then perhaps its distribution over devices."""
    once = (flow.steps > 1 or flow.scalars or likely(draw, 0.5)) if short else flow.steps > 2  # or compiling takes long
    made, orders, most = [], 0, 1 if once else 2
    members = 2 if flow.members else 1
    operands = [name for name in flow.operands() if name != "state"]
    if not flow.saved and likely(draw, 0.15):
        made.append(Twice(draw.choice(["scan", "fori", "while", "scan of checkpoint"])))
    for _ in range(draw.randint(1, 3 if short else 4)):
        kind = draw.choice(["wrapped", "branch", "members", "derivative", "derivative"])
        if kind == "wrapped":
            made.append(Wrapped(draw.choice(sorted(WRAPPERS))))
        elif kind == "branch" and not any(isinstance(each, Branch) for each in made):
            made.append(Branch(likely(draw, 0.8)))
        elif kind == "members" and members < (4 if short else 8):
            made.append(any_members(draw, operands))
            members *= 2
        elif kind == "derivative" and orders < most and members * (orders + 1) <= (4 if short else 8):
            again = short and orders  # two sweeps take long to compile
            made.append(any_derivative(draw, operands, reverse=not again and made[:1] != [Twice("while")]))
            orders += 1
    if members * (orders + 1) <= (2 if short else 8) and likely(draw, 0.6 if short else 0.3):
        names = {"state", *subset(draw, operands, 2)}
        # of a branch, the zeros of the other one do not vary over devices
        branches = any(isinstance(each, Branch) for each in made)
        how = "jit" if branches or likely(draw, 0.6) else "shard_map"
        if how == "shard_map":  # JAX sums cotangents of what all devices share
            names.update(name for each in made if isinstance(each, Derivative) for name in each.wrt)
        names = tuple(sorted(names))
        made += [Members(tuple((name, 0) for name in names), size=DEVICES), Sharded(names, how)]
    return made


def any_members(draw, operands):
    how = draw.choice(["vmap", "vmap", "filter_vmap", "map", "scan"])
    some = ("state", *subset(draw, operands, 3)) if likely(draw, 0.6) else subset(draw, operands, 3) or ("state",)
    if how in ("map", "scan"):
        return Members(tuple((name, 0) for name in some), kind=how)
    return Members(tuple((name, draw.choice([0, 0, -1])) for name in some), kind=how, out=draw.choice([0, -1]))


def any_derivative(draw, operands, reverse):
    how = draw.choice([*(REVERSE if reverse else ()), *FORWARD, "jacfwd"])
    if how == "jacfwd":
        return Derivative((draw.choice([name for name in operands if name in NUMBERS and name != "mean_flow"]),), how)
    return Derivative(("state", *subset(draw, operands, 3)) if likely(draw, 0.7) else ("viscosity", "dt"), how)


def composition(number):
    """Return the flow and the transformations of a number."""
    draw = random.Random(number)
    flow = any_flow(draw, number < SHORT)
    return flow, any_chain(draw, flow, number < SHORT)


@pytest.mark.parametrize("number", NUMBERED)
def test_a_composition_is_what_loops_make(number):
    check(*composition(number))


def check(flow, transformations):
    """Compare the two. Where rounding of the operands changes a result more, the error may be a few such changes."""
    x, by_jax, by_loops = compose(flow, transformations)

    def plain(x):
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return by_loops(x)

    actual, expected, table = by_jax(x), plain(x), ROLLOUT
    if max(errors(actual, expected)) > ROLLOUT["float64"]:
        table = {"float64": max(ROLLOUT["float64"], 4 * max(errors(plain(jax.tree.map(rounded, x)), expected)))}
    assert_trees_close(actual, expected, table)


def errors(actual, expected):
    return map(relative_error, jax.tree.leaves(actual), jax.tree.leaves(expected))


def rounded(x):
    """Return an operand with errors of some roundings."""
    return x * (1 + 1e-15 * np.random.default_rng(0).choice([-1, 1], x.shape))
