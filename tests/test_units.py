"""Flows in another unit of length: shells, spectral bands and rings do not depend on rounding."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import assert_close

from warpjaxns import Grid, diagnostics, forcing, initial
from warpjaxns._modes import shell_of_modes
from warpjaxns.data import Ensemble

# sides 2 to 3, so that the wave along y is on the edge of a shell, 3/2
SIDES = [(2.0, 3.0), (0.2, 0.3), (1.4, 2.1), (2e-7, 3e-7), (14 / 3, 7.0)]
GRIDS = [Grid((16, 24), side) for side in SIDES]
every_unit = pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: str(grid.extent))


@every_unit
def test_a_wave_on_the_edge_of_a_shell(grid):
    omega = jnp.cos(2 * math.pi * grid.mesh()[1] / grid.extent[0])
    _, spectrum = diagnostics.energy_spectrum(grid, omega)
    assert int(jnp.argmax(spectrum)) + 1 == 2
    assert_close(diagnostics.integral_scale(grid, omega) / grid.extent[1], 0.5)
    np.testing.assert_array_equal(shell_of_modes(grid), shell_of_modes(GRIDS[0]))


@every_unit
def test_a_ring_has_its_modes(grid):
    f = forcing.ring_noise(grid, key=jax.random.key(0), steps=1, dt=0.1, energy_rate=1.0, wavenumber=5, width=1)
    power = np.abs(np.fft.fft2(f[0])) ** 2
    assert (power > 1e-9 * power.max()).sum() == 24


@every_unit
def test_random_fields_are_the_same(grid):
    for make in (
        lambda grid: initial.random_vorticity(grid, key=jax.random.key(0), max_wavenumber=3),
        lambda grid: initial.random_vorticity(grid, key=jax.random.key(0), max_wavenumber=math.sqrt(13) / 2),
        lambda grid: initial.from_spectrum(grid, np.arange(1.0, 4), key=jax.random.key(0)) * grid.extent[1] ** 1.5,
        lambda grid: initial.decaying_turbulence(grid, key=jax.random.key(0), peak_wavenumber=4) * grid.extent[1],
    ):
        assert_close(make(grid) / make(GRIDS[0]).std(), make(GRIDS[0]) / make(GRIDS[0]).std(), {"float64": 1e-11})


def test_the_longest_and_the_shortest_that_is_allowed():
    # half of a side, of which rounding leaves 0.15 and of the sum 0.15000000000000002
    initial.vortex_merger(Grid((16, 24), (0.3, 0.3)), separation=3 * 0.05)
    # the highest wavenumber of 54 points, of which rounding leaves 26.999999999999996
    options = {"shape": (54, 54), "extent": (0.3, 0.3), "viscosity": 0.01, "dt": 0.1}
    options |= {"count": 1, "steps": 1, "save_every": 1}
    assert Ensemble(**options, initial_wavenumber=27).initial_wavenumber == 27
    with pytest.raises(ValueError, match=r"initial_wavenumber=27\.1"):
        Ensemble(**options, initial_wavenumber=27.1)
