import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layouts import fast_cases
from tolerances import RELATIVE, assert_close

from warpjaxns import FiniteDifference, Grid, Spectral, diagnostics, initial
from warpjaxns._operators import jacobian, laplacian, streamfunction

GRIDS = [Grid((48, 40), (3.0, 2.0)), Grid((45, 51), (0.5, 0.9)), Grid((51, 28)), Grid((32, 55), (4.0, 9.0))]
DTYPES = ["float32", "float64"]
MAKERS = {
    "decaying_turbulence": lambda grid, key, dtype: initial.decaying_turbulence(
        grid, key=key, peak_wavenumber=5, dtype=dtype
    ),
    "random_vorticity": lambda grid, key, dtype: initial.random_vorticity(grid, key=key, dtype=dtype),
    "taylor_green": lambda grid, key, dtype: initial.taylor_green(grid, wavenumber=3, dtype=dtype),
}
MAKERS = {name: jax.jit(make, static_argnums=(0, 2)) for name, make in MAKERS.items()}
turbulence = jax.jit(
    initial.decaying_turbulence,
    static_argnums=0,
    static_argnames=("peak_wavenumber", "shape", "discretisation", "dtype"),
)
taylor_green = jax.jit(initial.taylor_green, static_argnums=0, static_argnames=("wavenumber", "dtype"))
measure_energy = jax.jit(diagnostics.energy, static_argnums=0, static_argnames="discretisation")
measure_spectrum = jax.jit(diagnostics.energy_spectrum, static_argnums=0)
every_grid = pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: str(grid.shape))
two_grids = pytest.mark.parametrize("grid", GRIDS[:2], ids=lambda grid: str(grid.shape))
every_discretisation = pytest.mark.parametrize("discretisation", [FiniteDifference(), Spectral()], ids=str)
every_dtype = pytest.mark.parametrize("dtype", fast_cases(DTYPES, 1))
every_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
random_maker = pytest.mark.parametrize(
    "make", [MAKERS["decaying_turbulence"], MAKERS["random_vorticity"]], ids=["decaying", "random"]
)


def modes(grid, omega):
    """Return the full transform of `omega`, and its wavenumbers along y and x in multiples of 2 pi / max(extent)."""
    (ny, nx), (height, width) = grid.shape, grid.extent
    ky = np.fft.fftfreq(ny, 1 / ny)[:, None] * max(grid.extent) / height
    kx = np.fft.fftfreq(nx, 1 / nx)[None, :] * max(grid.extent) / width
    return np.fft.fft2(np.asarray(omega)), ky, kx


@pytest.mark.covering(1, 2)
@every_maker
@two_grids
@every_dtype
def test_shape_type_and_zero_mean(make, grid, dtype, key):
    omega = make(grid, key, dtype)
    assert omega.shape == grid.shape
    assert omega.dtype == dtype
    assert jnp.std(omega) > 0
    assert abs(jnp.mean(omega)) < RELATIVE[dtype] * jnp.std(omega)


@every_maker
def test_the_default_type_is_that_of_jax(make, key):
    assert make(GRIDS[0], key, None).dtype == "float64"
    with jax.enable_x64(False):
        assert make(GRIDS[0], key, None).dtype == "float32"
        with pytest.raises(TypeError, match=r"dtype is float64.*jax_enable_x64"):
            make(GRIDS[0], key, "float64")


@random_maker
@every_dtype
def test_keys_reproduce_and_separate(make, dtype):
    grid = GRIDS[0]
    first, again, other = (make(grid, jax.random.key(seed), dtype) for seed in (3, 3, 4))
    assert (first == again).all()
    correlation = jnp.vdot(first, other) / (jnp.linalg.norm(first) * jnp.linalg.norm(other))
    assert abs(correlation) < 0.5


@pytest.mark.full
@random_maker
def test_jit_and_vmap_over_keys(make, key):
    grid, keys = GRIDS[2], jax.random.split(key, 3)
    each = jnp.stack([make.__wrapped__(grid, one, None) for one in keys])
    assert_close(make(grid, keys[1], None), each[1])
    assert_close(jax.vmap(lambda one: make(grid, one, None))(keys), each)


