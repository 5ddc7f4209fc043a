"""Functions that both kernels of columns with scalars share (`scalars`, `scalar_sweep`)."""

import functools
import types

import warp as wp

from ..fft.lines import Lines
from ..hardware.address_table import Place, Table
from ..hardware.views import complex_access, vector_view
from .columns import column_functions
from .plan import Plan
from .symbols import symbols


@functools.cache
def field_functions(plan: Plan, lines: Lines, fields: int, ahead: bool) -> types.SimpleNamespace:
    """Make the functions of columns of states with several fields a member.

    - ``mode(row, kx, scale, screening)``: a mode, with ``1 / (k^2 + F)``.
    - ``number(table, place, member, field, kx, at)``: a number of a state.
    - ``Held``: a vector of one complex number for each mode of a thread, or with `ahead` False of one only.
      ``hold(held, i, number)`` returns it with the i-th number, and ``nth(held, i)`` that number.
    - ``coupled(table, mode, coupling, place, member, field, kx, at)``: what the other fields of a state add to the rate
      of a field, buoyancy or ``-G . u``. ``coupled_back``: minus what cotangents of others add to that of a field.
    """
    by_column, by_mode, real, Complex = column_functions(plan, lines), symbols(plan.real), plan.real, plan.complex
    state_view, (get_complex, _), waves, turned = by_column.state, complex_access(real), by_column.waves, by_mode.turned
    mode_at, inverse_of, Scale, Mode = by_mode.mode, by_mode.inverse, by_mode.Scale, by_mode.Mode
    slot, scalars, real_view, Coupling = 1 if ahead else 0, fields - 1, vector_view(real), wp.array(dtype=real)
    Held = wp.types.vector(length=2 * by_column.points if ahead else 2, dtype=real)

    @wp.func
    def mode(row: int, kx: int, scale: Scale, screening: real):
        m = mode_at(waves(row), kx, scale)
        m.inverse = inverse_of(m, screening)
        return m

    @wp.func
    def number(table: Table, place: Place, member: int, field: int, kx: int, at: int):
        return get_complex(state_view(table, place, member * fields + field, kx), at)

    @wp.func
    def hold(held: Held, i: int, number: Complex):
        held[2 * i * slot] = number[0]
        held[2 * i * slot + 1] = number[1]
        return held

    @wp.func
    def nth(held: Held, i: int):
        return Complex(held[2 * i * slot], held[2 * i * slot + 1])

    @wp.func
    def across(m: Mode, coupling: Coupling, first: int):
        """Return the advection of a mean gradient by the vorticity, but for i."""
        return m.inverse * (coupling[first + 1] * m.x - coupling[first] * m.y)

    @wp.func
    def lift(m: Mode, coupling: Coupling, first: int):
        """Return the curl of the buoyancy of a scalar, but for i."""
        return coupling[first + 3] * m.x - coupling[first + 2] * m.y

    def couple(to_vorticity, to_scalar):
        @wp.func
        def coupled(table: Table, m: Mode, coupling_at: Place, place: Place, member: int, field: int, kx: int, at: int):
            coupling = real_view(table, coupling_at)
            first = wp.where(coupling.shape[0] == 4 * scalars, 0, 4 * scalars * member)
            total = Complex()
            if field == 0:
                for s in range(scalars):
                    factor = to_vorticity(m, coupling, first + 4 * s)
                    total += turned(factor, number(table, place, member, 1 + s, kx, at))
            else:
                factor = to_scalar(m, coupling, first + 4 * (field - 1))
                total = turned(factor, number(table, place, member, 0, kx, at))
            return total

        return coupled

    coupling = {"coupled": couple(lift, across), "coupled_back": couple(across, lift)}
    return types.SimpleNamespace(mode=mode, number=number, Held=Held, hold=hold, nth=nth, **coupling)
