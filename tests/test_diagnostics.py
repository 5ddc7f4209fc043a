import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layouts import fast_cases
from tolerances import RELATIVE, assert_close

from warpjaxns import FiniteDifference, Grid, Spectral, diagnostics
from warpjaxns._operators import jacobian, laplacian, streamfunction

# Every parity, ny != nx, and sides neither equal nor 2 pi. Two do where parity is not at stake.
GRIDS = [Grid((24, 20), (3.0, 2.0)), Grid((15, 21), (0.7, 1.9)), Grid((17, 12)), Grid((16, 27), (4.0, 9.0))]
DTYPES = ["float32", "float64"]
# Jitted with the grid static, as users do, which also saves compiling one operation at a time.
energy, palinstrophy, energy_spectrum = (
    jax.jit(function, static_argnums=0, static_argnames="discretisation")
    for function in (diagnostics.energy, diagnostics.palinstrophy, diagnostics.energy_spectrum)
)
enstrophy = jax.jit(diagnostics.enstrophy, static_argnums=0)
SCALARS = [energy, enstrophy, palinstrophy]
every_grid = pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: str(grid.shape))
two_grids = pytest.mark.parametrize("grid", GRIDS[:2], ids=lambda grid: str(grid.shape))
every_discretisation = pytest.mark.parametrize("discretisation", [FiniteDifference(), Spectral()], ids=str)
every_dtype = pytest.mark.parametrize("dtype", fast_cases(DTYPES, 1))


def wave(grid, my, mx, dtype="float64", discretisation=None):
    """Return an oblique wave and its eigenvalue under the negative Laplacian."""
    (ny, nx), (dy, dx) = grid.shape, grid.spacing
    phase = 2 * np.pi * (my * np.arange(ny)[:, None] / ny + mx * np.arange(nx)[None, :] / nx)
    if isinstance(discretisation, Spectral):
        return jnp.asarray(np.cos(phase), dtype), sum(
            (2 * np.pi * m / side) ** 2 for m, side in zip((my, mx), grid.extent, strict=True)
        )
    eigenvalue = (2 - 2 * np.cos(2 * np.pi * my / ny)) / dy**2 + (2 - 2 * np.cos(2 * np.pi * mx / nx)) / dx**2
    return jnp.asarray(np.cos(phase), dtype), eigenvalue


def forward_gradient_squared(grid, a):
    dy, dx = grid.spacing
    a = np.asarray(a, np.float64)
    return ((np.roll(a, -1, -1) - a) / dx) ** 2 + ((np.roll(a, -1, -2) - a) / dy) ** 2


@pytest.mark.covering(1, 2)
@two_grids
@every_dtype
@every_discretisation
@pytest.mark.parametrize("modes", [(0, 3), (2, 0), (3, -2), (-4, 4)])
def test_closed_forms_of_one_wave(grid, dtype, discretisation, modes):
    omega, eigenvalue = wave(grid, *modes, dtype, discretisation)
    how = [{"discretisation": discretisation}, {}, {"discretisation": discretisation}]
    values = [function(grid, 3 * omega, **h) for function, h in zip(SCALARS, how, strict=True)]
    assert [value.dtype for value in values] == 3 * [dtype]
    assert [value.shape for value in values] == 3 * [()]
    assert_close(values[0], 9 * 0.25 / eigenvalue)
    assert_close(values[1], 9 * 0.25)
    # The Laplacian of a long wave cancels digits: its rounding is that of the largest eigenvalue.
    largest = sum(np.pi**2 / h**2 for h in grid.spacing)
    assert abs(float(values[2]) - 9 * 0.25 * eigenvalue) < RELATIVE[dtype] * 9 * 0.25 * largest


@two_grids
def test_energy_and_palinstrophy_are_those_of_the_one_sided_gradient(grid, key):
    omega = jax.random.normal(key, grid.shape)
    psi = streamfunction(grid, omega)
    assert_close(energy(grid, omega), 0.5 * forward_gradient_squared(grid, psi).mean())
    assert_close(palinstrophy(grid, omega), 0.5 * forward_gradient_squared(grid, omega).mean())


@two_grids
def test_the_mean_carries_no_energy(grid, key):
    omega = jax.random.normal(key, grid.shape)
    assert_close(energy(grid, omega + 2), energy(grid, omega))
    assert_close(energy_spectrum(grid, omega + 2)[1], energy_spectrum(grid, omega)[1])


def test_arakawa_conserves_what_is_measured_here(key):
    grid = GRIDS[0]
    omega = jax.random.normal(key, grid.shape)
    psi = streamfunction(grid, omega)
    for function in (energy, enstrophy):

        def rate(scheme, function=function):
            advection = jacobian(grid, psi, omega, discretisation=FiniteDifference(scheme))
            value, change = jax.jvp(lambda w: function(grid, w), (omega,), (advection,))
            return abs(change / value)

        assert rate("arakawa") < 1e-11
        assert rate("central") > 1e-5


@pytest.mark.covering(1)
@every_grid
@every_discretisation
def test_spectrum_sums_to_the_energy(grid, discretisation, key):
    dtype = "float64" if grid.shape[0] % 2 else "float32"  # each with an even and an odd nx
    omega = jax.random.normal(key, (2, *grid.shape), dtype)
    wavenumbers, spectrum = energy_spectrum(grid, omega, discretisation=discretisation)
    width = diagnostics.fundamental_wavenumber(grid)
    assert wavenumbers.dtype == spectrum.dtype == dtype
    assert spectrum.shape == (2, wavenumbers.size)
    assert_close(wavenumbers, width * np.arange(1, wavenumbers.size + 1))
    assert_close(spectrum.sum(-1) * width, energy(grid, omega, discretisation=discretisation))