@pytest.mark.covering(1, 2)
@every_grid
@every_dtype
@every_discretisation
def test_turbulence_has_the_energy_asked_for(grid, dtype, discretisation):
    for seed, energy in enumerate([0.5, 0.02, 7]):
        key = jax.random.key(seed)
        # such a peak puts part of the energy near the shortest waves
        peak = 5 if seed else 8
        how = {"discretisation": discretisation}
        omega = turbulence(grid, key=key, peak_wavenumber=peak, energy=energy, **how, dtype=dtype)
        assert_close(measure_energy(grid, omega, **how), energy)


@pytest.mark.covering(1)
@pytest.mark.parametrize("grid", [Grid((144, 128)), Grid((135, 95), (3.0, 2.0))], ids=str)
@pytest.mark.parametrize(("peak", "s"), [(8, 3), (12, 3), (10, 1)])
def test_turbulence_has_the_spectrum_asked_for(grid, peak, s, key):
    omega = turbulence(grid, key=key, peak_wavenumber=peak, shape=s, energy=0.5)
    wavenumbers, spectrum = measure_spectrum(grid, omega)
    width = diagnostics.fundamental_wavenumber(grid)
    k, density = np.asarray(wavenumbers) / width, np.asarray(spectrum) * width
    assert abs(density.argmax() + 1 - peak) <= 2
    centroid = peak * math.gamma(s + 1.5) / math.gamma(s + 1) / math.sqrt(s + 0.5)
    np.testing.assert_allclose((k * density).sum() / density.sum(), centroid, rtol=0.01)

    # Each mode's cell of the wavenumber plane, under the published formula and with its published constant.
    _, ky, kx = modes(grid, omega)
    magnitude = np.hypot(ky, kx)
    magnitude[0, 0] = 1e-9
    a_s = (2 * s + 1) ** (s + 1) / (2**s * math.factorial(s))
    formula = a_s / (2 * peak) * (magnitude / peak) ** (2 * s + 1) * np.exp(-(s + 0.5) * (magnitude / peak) ** 2)
    cell = max(grid.extent) ** 2 / math.prod(grid.extent)
    shell = np.floor(magnitude + 0.5).astype(int).ravel()
    expected = np.bincount(shell, (cell * formula / (2 * np.pi * magnitude)).ravel())[1:]
    np.testing.assert_allclose(density, expected, atol=1e-7)


@pytest.mark.parametrize("grid", [Grid((96, 80), (3.0, 2.0)), Grid((64, 75), (1.0, 1.5))], ids=str)
def test_turbulence_is_isotropic(grid, key):
    omega = turbulence(grid, key=key, peak_wavenumber=10)
    omega_hat, ky, kx = modes(grid, omega)
    power = np.abs(omega_hat) ** 2
    np.testing.assert_allclose((power * kx**2).sum(), (power * ky**2).sum(), rtol=0.05)


def test_turbulence_has_fixed_moduli_and_uniform_phases(key):
    grid, samples = Grid((12, 11)), 1000
    omega = jax.vmap(lambda one: turbulence(grid, key=one, peak_wavenumber=3))(jax.random.split(key, samples))
    omega_hat = np.fft.fft2(np.asarray(omega))
    modulus = np.abs(omega_hat)
    assert_close(modulus, np.broadcast_to(modulus[0], modulus.shape))
    generic = omega_hat[:, 1:5, 1:5] / modulus[:, 1:5, 1:5]
    for power in (1, 2, 3):
        assert np.abs((generic**power).mean(0)).max() < 4.5 / math.sqrt(samples)


def test_turbulence_scales_with_the_box(key):
    small, large = (turbulence(Grid((30, 20), (3 * side, 2 * side)), key=key, peak_wavenumber=4) for side in (1, 5))
    assert_close(5 * large, small)


def test_turbulence_with_a_peak_below_the_box_stays_finite(key):
    grid = GRIDS[0]
    omega = turbulence(grid, key=key, peak_wavenumber=0.01)
    assert_close(measure_energy(grid, omega), 0.5)


def test_turbulence_can_be_differentiated_by_its_energy(key):
    grid = GRIDS[1]

    def measured(energy):
        omega = turbulence(grid, key=key, peak_wavenumber=5, energy=energy)
        return measure_energy(grid, omega)

    assert_close(jax.jit(jax.grad(measured))(0.3), 1.0)


