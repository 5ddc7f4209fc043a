"""What a flow holds, gains, loses and passes on: energy, spectra, budgets, fluxes, and numbers that describe it.

All take vorticity ``(..., ny, nx)``, average over the box, keep leading axes and the field's dtype, and can be
differentiated, jitted and vmapped. Each raises TypeError where `omega` is not a float32 or float64 array, and
ValueError where its last two axes are not ``grid.shape``.

They use the discrete operators of the solver, so that the identities among them hold on the grid, to rounding:
`energy` and `enstrophy` change at exactly the rates that `budgets` takes apart, and what `energy_flux` and
`enstrophy_flux` pass through the last wavenumber is zero.
"""

from .._spectral import fourier_modes, fundamental_wavenumber
from ._budgets import Budget, Budgets, budgets
from ._fields import energy, energy_spectrum, enstrophy, palinstrophy
from ._fluxes import energy_flux, enstrophy_flux
from ._lyapunov import Lyapunov, lyapunov_exponent
from ._scales import cfl, integral_scale, reynolds_number

__all__ = [
    "Budget",
    "Budgets",
    "Lyapunov",
    "budgets",
    "cfl",
    "energy",
    "energy_flux",
    "energy_spectrum",
    "enstrophy",
    "enstrophy_flux",
    "fourier_modes",
    "fundamental_wavenumber",
    "integral_scale",
    "lyapunov_exponent",
    "palinstrophy",
    "reynolds_number",
]


def __dir__():
    return __all__
