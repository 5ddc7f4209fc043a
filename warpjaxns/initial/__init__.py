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
| `from_velocity` | the curl of your own velocity, in the solver's differences; `warpjaxns.vorticity_of` is exact |

Wavenumbers are in multiples of the lowest one of the box, ``k1 = 2 pi / max(Ly, Lx)``
(`diagnostics.fundamental_wavenumber`). In the default box of side 2 pi this is 1.

The functions can be jitted with the grid and the numbers static, and vmapped over keys. A key gives the same field
every time, but different fields in float32 and float64.
"""

from ._random import decaying_turbulence as decaying_turbulence
from ._random import from_spectrum as from_spectrum
from ._random import random_vorticity as random_vorticity
from ._vortices import double_shear_layer as double_shear_layer
from ._vortices import from_velocity as from_velocity
from ._vortices import lamb_dipole as lamb_dipole
from ._vortices import taylor_green as taylor_green
from ._vortices import vortex_merger as vortex_merger
