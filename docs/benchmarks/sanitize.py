"""Launches every flow kernel once for every entry of the tuning tables, for NVIDIA's sanitizer.

compute-sanitizer --tool memcheck  python docs/benchmarks/sanitize.py
compute-sanitizer --tool racecheck python docs/benchmarks/sanitize.py
compute-sanitizer --tool synccheck python docs/benchmarks/sanitize.py

Run it once without the sanitizer first. Kernels are then in Warp's cache, and a case takes a few seconds.
"""

import argparse

import numpy as np
import warp as wp

from warpjaxns import Grid
from warpjaxns._coefficients import column_modes, metric
from warpjaxns._kernels.fft.transforms import roots_of_unity
from warpjaxns._kernels.finite_difference import operators, poisson, stage, sweep
from warpjaxns._kernels.finite_difference.places import Tables
from warpjaxns._kernels.finite_difference.planner import make_plan
from warpjaxns._kernels.finite_difference.resident import stage as resident_stage
from warpjaxns._kernels.finite_difference.resident import sweep as resident_sweep
from warpjaxns._kernels.finite_difference.setting import Setting
from warpjaxns._kernels.hardware.address_table import NO_ARRAY, buffers
from warpjaxns._kernels.hardware.numbers import complex_type
from warpjaxns._kernels.parameters import parameters
from warpjaxns._kernels.spectral import operators as spectral_operators
from warpjaxns._kernels.spectral import places as spectral_places
from warpjaxns._kernels.spectral import planner as spectral_planner
from warpjaxns._kernels.spectral import setting as spectral_setting
from warpjaxns._kernels.spectral import stage as spectral_stage
from warpjaxns._kernels.spectral import sweep as spectral_sweep
from warpjaxns._kernels.spectral.resident import stage as spectral_resident_stage
from warpjaxns._kernels.spectral.resident import sweep as spectral_resident_sweep
from warpjaxns._kernels.spectral.symbols import symbols

# (ny, nx), members, dtype: few long lines reach the plans of large grids in little time
CASES = [
    *[((64, 64), count, "float32") for count in (3, 30, 80, 300)],
    *[((128, 128), count, "float32") for count in (10, 60, 70)],
    *[((256, 256), 1, "float32"), ((128, 256), 40, "float32")],
    *[((512, 512), count, "float32") for count in (1, 5)],
    *[((512, 1024), count, "float32") for count in (1, 3)],
    *[((64, 2048), count, "float32") for count in (1, 17)],
    *[(shape, 1, "float32") for shape in ((64, 4096), (2048, 64), (4096, 16))],
    *[((45, 75), 2, "float32"), ((96, 100), 1, "float64"), ((256, 256), 2, "float64"), ((64, 2048), 1, "float64")],
    *[((64, 64), 3, "float64"), ((64, 64), 30, "float64"), ((128, 128), 10, "float64")],
    *[((8192, 16), 1, "float32"), ((8, 16384), 1, "float32"), ((8, 8192), 1, "float64")],  # in parts, through memory
]
# the same for Fourier modes: resident or not, factors 3 and 5, columns that wait for others, the longest lines
SPECTRAL_CASES = [
    *[((64, 64), count, "float32") for count in (1, 150)],
    *[((128, 128), 60, "float32"), ((128, 64), 3, "float64"), ((60, 64), 2, "float64"), ((96, 96), 2, "float32")],
    *[((256, 192), 1, "float32"), ((192, 384), 1, "float32"), ((192, 48), 1, "float64"), ((81, 50), 2, "float32")],
    *[((n, 32), 1, "float32") for n in (512, 1000, 1024, 2048, 4096, 8192)],
    *[((32, n), 1, "float32") for n in (512, 1000, 1024, 2048, 4096, 8192)],
    *[((4096, 16), 1, "float64"), ((16, 4096), 1, "float64"), ((256, 256), 30, "float32")],
]


