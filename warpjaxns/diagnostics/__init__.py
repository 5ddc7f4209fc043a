"""Diagnostics of a flow: energy, spectra, budgets, fluxes, scales, scalars, resolution and the Lyapunov exponent.

All take vorticity ``(..., ny, nx)``, average over the box, and keep leading axes and the field's dtype. They can be
differentiated, jitted and vmapped. Each raises TypeError if `omega` is not a float32 or float64 array, and ValueError
if its last two axes are not ``grid.shape``.

They use the discrete operators of the solver, or of a `discretisation` that is given, so their identities hold on the
grid, to rounding. `energy` and `enstrophy` change at exactly the sum of the rates in `budgets`. `energy_flux` and
`enstrophy_flux` vanish at the last wavenumber.
"""

from .._modes import fourier_modes, fundamental_wavenumber
from ._bodies import body_force
from ._budgets import Budget, Budgets, budgets
from ._fields import energy, energy_spectrum, enstrophy, palinstrophy
from ._fluxes import energy_flux, enstrophy_flux
from ._lyapunov import Lyapunov, lyapunov_exponent
from ._resolution import Resolution, resolution
from ._scalars import ScalarBudget, gradient_norm, mix_norm, scalar_budgets, scalar_fluxes
from ._scales import cfl, integral_scale, reynolds_number

__all__ = [
    "Budget",
    "Budgets",
    "Lyapunov",
    "Resolution",
    "ScalarBudget",
    "body_force",
    "budgets",
    "cfl",
    "energy",
    "energy_flux",
    "energy_spectrum",
    "enstrophy",
    "enstrophy_flux",
    "fourier_modes",
    "fundamental_wavenumber",
    "gradient_norm",
    "integral_scale",
    "lyapunov_exponent",
    "mix_norm",
    "palinstrophy",
    "resolution",
    "reynolds_number",
    "scalar_budgets",
    "scalar_fluxes",
]


def __dir__():
    return __all__