@pytest.mark.covering(1)
@two_grids
@every_dtype
@pytest.mark.parametrize("wavenumber", [1, 4])
def test_taylor_green_is_an_eigenfunction_without_advection(grid, dtype, wavenumber):
    omega = taylor_green(grid, wavenumber=wavenumber, amplitude=1.7, dtype=dtype)
    psi = streamfunction(grid, omega)
    eigenvalue = sum(
        (2 * math.sin(math.pi * wavenumber / n) / h) ** 2 for n, h in zip(grid.shape, grid.spacing, strict=True)
    )
    assert_close(psi, omega / eigenvalue)
    # The Laplacian cancels digits: its rounding is that of the largest eigenvalue.
    largest = sum(4 / h**2 for h in grid.spacing)
    error = jnp.linalg.norm(laplacian(grid, omega) + eigenvalue * omega) / jnp.linalg.norm(omega)
    assert error < RELATIVE[dtype] * largest
    scale = jnp.linalg.norm(psi) * jnp.max(jnp.abs(omega)) / math.prod(grid.spacing)
    for scheme in ("arakawa", "central"):
        how = {"discretisation": FiniteDifference(scheme)}
        advection = jacobian(grid, psi, omega, **how)
        assert jnp.linalg.norm(advection) < RELATIVE[dtype] * scale
        control = jacobian(grid, psi, jnp.roll(omega, 1, -1), **how)  # so that zero means something
        assert jnp.linalg.norm(control) > 1e-4 * scale


def test_taylor_green_is_the_flow_of_the_textbook():
    grid = Grid((20, 24))
    x, y = grid.mesh()
    assert_close(taylor_green(grid, wavenumber=3, amplitude=0.5), 2 * 3 * 0.5 * jnp.cos(3 * x) * jnp.cos(3 * y))


@pytest.mark.parametrize("extent", [(3.0, 2.0), (2.0, 3.0), (1.0, 1.0)])
def test_taylor_green_amplitude_is_the_highest_speed(extent):
    grid = Grid((160, 120), extent)
    dy, dx = grid.spacing
    psi = np.asarray(streamfunction(grid, taylor_green(grid, amplitude=0.7)))
    u = (np.roll(psi, -1, 0) - np.roll(psi, 1, 0)) / (2 * dy)
    v = (np.roll(psi, -1, 1) - np.roll(psi, 1, 1)) / (2 * dx)
    np.testing.assert_allclose(np.hypot(u, v).max(), 0.7, rtol=2e-3)


@pytest.mark.parametrize("scheme", ["arakawa", "central"])
def test_taylor_green_decays_as_documented(scheme):
    grid, viscosity, drag, dt = GRIDS[0], 0.02, 0.3, 0.05
    dy, dx = grid.spacing
    start = taylor_green(grid, wavenumber=2)

    def tendency(omega):
        advection = jacobian(grid, streamfunction(grid, omega), omega, discretisation=FiniteDifference(scheme))
        return advection + viscosity * laplacian(grid, omega) - drag * omega

    omega = start
    for a, b in ((0, 1), (3 / 4, 1 / 4), (1 / 3, 2 / 3)):
        omega = a * start + b * (omega + dt * tendency(omega))
    ky, kx = 2 * np.pi * 2 / grid.extent[0], 2 * np.pi * 2 / grid.extent[1]
    eigenvalue = (2 * np.sin(kx * dx / 2) / dx) ** 2 + (2 * np.sin(ky * dy / 2) / dy) ** 2
    z = -(viscosity * eigenvalue + drag) * dt
    assert_close(omega, (1 + z + z**2 / 2 + z**3 / 6) * start)


def test_taylor_green_can_be_differentiated_by_its_amplitude():
    grid = GRIDS[2]

    def energy(amplitude, dtype=None):
        return measure_energy(grid, taylor_green(grid, amplitude=amplitude, dtype=dtype))

    unit = energy(1.0)
    assert_close(jax.jit(jax.grad(energy))(0.6), 2 * 0.6 * unit)
    assert_close(jax.vmap(energy)(jnp.asarray([0.0, -2.0])), jnp.asarray([0.0, 4.0]) * unit)
    mixed = jax.grad(lambda amplitude: energy(amplitude, "float32"))(jnp.asarray(0.6, "float64"))
    assert_close(mixed.astype("float32"), 2 * 0.6 * unit)


