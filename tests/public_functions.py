"""Public functions with a good value and bad values of each argument, for `test_properties`."""

import functools

import hypothesis.strategies as st
import numpy as np
from bad_arguments import (
    GRID,
    KEY,
    OMEGA,
    junk,
    not_adjoint,
    not_batch,
    not_count,
    not_discretisation,
    not_dtype,
    not_extent,
    not_field,
    not_flag,
    not_grid,
    not_key,
    not_mask,
    not_mean,
    not_non_negative,
    not_obstacle,
    not_one_real,
    not_option,
    not_pair,
    not_positive,
    not_real,
    not_scalars,
    not_shape,
    not_solver,
    not_state,
    not_static,
    traced,
)

import warpjaxns as wns
from warpjaxns import experiments

FIELD, BACKEND, DTYPE, FLAG = not_field(), not_option("auto", "warp", "xla"), not_dtype(), not_flag()
KEYS = not_key()
REAL, POSITIVE = not_one_real(), st.one_of(not_one_real(), not_positive())
LENGTH = st.one_of(POSITIVE, st.just(1e3))
STATIC, STATIC_LENGTH = st.one_of(POSITIVE, not_static()), st.one_of(LENGTH, not_static())
GRIDS = (GRID, not_grid())
COUNT, COUNT0 = not_count(1), not_count(0)
FIELD_OF_NUMBERS = st.sampled_from([1.0, np.ones(3), np.ones((10, 6))])  # of any type, but not on `GRID`


