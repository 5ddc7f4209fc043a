"""A spectral code that shares nothing with the package: full complex transforms, and derivatives taken one by one.

It always computes in float64. `xp` is `numpy`, or `jax.numpy` where JAX is to differentiate it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

# A and B of d = A d + dt N(w), w = w + B d
SCHEMES = {
    # Williamson 1980, J. Comput. Phys. 35, 48, case 7
    "rk3": ((0, -5 / 9, -153 / 128), (1 / 3, 15 / 16, 8 / 15)),
    # Carpenter and Kennedy 1994, NASA TM 109112, solution 3
    "rk4": (
        (
            0,
            -567301805773 / 1357537059087,
            -2404267990393 / 2016746695238,
            -3550918686646 / 2091501179385,
            -1275806237668 / 842570457699,
        ),
        (
            1432997174477 / 9575080441755,
            5161836677717 / 13612068292357,
            1720146321549 / 2090206949498,
            3134564353537 / 4481467310338,
            2277821191437 / 14882151754819,
        ),
    ),
}


@functools.cache
def tableau(integrator):
    """Return Butcher's matrix of a scheme, its weights as the last row, and its abscissas, of which the last is 1."""
    A, B = SCHEMES[integrator]
    count = len(A)
    matrix = np.zeros((count + 1, count))
    for j in range(count):
        increment = 1.0
        for i in range(j, count):
            increment *= A[i] if i > j else 1
            matrix[i + 1 :, j] += B[i] * increment
    return matrix, matrix.sum(axis=1)


class Oracle:
    """The equation on a grid. Spectra are those of `fft2`."""

    def __init__(self, grid, dealiasing, xp=np):
        (ny, nx), (height, width) = grid.shape, grid.extent
        self.xp, waves = xp, np.meshgrid(np.fft.fftfreq(ny, 1 / ny), np.fft.fftfreq(nx, 1 / nx), indexing="ij")
        relative = [2 * np.abs(m) / n for m, n in zip(waves, (ny, nx), strict=True)]  # 1 at Nyquist's wavenumber
        limit = {"two-thirds": 2 / 3 - 1e-9, "smooth": 1 - 1e-9}[dealiasing]
        self.kept = (relative[0] < limit) & (relative[1] < limit)
        smooth = np.exp(-36 * relative[0] ** 36) * np.exp(-36 * relative[1] ** 36)
        self.filter = self.kept * (smooth if dealiasing == "smooth" else 1.0)
        self.dy, self.dx = 2j * np.pi / height * waves[0], 2j * np.pi / width * waves[1]
        self.laplacian = (self.dy**2 + self.dx**2).real
        self.inverse = np.divide(1, self.laplacian, out=np.zeros(grid.shape), where=self.laplacian != 0)
        self.exact = dealiasing == "two-thirds"

    def spectrum(self, field):
        """Return the modes kept of a field."""
        return self.kept * self.xp.fft.fft2(field)

    def field(self, spectrum):
        return self.xp.fft.ifft2(spectrum).real

    def velocity(self, spectrum):
        """Return u and v."""
        psi = -self.inverse * spectrum
        return self.field(self.dy * psi), self.field(-self.dx * psi)

    def gradient_form(self, spectrum):
        """Return the spectrum of ``-(u d omega/dx + v d omega/dy)``."""
        u, v = self.velocity(spectrum)
        advected = u * self.field(self.dx * spectrum) + v * self.field(self.dy * spectrum)
        return -self.filter * self.xp.fft.fft2(advected)

    def flux_form(self, spectrum):
        """Return the spectrum of minus the curl of ``div(u u)``."""
        u, v = self.velocity(spectrum)
        uu, uv, vv = (self.xp.fft.fft2(product) for product in (u * u, u * v, v * v))
        rate_u, rate_v = self.dx * uu + self.dy * uv, self.dx * uv + self.dy * vv
        return -self.filter * (self.dx * rate_v - self.dy * rate_u)

    def advection(self, spectrum):
        """Return the advection of a vorticity. The two forms are equal where products are exact."""
        return self.gradient_form(spectrum) if self.exact else self.flux_form(spectrum)

    def step(self, spectrum, viscosity, drag, dt, force, integrator):
        """Return the spectrum a step later. All stages are expanded about the start, as in Butcher's form."""
        matrix, times = (self.xp.asarray(a) for a in tableau(integrator))
        rate = viscosity * self.laplacian - drag
        count = len(times) - 1
        spectrum = self.xp.broadcast_to(spectrum, np.broadcast_shapes(*map(np.shape, (spectrum, rate, force))))
        of_each = (count, *[1] * spectrum.ndim)
        numbers, zeros = np.arange(count).reshape(of_each), self.xp.zeros((count, *spectrum.shape), complex)

        def stage(carry, i):
            state, slopes = carry
            slopes = self.xp.where(numbers == i, self.advection(state) + force, slopes)
            since = self.xp.maximum(times[i + 1] - times[:count], 0).reshape(of_each)
            moved = matrix[i + 1].reshape(of_each) * dt * self.xp.exp(since * dt * rate) * slopes
            return (self.xp.exp(times[i + 1] * dt * rate) * spectrum + moved.sum(0), slopes), None

        return over(self.xp, stage, (spectrum, zeros), count)[0]


def over(xp, body, carry, length):
    """Return what a body makes of the carry in so many turns: for JAX a scan, of which one turn is compiled."""
    if xp is jnp:
        return jax.lax.scan(body, carry, jnp.arange(length))[0]
    for i in range(length):
        carry, _ = body(carry, i)
    return carry


def advance(omega, viscosity, drag, dt, forcing, *, grid, dealiasing, integrator, steps, xp=jnp):
    """Return the field after `steps` steps.

    Operands are fields ``(batch, ny, nx)`` and what `warpjaxns._spectral.engine` makes operands of: parameters
    ``(batch or 1,)``, forcing ``(steps or 1, batch or 1, ny, nx)``, or a single zero.
    """
    oracle = Oracle(grid, dealiasing, xp)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        x, *parameters, forces = (xp.asarray(a).astype("float64") for a in (omega, viscosity, drag, dt, forcing))
        parameters = [p[:, None, None] for p in parameters]
        forces = oracle.spectrum(forces)

        def step(spectrum, i):
            force = forces[i if forces.shape[0] > 1 else 0]
            return oracle.step(spectrum, *parameters, force, integrator), None

        spectrum = over(xp, step, oracle.spectrum(x), steps)
        return oracle.field(spectrum).astype(omega.dtype)
