"""Other packages as contenders, each by a small adapter, if it is installed.

They solve the same equations from the same state with the same time step, and also evaluate the nonlinear term three
times a step. Their numerics differ. The benchmark compares the cost of a step, not its accuracy.
"""

import contextlib
import importlib
import importlib.util
import io
import time

import jax

from .contenders import Contender, Program, jax_builder

DIRECT = ("forward", "gradient direct", "jvp")  # reverse mode of a plain scan keeps all intermediate values


def peers() -> list[Contender]:
    """Return Exponax, JAX-CFD and Warp's own example. The `obstacle` of one that is not installed says so."""
    return [_exponax(), _jax_cfd(), _warp_example()]


def _exponax():
    def rollout(case, task, steps):
        import exponax  # pyright: ignore[reportMissingImports]

        with jax.numpy_dtype_promotion("standard"):
            stepper = exponax.stepper.NavierStokesVorticity(
                2, case.grid.extent[0], case.size, case.dt, diffusivity=case.viscosity, order=3
            )
        repeated = exponax.repeat(stepper, steps)
        return _per_member(lambda omega: repeated(omega[None])[0])

    numerics = "pseudo-spectral, 2/3 dealiased, ETDRK3 (Exponax)"
    return Contender("Exponax", numerics, _installed("exponax"), jax_builder(rollout), DIRECT)


def _jax_cfd():
    def rollout(case, task, steps):
        import jax.numpy as jnp
        from jax_cfd.base import funcutils, grids  # pyright: ignore[reportMissingImports]
        from jax_cfd.spectral import equations, time_stepping  # pyright: ignore[reportMissingImports]

        side = case.grid.extent[0]
        with jax.numpy_dtype_promotion("standard"):
            grid = grids.Grid((case.size, case.size), domain=((0, side), (0, side)))
            equation = equations.NavierStokes2D(case.viscosity, grid, smooth=True)
        repeated = funcutils.repeated(time_stepping.crank_nicolson_rk3(equation, case.dt), steps)
        # its first axis is x: without the transpositions the flow would be mirrored, and turn the other way
        return _per_member(lambda omega: jnp.fft.irfftn(repeated(jnp.fft.rfftn(omega.T)), s=omega.T.shape).T)

    numerics = "pseudo-spectral, 2/3 dealiased, Crank-Nicolson and RK3 (JAX-CFD)"
    return Contender("JAX-CFD", numerics, _installed("jax_cfd", "tree_math"), jax_builder(rollout), DIRECT)


def _per_member(rollout):
    def promoted(omega):
        with jax.numpy_dtype_promotion("standard"):  # peers mix types, which strict promotion refuses
            return rollout(omega)

    return lambda omega: jax.vmap(promoted)(omega) if omega.ndim == 3 else promoted(omega)


def _warp_example():
    example = "warp.examples.optim.example_navier_stokes_perturbation"
    builders = {"forward": _example_forward, "gradient direct": _example_gradient}

    def obstacle(case):
        if reason := _installed("warp.examples.optim")(case):
            return reason
        if importlib.util.find_spec(example) is None:
            return "this version of Warp does not ship it"
        if jax.default_backend() != "gpu":
            return "it is meant for CUDA"
        if (case.size, case.members, case.dtype) != (512, 1, "float32"):
            return "its grid is fixed: one member of 512² in float32"
        return None

    def build(case, task, steps):
        import warp as wp

        module, device = importlib.import_module(example), wp.get_device("cuda:0")
        start, before = time.perf_counter(), wp.get_mempool_used_mem_current(device)
        with wp.ScopedDevice(device), contextlib.redirect_stdout(io.StringIO()):
            run, outcome = builders[task](wp, module, steps)
        wp.synchronize_device(device)
        return Program(
            start=run,
            wait=lambda _: wp.synchronize_device(device),
            compile_seconds=time.perf_counter() - start,
            memory={"temporaries": wp.get_mempool_used_mem_current(device) - before},
            outcome=lambda _: jax.numpy.asarray(outcome()),
        )

    numerics = "second-order centred differences, SSP-RK3, tape (Warp's example), from its own state"
    return Contender("Warp's example", numerics, obstacle, build, tuple(builders))


def _example_forward(wp, module, steps):
    """Run the example's own time step, which it captures as one CUDA graph and launches once a step."""
    example = module.Example(spin_up_steps=1, lead_steps=1)
    states = [wp.clone(example.omega_0) for _ in range(4)]
    fft_buffers = example._allocate_poisson_fft_buffers()
    with wp.ScopedCapture() as capture:
        example._spin_up_step(*states, fft_buffers)

    capture.graph.arrays = states, fft_buffers  # a graph does not keep its arrays alive by itself

    def run():
        for _ in range(steps):
            wp.capture_launch(capture.graph)

    return run, lambda: states[0].numpy().T


def _example_gradient(wp, module, steps):
    """Run the example's forward and backward pass as one CUDA graph, and the graph that sets gradients to zero."""
    example = module.Example(spin_up_steps=1, lead_steps=steps)

    def run():
        wp.capture_launch(example.graph_forward_backward)
        wp.capture_launch(example.graph_project_and_reset)

    return run, lambda: example.omega_timesteps[-1].numpy().T


def _installed(*modules):
    def obstacle(_):
        for name in modules:
            try:
                importlib.import_module(name)
            except ImportError as error:
                missing = importlib.util.find_spec(name.partition(".")[0]) is None
                return "not installed" if missing else f"cannot be imported: {error}"
            except Exception as error:  # an old package on a new JAX fails in any way
                return f"cannot be imported: {type(error).__name__}: {error}"
        return None

    return obstacle
