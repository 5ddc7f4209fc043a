"""The hand-written adjoints against those that Warp generates from the same device functions.

Warp differentiates the tendency with psi as an independent field. Its cotangents l_w and l_psi make the adjoint of
the solver's tendency, ``l_w + S l_psi``, where S = (-Lap)^-1 is symmetric; three stages, chained by hand in NumPy,
make that of a step.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import warp as wp
from oracle import COEFFICIENTS, normal
from tolerances import RELATIVE, ROLLOUT, relative_error

from warpjaxns import Grid
from warpjaxns._coefficients import FIRST, SECOND, metric
from warpjaxns._finite_difference import reference
from warpjaxns._finite_difference.advance import advance
from warpjaxns._finite_difference.jacobian import jacobian
from warpjaxns._kernels.finite_difference.stencils import stencils
from warpjaxns._kernels.finite_difference.tendency import tendency, terms

GRID = Grid((6, 10), (2.0, 3.5))
REALS = {"float32": wp.float32, "float64": wp.float64}
SCHEMES = ["arakawa", "central"]
every_dtype = pytest.mark.parametrize("dtype", REALS)
poisson = jax.jit(functools.partial(reference.poisson, GRID))


@functools.cache
def kernels(dtype, scheme):
    """Make kernels of the tendency and of the Jacobian at all points, with the adjoints that Warp generates."""
    real = REALS[dtype]
    kit = stencils(real)
    Metric, neighbourhood, J = kit.Metric, kit.neighbourhood, kit.jacobian[scheme]

    @wp.func
    def force(forcing: wp.array4d(dtype=real), step: int, member: int, i: int, j: int):
        """The forcing at a point: per step or steady, per member or shared; length 0 means none."""
        value = real(0.0)
        if forcing.shape[0] > 0:
            value = forcing[wp.where(forcing.shape[0] == 1, 0, step), wp.where(forcing.shape[1] == 1, 0, member), i, j]
        return value

    rate = tendency(real, scheme if scheme in SCHEMES else "arakawa").rate
    Numbers, weighted = terms(real, 0).Numbers, terms(real, 0).weighted

    @wp.kernel(module="unique", enable_backward=True)
    def tendencies(
        metric: Metric,
        viscosity: wp.array(dtype=real),
        drag: wp.array(dtype=real),
        forcing: wp.array4d(dtype=real),
        psi: wp.array3d(dtype=real),
        omega: wp.array3d(dtype=real),
        out: wp.array3d(dtype=real),
    ):
        member, i, j = wp.tid()
        p = neighbourhood(psi[member], i, j)
        w = neighbourhood(omega[member], i, j)
        given = Numbers()
        given.viscosity = viscosity[wp.where(viscosity.shape[0] == 1, 0, member)]
        given.drag = drag[wp.where(drag.shape[0] == 1, 0, member)]
        given.dt = real(1.0)
        out[member, i, j] = rate(p, w, weighted(given, real(1.0), metric)) + force(forcing, 0, member, i, j)

    @wp.kernel(module="unique", enable_backward=True)
    def jacobians(metric: Metric, a: wp.array3d(dtype=real), b: wp.array3d(dtype=real), out: wp.array3d(dtype=real)):
        member, i, j = wp.tid()
        out[member, i, j] = J(neighbourhood(a[member], i, j), neighbourhood(b[member], i, j), metric)

    return tendencies, jacobians, Metric(*metric(GRID.spacing))


def pull_back(kernel, constants, inputs, cotangent):
    """Return the kernel's value, and its cotangents by `wp.Tape`."""
    with wp.ScopedDevice("cpu"):
        arrays = [wp.array(np.asarray(x), requires_grad=True) for x in inputs]
        out = wp.zeros(cotangent.shape, dtype=arrays[0].dtype, requires_grad=True)
        with wp.Tape() as tape:
            wp.launch(kernel, dim=out.shape, inputs=[constants, *arrays], outputs=[out])
        tape.backward(grads={out: wp.array(np.asarray(cotangent))})
        return out.numpy(), [x.grad.numpy() for x in arrays]