def one_step(shape, batch, dtype, device):
    """Launch a step with and without forcing, its adjoint with all sums, its tangent, and a Poisson solve."""
    plan = make_plan(shape, dtype, batch)
    spacing = Grid(shape).spacing
    (ny, nx), number, random = shape, complex_type(plan.real), np.random.default_rng(0)

    def values(x, kind=plan.real):
        return wp.array(np.asarray(x, dtype), dtype=kind, device=device)

    def room(*shape, kind=plan.real):
        return wp.empty(shape, dtype=kind, device=device)

    fields = [random.standard_normal((batch, ny, nx)) for _ in range(2)]
    arrays = [
        values(column_modes(shape, spacing), plan.column_chunks.Mode),
        values(roots_of_unity(nx, dtype), number),
        *(values([x]) for x in (1e-3, 0.1, 1e-3)),
        *(values(random.standard_normal((1, 1, ny, nx))), *map(values, fields), room(batch, ny, nx)),
        *(room(count, batch, ny, nx) for count in (4, 3, 4, 4, 1)),
        room(batch * ny * 3),
    ]
    scratches = (
        plan.for_poisson.scratch(batch),
        plan.scratch(batch),
        plan.for_adjoint.scratch(batch, sides=1 + plan.for_adjoint.fused),
        plan.for_tangent.scratch(batch),
    )
    arrays += [room(*shape, kind=number) for shapes in scratches for shape in shapes]
    table = wp.array(np.array([a.ptr for a in arrays], np.uint64), dtype=wp.uint64, device=device)
    given = buffers(table, arrays)
    tables, (viscosity, drag, dt), (forcing, w, l, out) = Tables(*given[:2]), given[2:5], given[5:9]
    states, psis, work, dwork, forcing_sums = given[9:14]
    sums, spectra = given[14], iter(given[15:])
    alone, forth, back, both = ([next(spectra) for _ in shapes] for shapes in scratches)
    setting = Setting(plan, "arakawa", metric(spacing), 1, tables)
    forced, unforced = (parameters(viscosity, drag, dt, place) for place in (forcing.slices, NO_ARRAY))
    three, dthree = ([stack[s] for s in range(3)] for stack in (work, dwork))
    operators.copy(plan, w, states[0])
    poisson.poisson(plan, tables, w, out, *alone)
    for kernels in (stage, resident_stage) if plan.resident else (stage,):
        kernels.advance(setting, forced, w, [states[1], states[2], states[3]], psis, forth)
        kernels.advance(setting, unforced, w, three, [work[3]] * 3 if plan.through_memory else None, forth)
    for kernels in (sweep, resident_sweep) if plan.resident_adjoint else (sweep,):
        totals, fields = (sums, forcing_sums, None, None), [*three, work[3]][: 3 + plan.for_adjoint.through_memory]
        kernels.adjoint(setting, forced, dt, (states, psis), l, out, fields, back, totals)
    fits = plan.for_tangent.stage_lines.nbytes <= plan.shared_memory
    for kernels in [stage] * fits + [resident_stage] * (plan.resident_tangent is not None):
        of_psi = [(work[3], dwork[3])] * 3 if plan.for_tangent.through_memory else None
        kernels.tangent(setting, forced, forced, w, l, list(zip(three, dthree, strict=True)), of_psi, both)
    return float(np.abs(arrays[8].numpy()).max())


