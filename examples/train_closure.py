"""A neural network as a closure: it models the effect of scales that a coarse grid does not resolve.

The truth is Kolmogorov flow on a fine grid, filtered to a coarse one. On the coarse grid the solver alone loses it
within a few turnover times. An Equinox network corrects the state every few steps. It is trained through rollouts of
solver and network together ("solver in the loop": Um et al. 2020, arXiv 2007.00016; Kochkov et al. 2021,
doi:10.1073/pnas.2101784118). On trajectories it has not seen, it is compared with the coarse solver alone and with
Smagorinsky's eddy viscosity, whose constant is tuned on the training trajectories by the same loss.

    python examples/train_closure.py            # about a minute on two CPU cores
    python examples/train_closure.py --full     # 512 x 512 to 64 x 64, a larger network: for a GPU
    srun python examples/train_closure.py --full --distributed    # on all GPUs of all processes
"""

import argparse
import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

import warpjaxns as wns
from warpjaxns import plotting

Model = Callable[[Float[Array, "ny nx"]], Float[Array, "ny nx"]]  # the state one block of steps later


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the flow in a box of side 2 pi, of the data, of the network and of its training."""

    fine: int = 128
    coarse: int = 32
    waves: int = 4  # of the Kolmogorov forcing, whose amplitude is 1
    viscosity: float = 1e-3
    drag: float = 0.1
    block: float = 0.32  # time between corrections ...
    every: int = 8  # ... in steps of the coarse solver; a step of the fine one is shorter as its spacing is
    spin_up: float = 4.0
    training: int = 8  # trajectories ...
    held_out: int = 4
    blocks: int = 24  # ... and their length
    channels: int = 16
    layers: int = 4
    unroll: int = 5  # blocks of a training rollout
    batch: int = 5
    iterations: int = 250
    learning_rate: float = 6e-3
    seed: int = 0
    discretisation: wns.FiniteDifference | wns.Spectral = wns.FiniteDifference()


# The smooth filter keeps the same waves as the filter of the truth.
DISCRETISATIONS = {"finite-difference": wns.FiniteDifference(), "spectral": wns.Spectral(dealiasing="smooth")}
DEFAULT = Settings()
QUICK = dataclasses.replace(DEFAULT, fine=64, coarse=16, waves=2, viscosity=2e-3, training=4, held_out=2, blocks=12)
QUICK = dataclasses.replace(QUICK, every=4, spin_up=2.0, channels=8, layers=3, unroll=3, batch=4, iterations=300)
FULL = dataclasses.replace(DEFAULT, fine=512, coarse=64, viscosity=1e-4, every=16, spin_up=20.0, unroll=6)
FULL = dataclasses.replace(
    FULL, training=64, held_out=16, channels=32, layers=6, batch=32, iterations=5000, learning_rate=1e-3
)


MEMBERS = PartitionSpec("members")  # one axis of devices


# ---- Three models of the flow on the coarse grid, each a function from a state to the state a block later


class Uncorrected(eqx.Module):
    """The coarse solver as it is."""

    solver: wns.NavierStokes2D
    every: int = eqx.field(static=True)

    def __call__(self, omega):
        """The vorticity ``(ny, nx)``, `every` steps later."""
        return self.solver.rollout(omega, steps=self.every)


class Smagorinsky(eqx.Module):
    """The coarse solver with an eddy viscosity, evaluated at every step."""

    solver: wns.NavierStokes2D
    constant: Float[Array, ""]
    every: int = eqx.field(static=True)

    def __call__(self, omega):
        """The vorticity ``(ny, nx)``, `every` steps later."""

        def step(omega, _):
            how = {"discretisation": self.solver.discretisation}
            eddies = wns.closures.smagorinsky(self.solver.grid, omega, self.constant, **how)
            return self.solver.rollout(omega, steps=1, forcing=eddies[None]), None

        return jax.lax.scan(step, omega, length=self.every)[0]


class Learned(eqx.Module):
    """The coarse solver, corrected after every block of steps by a convolutional network."""

    solver: wns.NavierStokes2D
    network: list[eqx.nn.Conv2d]
    scale: Float[Array, ""]  # rms vorticity: the network sees and gives numbers of order one
    every: int = eqx.field(static=True)

    def __init__(self, solver, scale, *, every, channels, layers, key):
        self.solver, self.scale, self.every = solver, scale, every
        sizes = [1, *[channels] * (layers - 1), 1]
        keys = jax.random.split(key, layers)
        # Periodic padding, as the box is: the correction moves with the flow.
        self.network = [
            eqx.nn.Conv2d(*pair, 5, padding="SAME", padding_mode="CIRCULAR", dtype=scale.dtype, key=key)
            for pair, key in zip(itertools.pairwise(sizes), keys, strict=True)
        ]
        # Training starts near the uncorrected solver.
        self.network[-1] = jax.tree.map(lambda leaf: 0.03 * leaf, self.network[-1])

    def __call__(self, omega):
        """The vorticity ``(ny, nx)``, `every` steps later."""
        omega = self.solver.rollout(omega, steps=self.every)
        return omega + self.correction(omega)

    def correction(self, omega):
        """Return the network's correction of a state. It has no mean: a periodic flow conserves its total vorticity."""
        features = (omega / self.scale)[None]
        for layer in self.network[:-1]:
            features = jax.nn.gelu(layer(features))
        correction = self.scale * self.network[-1](features)[0]
        return correction - jnp.mean(correction)


