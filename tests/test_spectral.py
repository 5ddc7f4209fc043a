"""The spectral engine: its states, and its steps against an independent code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spectral_oracle
from oracle import normal, vdot
from spectral_cases import ALL, BACKENDS, DEALIASINGS, DTYPES, INTEGRATORS, LONG, SMALL, WIDE, Case, every_kernel
from spectral_oracle import Oracle
from tolerances import RELATIVE, ROLLOUT, SUMS, assert_close, relative_error

from warpjaxns import Grid, NavierStokes2D, Spectral
from warpjaxns._spectral import engine

# every parity, the smallest sizes, and sizes that Warp does not transform
GRIDS = [WIDE, SMALL, LONG, Grid((5, 4)), Grid((7, 11), (1.0, 1.4))]
every_grid = pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: str(grid.shape))
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_dealiasing = pytest.mark.parametrize("dealiasing", DEALIASINGS)


@pytest.mark.covering(1, 2)
@every_grid
@every_dtype
@every_dealiasing
def test_states(grid, dtype, dealiasing):
    """They are coefficients of an orthonormal basis of the modes that are kept."""
    how = {"grid": grid, "dealiasing": dealiasing}
    a, b = normal(0, (2, *grid.shape), dtype), normal(1, (2, *grid.shape), dtype)
    to_state, to_field = (functools.partial(f, **how) for f in (engine.to_state, engine.to_field))

    @jax.jit
    def run(a, b):
        state, other = to_state(a), to_state(b)
        fields = to_field(state), to_field(other)
        return state, other, fields, to_state(fields[0]), jax.linear_transpose(to_state, a)(other)[0]

    state, other, fields, again, back = run(a, b)
    oracle = Oracle(grid, dealiasing)
    projected = oracle.field(oracle.spectrum(np.asarray(a, float)))
    assert_close(fields[0], projected)
    assert_close(again, state)
    assert vdot(state, other) == pytest.approx(np.vdot(projected, b), abs=SUMS[dtype] * a.size)
    assert state.dtype == dtype
    assert_close(back, fields[1])  # orthonormal, so each is the other's transpose
    # the mean over x is real
    mean = np.asarray(state[:, 0]) @ np.array([1, 1j])
    np.testing.assert_allclose(mean[:, 1:], mean[:, :0:-1].conj(), atol=RELATIVE[dtype])
    np.testing.assert_allclose(mean[:, 0].imag, 0, atol=RELATIVE[dtype])


@functools.cache
def expected(case):
    operands = [np.asarray(x, float) for x in case.operands()]
    how = {"integrator": case.integrator, "steps": case.steps * case.repeats}
    return spectral_oracle.advance(*operands, **case.where, **how, xp=np)


@pytest.mark.full
@pytest.mark.covering(1, 2)
@every_kernel
@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_hundred_steps(backend, grid, integrator, dealiasing, dtype):
    case = Case(grid, dealiasing, integrator, dtype, steps=20, repeats=5, per_member=ALL)
    start = np.asarray(case.operands()[0])
    assert relative_error(expected(case), start) > 0.5  # much has happened
    assert_close(jax.jit(case.fused(backend))(*case.operands()), expected(case), ROLLOUT)


@pytest.mark.full
@pytest.mark.parametrize("shape", [(4, 5), (5, 4), (4, 4)], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_smallest_sizes(shape, backend):
    for dealiasing in DEALIASINGS:
        case = Case(Grid(shape, (2.0, 3.5)), dealiasing, "rk4", steps=2, forcing="none")
        assert_close(jax.jit(case.fused(backend))(*case.operands()), expected(case), ROLLOUT)


def test_other_sizes_have_no_kernels():
    case = Case(Grid((7, 11), (1.0, 1.4)), steps=3, forcing="per step")
    for platform in ("cpu", "cuda"):
        assert "prime factor above 5" in engine.obstacle(case.grid, "float32", platform)
    assert engine.obstacle(WIDE, "float32", "cpu") is None
    with pytest.raises(ValueError, match="prime factor above 5"):
        NavierStokes2D(case.grid, viscosity=0.1, dt=0.1, discretisation=Spectral(), backend="warp")
    assert_close(jax.jit(case.fused("auto"))(*case.operands()), expected(case), ROLLOUT)


@pytest.mark.covering(1)
@every_dealiasing
@every_dtype
def test_operators(dealiasing, dtype):
    """Every operator of the engine acts on the modes that are kept."""
    how, oracle = {"grid": WIDE, "dealiasing": dealiasing}, Oracle(WIDE, dealiasing)
    omega, other = normal(0, (2, *WIDE.shape), dtype), normal(1, (2, *WIDE.shape), dtype)
    a, b = (oracle.spectrum(np.asarray(x, float)) for x in (omega, other))
    parameters = jnp.asarray([0.1], dtype), jnp.asarray([0.2, 0.3], dtype)

    @jax.jit
    def run(omega, other):
        one = [f(omega, **how) for f in (engine.streamfunction, engine.laplacian, engine.derivatives)]
        jacobian = engine.jacobian(omega, other, **how)
        return *one, jacobian, engine.tendency(omega, *parameters, other, integrator="rk3", backend="xla", **how)

    psi, laplacian, (along_y, along_x), jacobian, rate = run(omega, other)
    assert_close(psi, oracle.field(-oracle.inverse * a))
    assert_close(laplacian, oracle.field(oracle.laplacian * a))
    a_y, a_x, b_y, b_x = (oracle.field(d * s) for s in (a, b) for d in (oracle.dy, oracle.dx))
    assert_close(along_y, a_y)
    assert_close(along_x, a_x)
    assert_close(jacobian, oracle.field(oracle.filter * np.fft.fft2(a_x * b_y - a_y * b_x)))
    linear = 0.1 * oracle.laplacian - np.asarray(parameters[1], float)[:, None, None]
    expected = oracle.field(oracle.advection(a) + linear * a + b)
    assert_close(rate, expected, {"float32": 2 * RELATIVE["float32"], "float64": RELATIVE["float64"]})


def test_eigenvalues():
    along_y, along_x = engine.eigenvalues(SMALL)
    oracle = Oracle(SMALL, "smooth")
    np.testing.assert_allclose(along_y, -oracle.laplacian[:, 0], atol=1e-12)
    np.testing.assert_allclose(along_x, -oracle.laplacian[0, :6], atol=1e-12)
