"""Diagnostics of a flow: energy, spectra, budgets, fluxes, scales and the Lyapunov exponent.

All take vorticity ``(..., ny, nx)``, average over the box, and keep leading axes and the field's dtype. They can be
differentiated, jitted and vmapped. Each raises TypeError if `omega` is not a float32 or float64 array, and ValueError
if its last two axes are not ``grid.shape``.

They use the discrete operators of the solver, so their identities hold on the grid, to rounding. `energy` and
`enstrophy` change at exactly the sum of the rates in `budgets`. `energy_flux` and `enstrophy_flux` vanish at the last
wavenumber.
"""

from .._spectral import fourier_modes as fourier_modes
from .._spectral import fundamental_wavenumber as fundamental_wavenumber
from ._budgets import Budget as Budget
from ._budgets import Budgets as Budgets
from ._budgets import budgets as budgets
from ._fields import energy as energy
from ._fields import energy_spectrum as energy_spectrum
from ._fields import enstrophy as enstrophy
from ._fields import palinstrophy as palinstrophy
from ._fluxes import energy_flux as energy_flux
from ._fluxes import enstrophy_flux as enstrophy_flux
from ._lyapunov import Lyapunov as Lyapunov
from ._lyapunov import lyapunov_exponent as lyapunov_exponent
from ._scales import cfl as cfl
from ._scales import integral_scale as integral_scale
from ._scales import reynolds_number as reynolds_number