@pytest.mark.covering(1)
@every_grid
@pytest.mark.parametrize("modes", [(1, 0), (0, 1), (3, -2), (-5, 4), (6, 6)])
def test_spectrum_puts_a_wave_into_its_shell(grid, modes):
    omega, _ = wave(grid, *modes)
    wavenumbers, spectrum = energy_spectrum(grid, omega)
    magnitude = 2 * np.pi * math.hypot(modes[0] / grid.extent[0], modes[1] / grid.extent[1])
    width = 2 * np.pi / max(grid.extent)
    expected = np.zeros(spectrum.shape)
    expected[round(magnitude / width) - 1] = energy(grid, omega) / width
    assert abs(wavenumbers[spectrum.argmax()] - magnitude) <= width / 2
    assert_close(spectrum, expected)


def test_leading_axes_jit_and_vmap(key):
    grid = GRIDS[1]
    omega = jax.random.normal(key, (2, 3, *grid.shape))
    for function in [*SCALARS, lambda g, w: energy_spectrum(g, w)[1]]:
        each = np.stack([[np.asarray(function(grid, omega[i, j])) for j in range(3)] for i in range(2)])
        assert_close(function(grid, omega), each)
        assert_close(jax.vmap(lambda w, f=function: f(grid, w), in_axes=1, out_axes=1)(omega), each)


@pytest.mark.covering(1)
@two_grids
@every_dtype
def test_gradients_have_their_closed_forms(grid, dtype, key):
    omega = jax.random.normal(key, grid.shape, dtype)
    width, points = diagnostics.fundamental_wavenumber(grid), math.prod(grid.shape)

    def summed_spectrum(grid, w):
        return energy_spectrum(grid, w)[1].sum() * width

    psi = streamfunction(grid, omega)
    fields = {summed_spectrum: psi, energy: psi, enstrophy: omega}
    fields[palinstrophy] = -laplacian(grid, omega)
    for function, field in fields.items():
        assert_close(jax.jit(jax.grad(lambda w, f=function: f(grid, w)))(omega), field / points)


def test_spectrum_has_a_finite_gradient_at_rest():
    grid = GRIDS[0]
    gradient = jax.grad(lambda w: energy_spectrum(grid, w)[1][2])(jnp.zeros(grid.shape))
    assert_close(gradient + 1, np.ones(grid.shape))


@pytest.mark.parametrize("function", [*SCALARS, energy_spectrum])
def test_wrong_fields_are_named(function):
    grid = GRIDS[0]
    for dtype in (int, bool, complex, "float16"):
        with pytest.raises(TypeError, match="omega"):
            function(grid, jnp.zeros(grid.shape, dtype))
    for shape in (grid.shape[::-1], (*grid.shape, 1), (2, 24, 1)):
        with pytest.raises(ValueError, match=r"omega has shape .*24, 20"):
            function(grid, jnp.zeros(shape))


def test_a_field_may_be_anything_array_like():
    from warpjaxns._checks import check_field

    grid = Grid((4, 5))
    for dtype in DTYPES:
        field = check_field("omega", np.ones((3, *grid.shape), dtype), grid)
        assert isinstance(field, jax.Array)
        assert field.dtype == dtype
    assert check_field("omega", np.ones(grid.shape).tolist(), grid).shape == grid.shape
    for wrong in (None, "omega", object(), [[1.0], [1.0, 2.0]], np.ones(grid.shape, int).tolist()):
        with pytest.raises(TypeError, match="omega"):
            check_field("omega", wrong, grid)
    with pytest.raises(ValueError, match="omega has shape"):
        check_field("omega", 1.0, grid)
    with jax.enable_x64(False):
        assert check_field("omega", np.ones(grid.shape, "float32"), grid).dtype == "float32"
        with pytest.raises(TypeError, match=r"omega is float64.*jax_enable_x64"):
            check_field("omega", np.ones(grid.shape), grid)


@pytest.mark.parametrize("check", ["check_positive", "check_non_negative"])
def test_numbers_are_checked(check):
    from warpjaxns import _checks

    check = getattr(_checks, check)
    for good in (1, 0.5, np.float32(2), np.int64(3), jnp.asarray(0.1)):
        check("drag", good)
    for wrong in (-1, math.inf, math.nan, jnp.asarray(-0.1)):
        with pytest.raises(ValueError, match="drag"):
            check("drag", wrong)
    for wrong in (True, 1j, "1", None, [1.0], jnp.ones(3), jnp.asarray(True)):
        with pytest.raises(TypeError, match="drag"):
            check("drag", wrong)
    jax.jit(lambda value: check("drag", value))(-1.0)  # a traced value is trusted ...
    with pytest.raises(TypeError, match="drag is traced"):  # ... where it may be traced
        jax.jit(lambda value: check("drag", value, static=True))(1.0)


def test_only_non_negative_allows_zero():
    from warpjaxns._checks import check_non_negative, check_positive

    check_non_negative("drag", 0.0)
    with pytest.raises(ValueError, match="dt=0"):
        check_positive("dt", 0)


def test_float32_is_as_good_as_its_table(key):
    grid = GRIDS[0]
    omega = jax.random.normal(key, grid.shape, "float32")
    for function in SCALARS:
        assert_close(function(grid, omega), function(grid, omega.astype("float64")))
    assert_close(
        energy_spectrum(grid, omega)[1],
        energy_spectrum(grid, omega.astype("float64"))[1],
    )