@pytest.mark.covering(1, 2)
@every_dtype
@pytest.mark.parametrize("scheme", [*SCHEMES, "plus_cross", "cross_plus"])
@pytest.mark.parametrize("backend", ["warp", "xla"])
def test_jacobian(scheme, dtype, backend):
    a, b, c = (normal(i, (2, *GRID.shape), dtype) for i in range(3))
    _, kernel, constants = kernels(dtype, scheme)
    value, expected = pull_back(kernel, constants, (a, b), c)

    @jax.jit
    def f(a, b):
        return jacobian(a, b, grid=GRID, scheme=scheme, backend=backend)

    out, pullback = jax.vjp(f, a, b)
    by_hand = [
        reference.jacobian(GRID, *operands, table[scheme]) for table, operands in ((FIRST, (b, c)), (SECOND, (c, a)))
    ]
    for actual in (pullback(c), by_hand):
        for x, y in zip(actual, expected, strict=True):
            assert relative_error(x, y) < RELATIVE[dtype]
    assert relative_error(out, value) < RELATIVE[dtype]


def step_adjoint(scheme, dtype, operands, cotangent):
    """Return the cotangents of one step by Warp's adjoint of its stages, and the step itself."""
    omega, viscosity, drag, dt, forcing = (np.asarray(x) for x in operands)
    kernel, _, constants = kernels(dtype, scheme)
    h = dt.reshape(-1, 1, 1)

    def stage(state, l):
        psi = np.asarray(poisson(state))
        rate, grads = pull_back(kernel, constants, (viscosity, drag, forcing, psi, state), l)
        by_viscosity, by_drag, by_forcing, by_psi, by_omega = grads
        return rate, by_omega + np.asarray(poisson(by_psi)), by_viscosity, by_drag, by_forcing

    states = [omega]
    for a, b, c in COEFFICIENTS.astype(dtype):
        rate = stage(states[-1], np.zeros_like(omega))[0]
        states.append(a * omega + b * states[-1] + c * h * rate)
    l, to_start = np.asarray(cotangent), np.zeros_like(omega)
    to_viscosity, to_drag, to_forcing = (np.zeros_like(x) for x in (viscosity, drag, forcing))
    to_dt = np.zeros_like(dt)
    for state, (a, b, c) in reversed(list(zip(states[:3], COEFFICIENTS.astype(dtype), strict=True))):
        rate, by_state, by_viscosity, by_drag, by_forcing = stage(state, c * h * l)
        to_viscosity, to_drag = to_viscosity + by_viscosity, to_drag + by_drag
        to_forcing = to_forcing + by_forcing
        share = c * np.sum(l * rate, axis=(1, 2))
        to_dt = to_dt + (share if dt.size > 1 else np.sum(share, keepdims=True))
        to_start = to_start + a * l
        l = b * l + by_state
    return states[-1], (l + to_start, to_viscosity, to_drag, to_dt, to_forcing)


@pytest.mark.covering(1, 2)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("per_member", [False, True], ids=["shared", "per member"])
@pytest.mark.parametrize(("backend", "direct"), [("warp", False), ("warp", True), ("xla", True)])
def test_a_step(scheme, dtype, per_member, backend, direct):
    batch = 2
    members = batch if per_member else 1
    scale = jnp.arange(1, members + 1, dtype=dtype)
    operands = (
        normal(0, (batch, *GRID.shape), dtype),
        jnp.asarray(0.02, dtype) * scale,
        jnp.asarray(0.3, dtype) * scale,
        jnp.asarray(0.05, dtype) * scale,
        normal(1, (1, members, *GRID.shape), dtype),
    )
    cotangent = normal(2, operands[0].shape, dtype)
    f = functools.partial(advance, grid=GRID, scheme=scheme, steps=1, direct=direct, backend=backend)
    actual, cotangents = jax.jit(lambda *x: (f(*x), jax.vjp(f, *x)[1](cotangent)))(*operands)
    value, expected = step_adjoint(scheme, dtype, operands, cotangent)
    assert relative_error(actual, value) < ROLLOUT[dtype]
    for x, y in zip(cotangents, expected, strict=True):
        assert relative_error(x, y) < ROLLOUT[dtype]