def forecast(model: Model, omega: Float[Array, "members ny nx"], blocks: int, unroll: int = 1) -> Array:
    """Return the states after 1, 2, ... `blocks` blocks, ``(blocks, members, ny, nx)``."""

    def block(omega, _):
        omega = jax.vmap(model)(omega)
        return omega, omega

    return jax.lax.scan(block, omega, length=blocks, unroll=unroll)[1]


# ---- Data


def simulate(settings: Settings, mesh: Mesh) -> tuple[wns.NavierStokes2D, Array]:
    """Return the coarse solver, and filtered trajectories of the fine one, ``(blocks + 1, members, ny, nx)``.

    The devices of the mesh simulate a flow each at a time: all need not fit into memory.
    """
    fine, coarse = (wns.Grid((n, n)) for n in (settings.fine, settings.coarse))
    ratio = settings.fine // settings.coarse
    dt, every = settings.block / settings.every, settings.every * ratio
    how = {"discretisation": settings.discretisation}
    parameters: dict[str, Any] = {"viscosity": settings.viscosity, "drag": settings.drag, **how}
    force = wns.forcing.kolmogorov(fine, settings.waves, 1.0, **how, dtype="float32")
    truth = wns.NavierStokes2D(fine, dt=dt / ratio, forcing=force, **parameters)
    # The coarse solver has the same discretisation, so that the network competes with a good one. Training rollouts are
    # short and small: storing their stages is cheap and saves time. The loss shows whether one is not finite.
    force = wns.coarsen(fine, force, coarse.shape)
    solver = wns.NavierStokes2D(coarse, dt=dt, forcing=force, adjoint=wns.Direct(), check_finite=False, **parameters)

    count = settings.training + settings.held_out

    def run(member):
        key = jax.random.split(jax.random.key(settings.seed), count)[member]
        omega = wns.initial.decaying_turbulence(fine, key=key, peak_wavenumber=settings.waves, dtype="float32")
        omega = truth.rollout(omega, steps=round(settings.spin_up * ratio / dt))
        movie = truth.rollout(omega, steps=every * settings.blocks, save_every=every)
        return wns.coarsen(fine, jnp.concatenate([omega[None], movie]), coarse.shape)

    together = jax.jit(jax.vmap(run, out_axes=1), out_shardings=NamedSharding(mesh, PartitionSpec()))
    members = np.arange(count + -count % mesh.size).reshape(-1, mesh.size) % count
    flows = [np.asarray(together(jax.device_put(some, NamedSharding(mesh, MEMBERS)))) for some in members]
    return solver, jnp.concatenate(flows, axis=1)[:, :count]


# ---- Training


def mismatch(grid: wns.Grid, states: Array, truth: Array, scale: Array) -> Float[Array, ""]:
    """Return the loss of rollouts ``(blocks, members, ny, nx)``: squared errors of states and of log spectra.

    The error of the state alone favours blurred vortices over misplaced ones. That of the spectrum ignores phases, and
    keeps small vortices.
    """
    error = jnp.mean((states - truth) ** 2) / scale**2
    spectra = [jnp.mean(spectrum(grid, omega), axis=1) for omega in (states, truth)]
    return error + jnp.mean((jnp.log(spectra[0]) - jnp.log(spectra[1])) ** 2)


