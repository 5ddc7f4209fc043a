"""What a flow holds, gains, loses and passes on: energy, spectra, budgets, fluxes, and numbers that describe it.

All take vorticity ``(..., ny, nx)``, average over the box, keep leading axes and the field's dtype, and can be
differentiated, jitted and vmapped. Each raises TypeError where `omega` is not a float32 or float64 array, and
ValueError where its last two axes are not ``grid.shape``.

They use the discrete operators of the solver, so that the identities among them hold on the grid, to rounding:
`energy` and `enstrophy` change at exactly the rates that `budgets` takes apart, and what `energy_flux` and
`enstrophy_flux` pass through the last wavenumber is zero.
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