@pytest.mark.covering(1)
@two_grids
@every_dtype
def test_random_vorticity_has_unit_rms_and_its_band(grid, dtype, key):
    omega = initial.random_vorticity(grid, key=key, max_wavenumber=3, dtype=dtype)
    assert_close(jnp.sqrt(jnp.mean(omega**2)), 1.0)
    omega_hat, ky, kx = modes(grid, omega)
    relative = np.abs(omega_hat) / np.abs(omega_hat).max()
    inside = (np.hypot(ky, kx) <= 3) & (np.hypot(ky, kx) > 0)
    assert relative[~inside].max() < RELATIVE[dtype]
    assert relative[inside].min() > 1e3 * RELATIVE[dtype]


@pytest.mark.parametrize("smoothness", [0, 1.5])
def test_random_vorticity_is_gaussian_with_its_slope(smoothness, key):
    grid, samples = Grid((20, 22)), 1000
    omega = jax.vmap(lambda one: initial.random_vorticity(grid, key=one, smoothness=smoothness, max_wavenumber=8))(
        jax.random.split(key, samples)
    )
    power = np.abs(np.fft.fft2(np.asarray(omega))) ** 2
    mean = power.mean(0)
    np.testing.assert_allclose(mean[2, 0] / mean[4, 0], 2 ** (2 * smoothness), rtol=0.25)
    np.testing.assert_allclose(mean[3, 4] / mean[0, 5], 1, rtol=0.25)  # the same |k| = 5
    np.testing.assert_allclose(power[:, 3, 4].std() / mean[3, 4], 1, rtol=0.25)  # exponential, as of a Gaussian


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"key": 0}, TypeError, "key"),
        ({"key": jnp.zeros(2, "uint32")}, TypeError, "key"),
        ({"key": None}, TypeError, "key"),
        ({"dtype": int}, TypeError, "dtype"),
        ({"dtype": complex}, TypeError, "dtype"),
        ({"dtype": "float16"}, TypeError, "dtype"),
        ({"dtype": "vorticity"}, TypeError, "dtype"),
    ],
    ids=str,
)
@pytest.mark.parametrize("make", [initial.decaying_turbulence, initial.random_vorticity])
def test_wrong_keys_and_types_are_named(make, changes, error, message):
    arguments = {"key": jax.random.key(0)} | changes
    with pytest.raises(error, match=message):
        make(GRIDS[0], **arguments)


@random_maker
def test_several_keys_are_refused(make, key):
    with pytest.raises((TypeError, ValueError), match="key"):
        make(GRIDS[0], jax.random.split(key, 2), None)


@pytest.mark.parametrize(
    ("make", "name", "values"),
    [
        (initial.decaying_turbulence, "peak_wavenumber", [0, -3, math.inf, math.nan, 21]),
        (initial.decaying_turbulence, "shape", [0, -1.0]),
        (initial.decaying_turbulence, "energy", [0.0, -0.5]),
        (initial.random_vorticity, "max_wavenumber", [0, 0.5, -3, 21]),
        (initial.random_vorticity, "smoothness", [-1, math.nan]),
        (initial.taylor_green, "wavenumber", [0, -1, 17]),
    ],
)
def test_wrong_numbers_are_named(make, name, values):
    grid = Grid((32, 40))
    key = {} if make is initial.taylor_green else {"key": jax.random.key(0)}
    for value in values:
        with pytest.raises(ValueError, match=f"{name}={value}"):
            make(grid, **key, **{name: value})
    for wrong in ("3", 1j, True):
        with pytest.raises(TypeError, match=name):
            make(grid, **key, **{name: wrong})


def test_numbers_that_are_not_scalars_are_named():
    with pytest.raises(TypeError, match="wavenumber"):
        initial.taylor_green(GRIDS[0], wavenumber=1.5)
    for wrong in ("1", 1j, jnp.ones(3)):
        with pytest.raises(TypeError, match="amplitude"):
            initial.taylor_green(GRIDS[0], amplitude=wrong)


@pytest.mark.full
def test_the_highest_wavenumbers_are_allowed(key):
    grid = Grid((32, 40), (0.3, 0.3))
    assert jnp.isfinite(turbulence(grid, key=key, peak_wavenumber=16)).all()
    assert jnp.isfinite(initial.random_vorticity(grid, key=key, max_wavenumber=16)).all()
    assert_close(taylor_green(Grid((4, 4)), wavenumber=2)[0], 4 * np.array([1.0, -1, 1, -1]))
