"""Initial vorticity fields. All are periodic in the box and have zero mean, up to rounding.

| | |
|---|---|
| `decaying_turbulence` | random phases under a prescribed energy spectrum |
| `random_vorticity` | a smooth random field |
| `from_spectrum` | random phases under your own energy spectrum |
| `taylor_green` | vortices whose exact decay on the grid is known |
| `vortex_merger` | two like vortices that become one |
| `double_shear_layer` | two layers that roll up |
| `lamb_dipole` | a pair of vortices that travels without changing |
| `from_velocity` | the curl of your own velocity, in the solver's derivatives; `warpjaxns.vorticity_of` is exact |

Wavenumbers are in multiples of the lowest one of the box, ``k1 = 2 pi / max(Ly, Lx)``
(`diagnostics.fundamental_wavenumber`). In the default box of side 2 pi this is 1.

The functions can be jitted with the grid and the numbers static, and vmapped over keys. A key gives the same field
every time, but different fields in float32 and float64.
"""

from ._random import decaying_turbulence, from_spectrum, random_vorticity
from ._vortices import double_shear_layer, from_velocity, lamb_dipole, taylor_green, vortex_merger

__all__ = [
    "decaying_turbulence",
    "double_shear_layer",
    "from_spectrum",
    "from_velocity",
    "lamb_dipole",
    "random_vorticity",
    "taylor_green",
    "vortex_merger",
]


def __dir__():
    return __all__