def one_spectral_step(shape, batch, dtype, device):
    """Launch a step with and without forcing, and with further terms, its adjoint with all sums, its tangent, and the
    bilinear operators."""
    plan = spectral_planner.make_plan(shape, dtype, "smooth", batch)
    plan = plan.on(cpu=True) if wp.get_device(device).is_cpu else plan
    random, modes, count = np.random.default_rng(0), (batch, *plan.modes), 3
    scale = symbols(plan.real).Scale()
    scale.y, scale.x, scale.gain = 1.0, 1.0, plan.gain

    def values(x, kind=plan.real):
        return wp.array(np.asarray(x, dtype), dtype=kind, device=device)

    def room(*shape, kind=plan.complex):
        return wp.empty(shape, dtype=kind, device=device)

    states = [values(random.standard_normal((*modes, 2)), plan.complex) for _ in range(3)]
    kept = values(random.standard_normal((count, *modes, 2)), plan.complex)
    work = [room(*modes) for _ in range(6)]
    halves = [room(*plan.halves(batch)[1]) for _ in range(2)]
    sums = room(batch * plan.parts(plan.sweep) * 4, kind=plan.real)
    arrays = [*(values(roots_of_unity(n, dtype), plan.complex) for n in shape), values(np.ones(sum(plan.modes)))]
    arrays += [
        *(values([x]) for x in (1e-3, 0.1, 1e-3)),
        values(random.standard_normal((1, 1, *modes[1:], 2)), plan.complex),
    ]
    arrays += [values([0.5]), values(0.1 * random.standard_normal((1, *modes[1:], 2)), plan.complex)]
    arrays += [room(1, *modes), sums, kept, *states, *work, *halves]
    table = wp.array(np.array([a.ptr for a in arrays], np.uint64), dtype=wp.uint64, device=device)
    given = buffers(table, arrays)
    tables = spectral_places.Tables(*given[:3])
    viscosity, drag, dt, forcing, screening, linear, by_step, sums, kept, w, dw, l = given[3:15]
    work, halves = given[15:21], given[21:]
    setting = spectral_setting.Setting(plan, "rk3", 1, scale, tables)
    forced, unforced = (parameters(viscosity, drag, dt, place) for place in (forcing.slices, NO_ARRAY))
    further = parameters(viscosity, drag, dt, forcing.slices, screening, linear)
    spectral_operators.advection(plan, scale, tables, w, work[0], halves[0])
    spectral_operators.transport(plan, scale, tables, w, dw, work[0], *halves)
    spectral_operators.pullback(plan, scale, tables, w, l, work[0], *halves)
    spectral_stage.advance(setting, unforced, w, [work[0]] * count, work[1:2], halves[:1])
    for given, by_linear in ((forced, None), (further, work[5])):
        totals = sums, by_step, by_linear
        spectral_stage.advance(setting, given, w, [kept[s] for s in range(count)], work[:1], halves[:1])
        spectral_sweep.adjoint(setting, given, w, kept, l, work[0], work[1:3], halves, totals)
        if plan.fits(plan.tangent, 4):
            spectral_stage.tangent(setting, given, given, w, dw, [work[:2]] * count, work[2:4], halves)
        if plan.resident:
            spectral_resident_stage.advance(setting, given, w, kept, True)
        if plan.resident_tangent:
            spectral_resident_stage.tangent(setting, given, given, w, dw, *work[:2])
        if plan.resident_sweep:
            spectral_resident_sweep.adjoint(setting, given, w, kept, l, work[0], totals)
    if plan.resident:
        spectral_resident_stage.advance(setting, unforced, w, work[0], False)
    return float(np.abs(arrays[15].numpy()).max())


def main(argv: list[str] | None = None):
    """Launch all cases, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--start", type=int, default=0, help="leave out so many cases")
    parser.add_argument("--every", type=int, default=1, help="take one in so many of the others")
    parser.add_argument("--discretisation", choices=("finite-difference", "spectral"), default="finite-difference")
    options = parser.parse_args(argv)
    spectral = options.discretisation == "spectral"
    cases, launch = (SPECTRAL_CASES, one_spectral_step) if spectral else (CASES, one_step)
    wp.config.log_level = wp.LOG_WARNING
    with wp.ScopedDevice(options.device):
        for case in cases[options.start :: options.every]:
            print(*case, launch(*case, options.device), flush=True)


if __name__ == "__main__":
    main()