def spectrum(grid: wns.Grid, omega: Array) -> Array:
    """Return energy spectra ``(..., shells)``, of the full shells of the grid only, which the filter keeps in full."""
    return wns.diagnostics.energy_spectrum(grid, omega)[1][..., : (min(grid.shape) - 1) // 2]


def train(
    model: Learned, trajectories: Array, settings: Settings, mesh: Mesh, report=print
) -> tuple[Learned, np.ndarray]:
    """Return the model with its network trained, and the losses. The devices of the mesh share each batch."""
    # Viscosity, dt, drag and forcing are differentiable leaves of the model too: only the network is to change.
    trainable = jax.tree.map(lambda _: False, model)
    trainable = eqx.tree_at(lambda m: m.network, trainable, jax.tree.map(eqx.is_array, model.network))
    network, fixed = eqx.partition(model, trainable)

    schedule = optax.cosine_onecycle_schedule(settings.iterations, settings.learning_rate, pct_start=0.1)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    # XLA's convolutions on the CPU are several times slower inside a loop.
    unroll = settings.unroll if jax.default_backend() == "cpu" else 1
    grid = model.solver.grid

    def loss_of(network, window):
        model = eqx.combine(network, fixed)
        states = forecast(model, window[0], settings.unroll, unroll)
        return mismatch(grid, states, window[1:], model.scale)

    everywhere = NamedSharding(mesh, PartitionSpec())

    @functools.partial(jax.jit, out_shardings=everywhere)
    def iterate(network, state, key):
        window = draw(trajectories, settings.unroll + 1, settings.batch, key)
        window = jax.lax.with_sharding_constraint(window, NamedSharding(mesh, PartitionSpec(None, *MEMBERS)))
        loss, gradient = jax.value_and_grad(loss_of)(network, window)
        update, state = optimiser.update(gradient, state)
        return eqx.apply_updates(network, update), state, loss

    network, state = jax.device_put((network, optimiser.init(network)), everywhere)
    losses = np.zeros(settings.iterations)
    for i, key in enumerate(jax.random.split(jax.random.key(settings.seed + 1), settings.iterations)):
        network, state, loss = iterate(network, state, key)
        losses[i] = loss
        if not math.isfinite(losses[i]):
            raise FloatingPointError(f"The loss of iteration {i} is {losses[i]}: lower the learning rate")
        if i % 50 == 0 or i == settings.iterations - 1:
            report(f"iteration {i:4d}   loss {losses[i]:.4f}")
    return eqx.combine(jax.tree.map(jnp.asarray, jax.device_get(network)), fixed), losses


def draw(trajectories: Array, length: int, batch: int, key: Array) -> Float[Array, "length batch ny nx"]:
    """Return windows of `length` successive states, from random trajectories at random times."""
    times, members = trajectories.shape[:2]
    of_time, of_member = jax.random.split(key)
    start = jax.random.randint(of_time, (batch,), 0, times - length + 1)
    member = jax.random.randint(of_member, (batch,), 0, members)
    return trajectories[start + jnp.arange(length)[:, None], member]


def tune(solver: wns.NavierStokes2D, trajectories: Array, scale: Array, settings: Settings) -> Smagorinsky:
    """Return Smagorinsky's model with the constant of the lowest loss over all training trajectories."""
    window = windows(trajectories, settings.unroll)

    @jax.jit
    def loss_of(constant):
        states = forecast(Smagorinsky(solver, constant, settings.every), window[0], settings.unroll)
        return mismatch(solver.grid, states, window[1:], scale)

    constants = jnp.linspace(0, 0.3, 13, dtype=scale.dtype)
    losses = jnp.stack([loss_of(constant) for constant in constants])
    return Smagorinsky(solver, constants[jnp.nanargmin(losses)], settings.every)


def windows(trajectories: Array, blocks: int) -> Float[Array, "blocks_and_start members ny nx"]:
    """Return trajectories cut into forecasts of `blocks` blocks from known states, as members."""
    starts = range(0, trajectories.shape[0] - blocks, blocks)
    return jnp.concatenate([trajectories[start : start + blocks + 1] for start in starts], axis=1)


# ---- Comparison on held-out trajectories


def compare(models: dict[str, Model], solver: wns.NavierStokes2D, trajectories: Array, settings: Settings) -> dict:
    """Return states, correlations and spectra of the truth and of every model, and the figures of the table."""
    truth = windows(trajectories, settings.blocks // 2)
    times = settings.block * np.arange(truth.shape[0])
    spectra = {"truth": np.mean(spectrum(solver.grid, truth[1:]), axis=(0, 1))}

    def time_above(correlations, threshold):
        return float(np.mean(wns.metrics.correlation_time(times, correlations, threshold=threshold)))

    states, correlations, table = {"truth": np.asarray(truth)}, {}, {}
    for name, model in models.items():
        ahead = eqx.filter_jit(forecast)(model, truth[0], truth.shape[0] - 1)
        ahead = jnp.concatenate([truth[:1], ahead])
        states[name] = np.asarray(ahead)
        correlations[name] = np.asarray(wns.metrics.correlation(solver.grid, ahead, truth))
        spectra[name] = np.mean(spectrum(solver.grid, ahead[1:]), axis=(0, 1))
        horizon = slice(1, settings.unroll + 1)
        error = jnp.sqrt(jnp.mean((ahead[horizon] - truth[horizon]) ** 2) / jnp.mean(truth[horizon] ** 2))
        table[name] = {
            "error": float(error),
            "time_0.9": time_above(correlations[name], 0.9),
            "time_0.8": time_above(correlations[name], 0.8),
            "spectrum": float(np.sqrt(np.mean(np.log10(spectra[name] / spectra["truth"]) ** 2))),
        }
    return {"times": times, "states": states, "correlations": correlations, "spectra": spectra, "table": table}


def print_table(table: dict[str, dict[str, float]], settings: Settings) -> None:
    """Print the measured figures."""
    horizon = settings.unroll * settings.block
    print(f"\n{'held-out forecasts':20s} error to t = {horizon:.3g}   correlation > 0.9   > 0.8   error of log10 E(k)")
    for name, row in table.items():
        print(f"{name:20s} {row['error']:16.3f} {row['time_0.9']:19.2f} {row['time_0.8']:7.2f} {row['spectrum']:21.3f}")


# ---- The picture

BLUE, ORANGE, GREEN = plotting.CURVES[:3]
COLOURS = {"truth": "black", "coarse": ORANGE, "Smagorinsky": BLUE, "learned": GREEN}
LABELS = {
    "truth": "filtered truth",
    "coarse": "coarse solver",
    "Smagorinsky": "with Smagorinsky",
    "learned": "with the network",
}


def picture(result: dict, losses: np.ndarray, grid: wns.Grid):
    """Draw fields at one time, correlations, spectra and losses."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 8.2), layout="constrained")
    top, bottom = cast(Any, figure.subfigures(2, 1, height_ratios=[1, 1.05]))
    _fields(top, result, grid)
    of_correlation, of_spectrum, of_loss = bottom.subplots(1, 3)
    _correlations(of_correlation, result)
    _spectra(of_spectrum, result)
    _losses(of_loss, losses)
    for axes in (of_correlation, of_spectrum, of_loss):
        plotting.clean_axes(axes)
    return figure


def _fields(figure, result, grid):
    # A time at which the coarse solver has lost the flow, and the network has not.
    correlations = {name: values.mean(axis=1) for name, values in result["correlations"].items()}
    when = int(np.argmax(correlations["learned"] - correlations["coarse"]))
    limit = float(np.quantile(np.abs(result["states"]["truth"]), 0.995))
    panels, image = figure.subplots(1, 4, sharey=True), None
    for axes, (name, states) in zip(panels, result["states"].items(), strict=True):
        title = LABELS[name][0].upper() + LABELS[name][1:]
        if name != "truth":
            title += f", correlation {result['correlations'][name][when, 0]:.2f}"
        image = plotting.vorticity(axes, grid, states[when, 0], title=title, limit=limit, units=None)
        if name != "truth":
            axes.set_ylabel("")
    bar = figure.colorbar(image, ax=panels, extend="both", extendfrac=0.03, aspect=28, pad=0.01)
    bar.set_label(r"$\omega$ [1/time]")
    figure.suptitle(f"A held-out flow on {grid.shape[0]} x {grid.shape[1]} points, t = {result['times'][when]:.2f}")


def _correlations(axes, result):
    for name, values in result["correlations"].items():
        low, high = np.quantile(values, [0.1, 0.9], axis=1)
        label = f"{LABELS[name]}: above 0.8 to t = {result['table'][name]['time_0.8']:.2f}"
        axes.fill_between(result["times"], low, high, color=COLOURS[name], alpha=0.15, linewidth=0)
        axes.plot(result["times"], values.mean(axis=1), color=COLOURS[name], label=label)
    axes.axhline(0.8, color="0.5", linewidth=1, linestyle=":")
    members = result["correlations"]["learned"].shape[1]
    title = f"Correlation with the truth: mean and 10-90 % of {members}"
    axes.set(title=title, xlabel="t [time]", ylim=(-0.05, 1.03))
    axes.legend(frameon=False, fontsize=9)


def _spectra(axes, result):
    for name, values in result["spectra"].items():
        style = {"linewidth": 3, "alpha": 0.4} if name == "truth" else {}
        axes.loglog(np.arange(1, values.size + 1), values, color=COLOURS[name], label=LABELS[name], **style)
    axes.set(title="Energy spectrum, mean over times and members", xlabel="k [1/length]", ylabel="E(k) [length³/time²]")
    axes.legend(frameon=False, fontsize=9)


def _losses(axes, losses):
    axes.plot(losses, color=COLOURS["learned"], linewidth=0.8, alpha=0.4, label="an iteration")
    width = max(len(losses) // 15, 1)
    middle = np.arange(len(losses) - width + 1) + (width - 1) / 2
    mean = np.convolve(losses, np.ones(width) / width, "valid")
    axes.plot(middle, mean, color=COLOURS["learned"], label=f"mean of {width}")
    axes.set(title="Training loss", xlabel="iteration", ylim=(0, None))
    axes.legend(frameon=False, fontsize=9)


def main(argv: list[str] | None = None) -> dict:
    """Train a closure, compare it with other models, save model and picture, and return the figures."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a tiny case, in seconds")
    size.add_argument("--full", action="store_true", help="512 x 512 to 64 x 64 points, for a GPU")
    parser.add_argument("--iterations", type=int, help="of the optimiser")
    parser.add_argument("--seed", type=int, default=0, help="of the flows and of the network (default: 0)")
    parser.add_argument("--discretisation", choices=DISCRETISATIONS, default="finite-difference")
    parser.add_argument("--batch", type=int, help="trajectories of a batch, a multiple of the devices")
    parser.add_argument("--distributed", action="store_true", help="share batches among all devices of all processes")
    joining = parser.add_argument_group("processes, where jax.distributed does not find them by itself")
    joining.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
    joining.add_argument("--process", type=int, metavar="I", help="number of this process")
    joining.add_argument("--processes", type=int, metavar="N", help="number of all processes")
    parser.add_argument("--output", type=Path, default=Path("results/train_closure"), metavar="FOLDER")
    options = parser.parse_args(argv)
    settings = QUICK if options.quick else FULL if options.full else DEFAULT
    settings = dataclasses.replace(settings, seed=options.seed, iterations=options.iterations or settings.iterations)
    settings = dataclasses.replace(settings, discretisation=DISCRETISATIONS[options.discretisation])
    settings = dataclasses.replace(settings, batch=options.batch or settings.batch)
    if options.distributed and not jax.distributed.is_initialized():
        jax.distributed.initialize(options.coordinator, options.processes, options.process)
    devices = jax.devices() if options.distributed else jax.devices()[:1]
    mesh = jax.make_mesh((len(devices),), tuple(MEMBERS), (AxisType.Auto,), devices=devices)
    if settings.batch % mesh.size:
        larger = settings.batch + -settings.batch % mesh.size
        parser.error(f"argument --batch: {mesh.size} devices cannot share {settings.batch} evenly, but {larger}")

    start = time.perf_counter()

    def say(text):
        if jax.process_index() == 0:
            print(f"{time.perf_counter() - start:6.1f} s   {text}", flush=True)

    say(f"simulating {settings.training + settings.held_out} flows on {settings.fine} x {settings.fine} points")
    solver, trajectories = simulate(settings, mesh)
    training, held_out = trajectories[:, : settings.training], trajectories[:, settings.training :]
    scale = jnp.sqrt(jnp.mean(training**2))

    say("tuning Smagorinsky's constant")
    smagorinsky = tune(solver, training, scale, settings)
    say(f"C = {float(smagorinsky.constant):.3f}; training the network")
    learned = Learned(
        solver,
        scale,
        every=settings.every,
        channels=settings.channels,
        layers=settings.layers,
        key=jax.random.key(settings.seed + 2),
    )
    learned, losses = train(learned, training, settings, mesh, say)

    models = {"coarse": Uncorrected(solver, settings.every), "Smagorinsky": smagorinsky, "learned": learned}
    result = compare(models, solver, held_out, settings)
    say("compared")
    if jax.process_index() == 0:  # the others have the same, and write nothing
        print_table(result["table"], settings)
        options.output.mkdir(parents=True, exist_ok=True)
        eqx.tree_serialise_leaves(options.output / "closure.eqx", learned)
        picture(result, losses, solver.grid).savefig(options.output / "train_closure.png", dpi=110)
        print(f"\nModel and picture: {options.output}")
    return {"model": learned, "constant": float(smagorinsky.constant), "losses": losses, **result["table"]}


if __name__ == "__main__":
    main()
