"""``psi = (F - Lap)^-1 omega``: primitives that are linear in omega and their own transpose, one of them for F = 0."""

from jax.interpreters import ad

from .._primitives.define import bind, define, register
from .._primitives.folding import batch_by_folding, define_self_adjoint
from . import calls, reference
from .divided import operators as divided


def _xla(omega, *, grid, backend):
    return [reference.poisson(grid, omega)]


# S is symmetric: its eigenvectors are the Fourier modes, its eigenvalues are real and even in the wavenumber.
poisson_p = define_self_adjoint("poisson", _xla, calls.poisson, divided.poisson)


def _screened_xla(omega, screening, *, grid, backend):
    return [reference.poisson(grid, omega, screening)]


screened_poisson_p = define(
    "screened_poisson", lambda omega, _, **__: [(omega.shape, omega.dtype)], _screened_xla, calls.screened_poisson
)
batch_by_folding(screened_poisson_p, lambda **_: [0, 0], lambda **_: [0], lambda **_: [True, False])


# F psi - Lap psi = omega gives F dpsi - Lap dpsi = domega - dF psi. The mean of psi is zero, so that of dpsi is.
def _jvp(primals, tangents, **params):
    (_, screening), (domega, dscreening) = primals, tangents
    out = bind(screened_poisson_p, *primals, **params)
    if type(dscreening) is not ad.Zero:
        of_screening = -dscreening[:, None, None] * out[0]
        domega = of_screening if type(domega) is ad.Zero else domega + of_screening
    return out, bind(screened_poisson_p, ad.instantiate_zeros(domega), screening, **params)


def _transpose(cotangents, omega, screening, **params):
    return bind(screened_poisson_p, cotangents[0], screening, **params)[0], None


register(screened_poisson_p, jvp=_jvp, transpose=_transpose)


def poisson(omega, screening=None, *, grid, backend):
    """Return psi. `omega` is ``(batch, ny, nx)``, and `screening` F, ``(batch,)`` or ``(1,)``; None: zero."""
    if screening is None:
        return bind(poisson_p, omega, grid=grid, backend=backend)[0]
    return bind(screened_poisson_p, omega, screening, grid=grid, backend=backend)[0]