def functions():
    """Return every function with its arguments: a good value of each, and a strategy for bad ones."""

    def there(value):
        return value is not None

    solver = wns.NavierStokes2D(GRID, viscosity=0.1, dt=0.01, backend="warp")
    body, scalar = (
        wns.Obstacle(np.where(OMEGA > 0, 0.5, 0.0), 0.1),
        wns.Scalar(diffusivity=0.1, mean_gradient=(1.0, 0.0)),
    )
    modes = {"viscosity": 0.1, "dt": 0.01, "discretisation": wns.Spectral("rk3"), "backend": "xla"}
    carrying, around = (wns.NavierStokes2D(GRID, **modes, **more) for more in ({"scalars": scalar}, {"obstacle": body}))
    state, pair = (wns.State(OMEGA, (OMEGA,)), not_state(FIELD)), ((1.0, 2.0), not_pair().filter(there))
    omega, ours = (OMEGA, FIELD), (solver, not_solver())
    alone = solver, st.one_of(not_solver(), st.just(carrying))
    waves = (OMEGA - OMEGA.mean(), st.one_of(FIELD, st.just(np.ones(GRID.shape))))
    forces = (np.stack([OMEGA] * 2), st.one_of(FIELD, st.just(np.zeros((3, *GRID.shape)))))
    steps = (2, st.one_of(COUNT0, st.just(3)))
    number, positive, static, backend = (1.0, REAL), (0.1, POSITIVE), (1.0, STATIC), ("warp", BACKEND)
    key, dtype = (KEY, KEYS), ("float64", DTYPE)
    numerics = {"discretisation": (wns.Spectral("rk3"), not_discretisation())}
    differences = {"discretisation": (wns.FiniteDifference("central"), not_discretisation())}
    parameter = st.one_of(not_real(), not_non_negative(), st.just(np.asarray([0.1, -0.1])))
    step = st.one_of(not_real(), not_positive(), st.just(np.asarray([0.1, 0.0])))
    spectrum = st.one_of(
        not_real().filter(lambda value: not callable(value) and not isinstance(value, list)),
        not_non_negative(),
        st.sampled_from([np.ones((2, 2)), np.ones(99), [-1.0], ["a"], 1.0]),
    )
    saves = st.one_of(
        junk(),
        traced(np.asarray([1, 2])),
        st.sampled_from([(), (2, 1), (1, 1), (-1, 2), (1, 3), (1.0, 2), 2, ((1,), 2)]),
    )
    values = st.one_of(junk(), st.sampled_from([np.ones(3), np.ones((2, 3), int)[::2], None, 1.0, np.zeros((0,))]))
    times, series = (np.arange(4.0), values), (np.linspace(0.9, 0.1, 4), values)
    members = (np.stack([OMEGA] * 2), st.one_of(FIELD, st.just(np.zeros((3, *GRID.shape)))))

    # a good value by finite differences, a good value by Fourier modes, and bad ones; all may be None
    terms = {
        "beta": (1.0, 1.0, not_real()),
        "mean_flow": ((1.0, 2.0), (1.0, 2.0), not_pair()),
        "hyperviscosity": (None, 0.1, parameter),
        "hypodrag": (None, 0.1, parameter),
        "deformation_radius": (1.0, 1.0, step),
        "topography": (OMEGA, OMEGA, FIELD),
        "obstacle": (body, (body, body), not_obstacle()),
        "scalars": ((scalar,), (scalar,), not_scalars(FIELD)),
    }
    by_differences, by_modes = (
        {name: (given[which], given[2].filter(there)) for name, given in terms.items()} for which in range(2)
    )
    one_field = st.one_of(FIELD, st.just(np.zeros((2, *GRID.shape))))
    initial, forcing, diagnostics, closures, obstacles = (
        getattr(wns, name) for name in ("initial", "forcing", "diagnostics", "closures", "obstacles")
    )
    on_grid = {"grid": GRIDS, "omega": omega}
    of_solver = {"solver": ours, "omega": omega}
    return {
        "Grid": (wns.Grid, {"shape": ((6, 10), not_shape()), "extent": ((2.0, 3.5), not_extent())}),
        "NavierStokes2D": (
            wns.NavierStokes2D,
            {
                "grid": GRIDS,
                "viscosity": (0.1, st.one_of(parameter, st.just(1e32))),
                "dt": (0.01, st.one_of(step, st.just(1e32))),
                "drag": (0.1, st.one_of(parameter, st.just(1e32))),
                "forcing": (OMEGA, FIELD),
                **by_differences,
                "hyperviscosity_order": (3, COUNT),
                **differences,
                "adjoint": (wns.Direct(), not_adjoint()),
                "backend": ("xla", BACKEND),
                "check_finite": (False, FLAG),
            },
        ),
        "NavierStokes2D by modes": (
            functools.partial(wns.NavierStokes2D, GRID, viscosity=0.1, dt=0.01, discretisation=wns.Spectral()),
            by_modes,
        ),
        "Scalar": (
            wns.Scalar,
            {"diffusivity": (0.1, parameter), **dict.fromkeys(("mean_gradient", "buoyancy"), pair)},
        ),
        "Obstacle": (
            wns.Obstacle,
            {"mask": (body.mask, not_mask()), "permeability": (0.1, step), "restores": (True, FLAG)},
        ),
        "from_signed_distance": (
            obstacles.from_signed_distance,
            {
                "grid": GRIDS,
                "distance": (OMEGA, st.one_of(not_real().filter(lambda value: not callable(value)), FIELD_OF_NUMBERS)),
                "permeability": (0.1, step),
                "width": (0.5, POSITIVE.filter(there)),
                "restores": (True, FLAG),
                "dtype": dtype,
            },
        ),
        "cylinder": (
            obstacles.cylinder,
            {
                "grid": GRIDS,
                "centre": ((1.0, 2.0), st.one_of(not_pair(), st.just((np.ones(2), 1.0)))),
                "radius": positive,
                "permeability": (0.1, step),
                "width": (0.5, POSITIVE.filter(there)),
                "dtype": dtype,
            },
        ),
        "displacement": (
            obstacles.displacement,
            {name: (1.0, st.one_of(not_real(), not_positive())) for name in ("permeability", "viscosity", "width")},
        ),
        "fringe": (
            obstacles.fringe,
            {
                "grid": GRIDS,
                "start": number,
                "length": positive,
                "permeability": (0.1, step),
                "width": (0.5, POSITIVE.filter(there)),
                "dtype": dtype,
            },
        ),
        "FiniteDifference": (wns.FiniteDifference, {"advection": ("central", not_option("arakawa", "central"))}),
        "Spectral": (
            wns.Spectral,
            {
                "integrator": ("rk3", not_option("rk4", "rk3")),
                "dealiasing": ("smooth", not_option("two-thirds", "smooth")),
            },
        ),
        "Checkpointed": (
            wns.Checkpointed,
            {
                "every": (2, st.one_of(not_one_real(), st.floats(), st.integers(max_value=0), not_static())),
                "keep_last": (True, FLAG),
            },
        ),
        "rollout": (
            solver.rollout,
            {
                "omega0": omega,
                "steps": steps,
                "save_every": (2, st.one_of(COUNT.filter(there), st.just(3))),
                "include_initial": (True, FLAG),
                "forcing": forces,
                "first_step": (0, st.one_of(st.integers(max_value=-1), st.sampled_from([0.5, "1", np.ones(2, int)]))),
                "check": ("flag", not_option("raise", "flag").filter(there)),
            },
        ),
        "rollout to saves": (
            solver.rollout,
            {"omega0": omega, "steps": (2, st.one_of(COUNT0.filter(there), st.just(1))), "save_at": ((1, 2), saves)},
        ),
        "adaptive_steps": (
            wns.adaptive_steps,
            {
                "solver": ours,
                "omega": omega,
                **dict.fromkeys(("until", "courant", "longest"), (0.1, st.one_of(step, st.just(np.ones(3))))),
                "every": (2, COUNT),
                "most_segments": (2, COUNT),
                "check": ("flag", not_option("raise", "flag").filter(there)),
            },
        ),
        "step": (solver.step, {"omega": omega}),
        "rollout of scalars": (
            carrying.rollout,
            {
                "omega0": state,
                "steps": (2, COUNT0),
                "forcing": forces,
                "check": ("flag", not_option("raise", "flag").filter(there)),
            },
        ),
        "step of scalars": (carrying.step, {"omega": state}),
        "tendency of scalars": (carrying.tendency, {"omega": state}),
        "term_rates": (around.term_rates, {"omega": omega}),
        "term_rates of scalars": (carrying.term_rates, {"omega": state}),
        "tendency": (solver.tendency, {"omega": omega}),
        "solver.streamfunction": (solver.streamfunction, {"omega": omega}),
        "velocity": (solver.velocity, {"omega": omega}),
        "solver.cfl": (solver.cfl, {"omega": omega}),
        "streamfunction": (wns.streamfunction, {**on_grid, **differences, "backend": backend}),
        "laplacian": (wns.laplacian, {"grid": GRIDS, "a": omega, **differences, "backend": backend}),
        "jacobian": (wns.jacobian, {"grid": GRIDS, "a": omega, "b": omega, **differences, "backend": backend}),
        "vorticity_of": (wns.vorticity_of, {"grid": GRIDS, "u": waves, "v": waves}),
        "velocity_of": (wns.velocity_of, {**on_grid, "mean": ((1.0, 2.0), not_mean())}),
        "coarsen": (wns.coarsen, {**on_grid, "shape": ((4, 6), st.one_of(not_shape(), st.just((8, 8))))}),
        "info": (wns.info, {"grid": (GRID, not_grid().filter(there)), "dtype": dtype, **differences}),
        "warmup": (
            wns.warmup,
            {"solver": ours, "batch": ((1,), not_batch()), "dtype": dtype, "gradient": (True, FLAG)},
        ),
        "warmup of scalars": (functools.partial(wns.warmup, carrying), {"batch": ((1,), not_batch())}),
        "taylor_green": (
            initial.taylor_green,
            {"grid": GRIDS, "wavenumber": (1, st.one_of(COUNT, st.just(9))), "amplitude": number, "dtype": dtype},
        ),
        "vortex_merger": (
            initial.vortex_merger,
            {"grid": GRIDS, "separation": (0.5, LENGTH), "radius": (0.2, LENGTH), "amplitude": number, "dtype": dtype},
        ),
        "double_shear_layer": (
            initial.double_shear_layer,
            {"grid": GRIDS, "thickness": (0.1, LENGTH), "perturbation": number, "speed": number, "dtype": dtype},
        ),
        "lamb_dipole": (
            initial.lamb_dipole,
            {"grid": GRIDS, "radius": (0.5, STATIC_LENGTH), "speed": number, "dtype": dtype},
        ),
        "from_velocity": (initial.from_velocity, {"grid": GRIDS, "u": waves, "v": waves, **numerics}),
        "decaying_turbulence": (
            initial.decaying_turbulence,
            {
                "grid": GRIDS,
                "key": key,
                "peak_wavenumber": (1.0, STATIC_LENGTH),
                "shape": (3, STATIC),
                "energy": positive,
                **numerics,
                "dtype": dtype,
            },
        ),
        "random_vorticity": (
            initial.random_vorticity,
            {
                "grid": GRIDS,
                "key": key,
                "max_wavenumber": (1.0, st.one_of(STATIC_LENGTH, st.just(0.5))),
                "smoothness": (1, st.one_of(REAL, not_static(), not_non_negative())),
                "dtype": dtype,
            },
        ),
        "from_spectrum": (
            initial.from_spectrum,
            {"grid": GRIDS, "spectrum": (np.ones(2), spectrum), "key": key, **numerics, "dtype": dtype},
        ),
        "kolmogorov": (
            forcing.kolmogorov,
            {
                "grid": GRIDS,
                "wavenumber": (1, st.one_of(COUNT, st.just(9))),
                "amplitude": number,
                **numerics,
                "dtype": dtype,
            },
        ),
        "Sine": (
            functools.partial(forcing.Sine, OMEGA),
            dict.fromkeys(("frequency", "phase", "amplitude"), (1.0, not_real())),
        ),
        "Exponential": (
            functools.partial(forcing.Exponential, OMEGA),
            dict.fromkeys(("rate", "amplitude"), (1.0, not_real())),
        ),
        "Piecewise": (
            functools.partial(forcing.Piecewise, OMEGA),
            {"amplitudes": (np.ones(2), st.one_of(not_real(), st.just(1.0))), "every": (1, COUNT)},
        ),
        "Linear": (forcing.Linear, {"rate": (1.0, not_real())}),
        "OrnsteinUhlenbeck": (
            forcing.OrnsteinUhlenbeck,
            {
                "wavenumbers": ((1, 2), st.one_of(junk(), st.sampled_from([(2, 1), (0, 1), (1.0,), ("a", "b")]))),
                "amplitude": (1.0, parameter),
                "correlation_time": (1.0, step),
                "key": (KEY, st.one_of(junk(), st.just(np.zeros(2, np.uint32)))),
            },
        ),
        "sampled": (
            forcing.sampled,
            {
                "law": (forcing.Sine(OMEGA, 1.0), st.one_of(junk(), st.just(OMEGA))),
                "grid": GRIDS,
                "steps": (2, COUNT0),
                "dt": (0.1, step),
                "first_step": (0, st.one_of(st.integers(max_value=-1), st.sampled_from([0.5, "1", np.ones(2, int)]))),
                **numerics,
                "dtype": dtype,
            },
        ),
        "from_momentum": (forcing.from_momentum, {"grid": GRIDS, "fx": omega, "fy": omega, **numerics}),
        "ring_noise": (
            forcing.ring_noise,
            {
                "grid": GRIDS,
                "key": key,
                "steps": (2, COUNT0),
                "dt": positive,
                "energy_rate": positive,
                "wavenumber": (1.0, STATIC_LENGTH),
                "width": static,
                **numerics,
                "dtype": dtype,
            },
        ),
        "smagorinsky": (closures.smagorinsky, {**on_grid, "constant": number, **numerics}),
        "strain_rate": (closures.strain_rate, {**on_grid, **numerics}),
        **{
            name: (getattr(wns.metrics, name), {**on_grid, "reference": omega, **more})
            for name, more in {"nrmse": {}, "correlation": {}, "spectral_error": numerics}.items()
        },
        "correlation_time": (
            wns.metrics.correlation_time,
            {"times": times, "correlation": series, "threshold": number},
        ),
        "divergence_rate": (wns.metrics.divergence_rate, {"times": times, "separation": series, "most": number}),
        "separation": (wns.metrics.separation, {**on_grid, "other": omega}),
        "fundamental_wavenumber": (diagnostics.fundamental_wavenumber, {"grid": GRIDS}),
        "fourier_modes": (diagnostics.fourier_modes, {"grid": GRIDS, **numerics}),
        "enstrophy": (diagnostics.enstrophy, on_grid),
        **{
            name: (getattr(diagnostics, name), {**on_grid, **numerics})
            for name in ("energy", "palinstrophy", "energy_spectrum", "integral_scale", "energy_flux", "enstrophy_flux")
        },
        "body_force": (
            diagnostics.body_force,
            {"solver": (around, not_solver()), "omega": omega, "body": (body, not_obstacle().filter(there))},
        ),
        **{
            name: (
                getattr(diagnostics, name),
                {"solver": (carrying, st.one_of(not_solver(), st.just(solver))), "state": state},
            )
            for name in ("scalar_budgets", "scalar_fluxes")
        },
        "gradient_norm": (diagnostics.gradient_norm, {"grid": GRIDS, "c": omega, **numerics}),
        "mix_norm": (diagnostics.mix_norm, {"grid": GRIDS, "c": omega, "order": (1.0, STATIC), **numerics}),
        "budgets": (diagnostics.budgets, {**of_solver, "omega": members, "forcing": members}),
        "cfl": (diagnostics.cfl, of_solver),
        "resolution": (diagnostics.resolution, of_solver),
        "reynolds_number": (
            diagnostics.reynolds_number,
            {**of_solver, "length": (1.0, st.one_of(not_real(), not_positive()))},
        ),
        "lyapunov_exponent": (
            diagnostics.lyapunov_exponent,
            {
                "solver": alone,
                "omega": (OMEGA, one_field),
                "key": key,
                "steps": (2, st.one_of(COUNT, st.just(3))),
                "renormalise_every": (2, st.one_of(COUNT, st.just(3))),
                "transient": (0, st.one_of(COUNT0, st.just(3))),
                "forcing": forces,
            },
        ),
        "developed_turbulence": (
            experiments.developed_turbulence,
            {"solver": alone, "key": key, "spin_up": (1, COUNT0), "dtype": dtype},
        ),
        "peak_wavenumber": (experiments.peak_wavenumber, {"grid": GRIDS}),
        "gain": (
            experiments.gain,
            {"solver": alone, "base": omega, "perturbation": omega, "steps": (1, COUNT0)},
        ),
        "random_perturbation": (
            experiments.random_perturbation,
            {"base": (OMEGA, st.one_of(junk(), st.none())), "norm": (0.1, POSITIVE), "key": key},
        ),
        "optimal_perturbation": (
            experiments.optimal_perturbation,
            {
                "solver": alone,
                "base": (OMEGA, st.one_of(one_field, st.just(np.zeros(GRID.shape)))),
                "perturbation": (OMEGA, st.one_of(one_field, st.just(np.zeros(GRID.shape)))),
                "steps": (1, COUNT),
                "radius": (0.1, STATIC),
                "learning_rate": (0.1, STATIC),
                "iterations": (1, COUNT),
            },
        ),
    }


FUNCTIONS = functions()
ARGUMENTS = [(name, argument) for name, (_, arguments) in FUNCTIONS.items() for argument in arguments]
