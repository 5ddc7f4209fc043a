"""Training sets: ensembles of flows written to HDF5 in the layout of The Well, and read back.

    ensemble = wns.data.Ensemble((128, 128), count=64, steps=1000, save_every=50, dt=4e-3,
                                 viscosity=wns.data.Range(1e-4, 1e-2, log=True))
    wns.data.generate("train.hdf5", ensemble)

    with wns.data.open("train.hdf5") as flows:
        flows.dataset  # an xarray.Dataset, read from disk when it is used
        for batch in flows.batches(16, key=jax.random.key(0), window=2):
            ...  # a dict of JAX arrays
        flows.windows(2)[0]  # a dict of NumPy arrays: a random-access source for other loaders

Needs h5py, xarray for `Flows.dataset` and PyYAML for configuration files (the extra ``data``). They are imported when
they are used.
"""

from .batches import Batches
from .checksums import verify
from .config import read_config, write_config
from .ensemble import Ensemble
from .generate import Summary, generate
from .parts import Noise, Range, Steady
from .place import OptionsError
from .reading import Flows, open
from .scalars import Scalar
from .windows import Windows

__all__ = [
    "Batches",
    "Ensemble",
    "Flows",
    "Noise",
    "OptionsError",
    "Range",
    "Scalar",
    "Steady",
    "Summary",
    "Windows",
    "generate",
    "open",
    "read_config",
    "verify",
    "write_config",
]


def __dir__():
    return __all__
