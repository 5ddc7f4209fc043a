"""The vortices, layers and velocities of `warpjaxns.initial`."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import normal
from tolerances import RELATIVE, assert_close

from warpjaxns import Grid, NavierStokes2D, diagnostics, initial
from warpjaxns._operators import streamfunction

GRIDS = [Grid((30, 44), (3.0, 2.0)), Grid((45, 27), (0.5, 0.9))]
FLOWS = {
    "vortex_merger": initial.vortex_merger,
    "double_shear_layer": initial.double_shear_layer,
    "lamb_dipole": initial.lamb_dipole,
}
every_flow = pytest.mark.parametrize("make", FLOWS.values(), ids=FLOWS)
two_grids = pytest.mark.parametrize("grid", GRIDS, ids=str)


@every_flow
@two_grids
def test_shape_type_and_zero_mean(make, grid):
    make = jax.jit(make, static_argnums=0, static_argnames="dtype")
    for dtype in ("float32", "float64"):
        omega = make(grid, dtype=dtype)
        assert (omega.shape, omega.dtype) == (grid.shape, dtype)
        assert abs(jnp.mean(omega)) < RELATIVE[dtype] * jnp.std(omega)
        assert_close(omega, make(grid, dtype="float64"))
    assert make(grid).dtype == "float64"


@every_flow
def test_fields_are_those_of_a_box_of_another_size(make):
    small, large = (make(Grid((30, 44), (3 * s, 2 * s))) for s in (1, 5))
    scale = 1 if make is initial.vortex_merger else 5  # the others are given a speed
    assert_close(scale * large, small)


def spectral_derivative(a, axis, side):
    k = 2 * np.pi * np.fft.fftfreq(a.shape[axis], side / a.shape[axis])
    factor = 1j * (k[:, None] if axis == 0 else k[None, :])
    return np.fft.ifft(factor * np.fft.fft(a, axis=axis), axis=axis).real


def test_periodic_fields_are_smooth_across_the_edge():
    # The spectrum of a smooth periodic field ends at rounding; a kink at the edge would leave a tail like k^-2.
    grid = Grid((96, 80), (3.0, 2.0))
    for omega in (
        initial.vortex_merger(grid, separation=0.9, radius=0.3),
        initial.double_shear_layer(grid, thickness=0.35, perturbation=0.0),
    ):
        modulus = np.abs(np.fft.fft2(omega))
        assert modulus[40:56].max() < 1e-13 * modulus.max()


def test_merger_is_two_gaussians():
    grid, separation, radius, amplitude = Grid((40, 60), (4.0, 6.0)), 1.0, 0.25, -3.0
    omega = initial.vortex_merger(grid, separation=separation, radius=radius, amplitude=amplitude)
    x, y = (np.asarray(a) for a in grid.mesh())
    lone = sum(np.exp(-((x - 3 - s) ** 2 + (y - 2) ** 2) / radius**2) for s in (-0.5, 0.5))
    assert_close(omega - omega[0, 0], amplitude * (lone - lone[0, 0]))
    # circulation of the pair: what the mean took away
    assert_close(-omega[0, 0] * 24.0, amplitude * 2 * math.pi * radius**2)


@pytest.mark.full
def test_close_vortices_merge_and_distant_ones_turn():
    solver = NavierStokes2D(Grid((48, 48)), viscosity=1e-3, dt=0.2)

    @jax.jit
    def filled(radius):  # the vorticity between the vortices, as a fraction of the highest
        omega = initial.vortex_merger(solver.grid, separation=2.0, radius=radius, amplitude=0.5 / radius**2)
        omega = solver.rollout(omega, steps=200)
        return omega[24, 24] / omega.max()

    assert filled(0.7) > 0.8
    assert filled(0.35) < 0.4


def test_shear_layer_is_the_curl_of_its_velocity():
    grid, thickness, speed, perturbation = Grid((128, 16), (4.0, 3.0)), 0.15, 1.7, 0.1
    omega = initial.double_shear_layer(grid, thickness=thickness, perturbation=perturbation, speed=speed)
    x, y = (np.asarray(a) for a in grid.mesh())
    lower, upper = speed * np.tanh((y - 1) / thickness), speed * np.tanh((3 - y) / thickness)
    u, v = np.where(y <= 2, lower, upper), perturbation * speed * np.sin(2 * np.pi * x / 3)
    expected = spectral_derivative(v, 1, 3.0) - spectral_derivative(u, 0, 4.0)
    # The kinks of the two cases are of the size 2 speed / thickness / cosh^2(1 / thickness), 7e-5 here.
    np.testing.assert_allclose(omega, expected, atol=4e-4)
    assert np.abs(expected).max() > 10
    # the layers' circulation is the jump 2 speed, up to the perturbation's wave of zero mean
    half = np.asarray(omega).mean(1)[: 128 // 2].sum() * 4 / 128
    np.testing.assert_allclose(half, -2 * speed, rtol=1e-4)


@pytest.mark.full
def test_dipole_travels_and_keeps_its_shape():
    grid, speed, dt, steps = Grid((96, 96), (2.0, 2.0)), 0.5, 0.01, 40
    omega = initial.lamb_dipole(grid, radius=0.25, speed=speed)
    solver = NavierStokes2D(grid, viscosity=0.0, dt=dt)
    last = jax.jit(lambda w: solver.rollout(w, steps=steps))(omega)

    def phase(omega):  # of the upper vortex along x
        return np.angle(np.fft.fft(np.maximum(np.asarray(omega), 0).sum(0))[1])

    travelled = (phase(omega) - phase(last)) / (2 * np.pi) % 1 * 2.0
    # Its images take 5 % of the speed, and the spacing, a twelfth of the radius, about as much.
    assert 0.85 < travelled / (speed * dt * steps) < 0.95
    back = np.roll(np.asarray(last), -round(travelled / grid.spacing[1]), axis=1)
    assert np.corrcoef(back.ravel(), np.asarray(omega).ravel())[0, 1] > 0.99
    assert np.corrcoef(np.asarray(last).ravel(), np.asarray(omega).ravel())[0, 1] < 0.6


def test_dipole_has_the_streamfunction_of_the_textbook():
    # In the moving frame omega = k^2 psi inside the circle, with psi = 0 on it.
    grid, radius, speed, side = Grid((128, 160), (8.0, 8.0)), 1.0, 0.7, 8.0
    omega = initial.lamb_dipole(grid, radius=radius, speed=speed)
    x, y = grid.mesh()
    inside = jnp.hypot(x - 4, y - 4) < radius
    psi = streamfunction(grid, omega) - speed * (1 - math.pi * radius**2 / side**2) * (y - 4)
    error = jnp.where(inside, omega / (3.8317059702 / radius) ** 2 - psi, 0)
    assert jnp.abs(error).max() < 0.005 * jnp.abs(jnp.where(inside, psi, 0)).max()
    assert jnp.abs(jnp.where(inside, 0, omega)).max() < 1e-12


def test_parameters_can_be_differentiated():
    grid = GRIDS[0]
    cases = [
        (lambda p: initial.vortex_merger(grid, separation=p), 0.6),
        (lambda p: initial.vortex_merger(grid, radius=p), 0.2),
        (lambda p: initial.double_shear_layer(grid, thickness=p), 0.2),
        (lambda p: initial.double_shear_layer(grid, perturbation=p), 0.2),
        (lambda p: initial.lamb_dipole(grid, speed=p), 0.7),
    ]
    for make, value in cases:
        derivative = jax.jit(jax.jacfwd(make))(value)
        step = 1e-5
        differences = (make(value + step) - make(value - step)) / (2 * step)
        assert jnp.linalg.norm(derivative - differences) < 1e-7 * jnp.linalg.norm(differences)


@pytest.mark.full
@two_grids
def test_curl_of_a_velocity_on_the_grid(grid):
    # A wave comes back with the ratio of the two Laplacians: the wide one of centred differences, and the solver's.
    (ny, nx), (dy, dx), (m, n) = grid.shape, grid.spacing, (2, -3)
    phase = 2 * np.pi * (m * np.arange(ny)[:, None] / ny + n * np.arange(nx)[None, :] / nx)
    omega = jnp.asarray(np.cos(phase))
    solver = NavierStokes2D(grid, viscosity=0.0, dt=1.0)
    wide = (math.sin(2 * math.pi * n / nx) / dx) ** 2 + (math.sin(2 * math.pi * m / ny) / dy) ** 2
    eigenvalue = (2 * math.sin(math.pi * n / nx) / dx) ** 2 + (2 * math.sin(math.pi * m / ny) / dy) ** 2
    assert_close(initial.from_velocity(grid, *solver.velocity(omega)), wide / eigenvalue * omega)
    # a gradient has none
    x, y = grid.mesh()
    u, v = jnp.cos(2 * math.pi * x / grid.extent[1]), jnp.sin(2 * math.pi * y / grid.extent[0])
    assert float(jnp.abs(initial.from_velocity(grid, u, v)).max()) < 1e-12


@pytest.mark.full
def test_curl_of_batches_and_types():
    grid = GRIDS[0]
    u, v = normal(0, (3, *grid.shape), "float32"), normal(1, grid.shape, "float32")
    u, v = (part - part.mean((-2, -1), keepdims=True) for part in (u, v))
    omega = initial.from_velocity(grid, u, v)
    assert omega.dtype == "float32"
    assert_close(omega[1], initial.from_velocity(grid, u[1].astype("float64"), v.astype("float64")))
    assert abs(float(omega.mean())) < 1e-5
    with pytest.raises(TypeError, match="u has dtype float32 and v float64"):
        initial.from_velocity(grid, u, v.astype("float64"))
    with pytest.raises(ValueError, match="leading axes must broadcast"):
        initial.from_velocity(grid, u, jnp.stack([v, v]))
    with pytest.raises(ValueError, match="v has shape"):
        initial.from_velocity(grid, u, v.T)


@pytest.mark.parametrize(
    ("grid", "dtype"), [(GRIDS[0], "float32"), pytest.param(GRIDS[1], None, marks=pytest.mark.full)]
)
def test_spectrum_comes_back(grid, dtype, key):
    measure = jax.jit(diagnostics.energy_spectrum, static_argnums=0)
    make = jax.jit(initial.from_spectrum, static_argnums=0, static_argnames="dtype")
    wavenumbers, _ = measure(grid, jnp.zeros(grid.shape))
    wanted = np.random.default_rng(0).uniform(0.1, 1, wavenumbers.size)
    omega = make(grid, wanted, key=key, dtype=dtype)
    assert omega.dtype == (dtype or "float64")
    assert_close(measure(grid, omega)[1], wanted)
    start = measure(grid, make(grid, wanted[:3], key=jax.random.key(7), dtype=dtype))[1]
    assert_close(start[:3], wanted[:3])
    assert float(jnp.abs(start[3:]).max()) < RELATIVE[omega.dtype.name]
    of_function = initial.from_spectrum(grid, lambda k: k * np.exp(-k / 5), key=key, dtype=dtype)
    assert_close(measure(grid, of_function)[1], np.asarray(wavenumbers * jnp.exp(-wavenumbers / 5)))


@pytest.mark.full
def test_spectrum_can_be_differentiated_and_mapped(key):
    grid = GRIDS[0]
    wanted = jnp.linspace(1.0, 2.0, 6)

    def energy(e):
        return diagnostics.energy(grid, initial.from_spectrum(grid, e, key=key))

    assert_close(jax.jit(jax.grad(energy))(wanted), np.full(6, diagnostics.fundamental_wavenumber(grid)))
    make, keys = jax.jit(lambda one: initial.from_spectrum(grid, wanted, key=one)), jax.random.split(key, 3)
    fields = jax.vmap(make)(keys)
    assert_close(fields[2], make(keys[2]))
    assert not jnp.allclose(fields[0], fields[1])


@pytest.mark.parametrize(
    ("make", "name", "wrong"),
    [
        (initial.vortex_merger, "separation", [0, -1.0, 1.01, math.nan]),
        (initial.vortex_merger, "radius", [0, 0.51]),
        (initial.double_shear_layer, "thickness", [0.0, 0.4]),
        (initial.lamb_dipole, "radius", [0, 1.1]),
    ],
)
def test_wrong_lengths_are_named(make, name, wrong):
    for value in wrong:
        with pytest.raises(ValueError, match=f"{name}={value}"):
            make(GRIDS[0], **{name: value})
    with pytest.raises(TypeError, match=name):
        make(GRIDS[0], **{name: "1"})
    with pytest.raises(TypeError, match="dtype"):
        make(GRIDS[0], dtype=int)


def test_wrong_spectra_are_named(key):
    grid = GRIDS[0]
    for wrong, error in (
        (-jnp.ones(3), ValueError),
        (jnp.ones((2, 3)), ValueError),
        (jnp.ones(1000), ValueError),
        (jnp.asarray([math.nan]), ValueError),
        (jnp.ones(3, complex), TypeError),
    ):
        with pytest.raises(error, match="spectrum"):
            initial.from_spectrum(grid, wrong, key=key)
    with pytest.raises(TypeError, match="radius is traced"):
        jax.jit(lambda r: initial.lamb_dipole(grid, radius=r))(0.2)
