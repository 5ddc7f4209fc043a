"""Faults of what a process finds: caches, variables, versions, children, the memory of a GPU."""

import shutil
import sys
from pathlib import Path

from faults_generate import undisturbed
from processes import AS_NOBODY, PATH, SOLVE, Outcome, fault, finish, quoted, ran, start

OLDER = {"jax": ("0.10.1", "0.4.8"), "warp-lang": ("1.18.0", "0.3.1")}  # the last unsupported ones, and the first
CHILDREN = """
import multiprocessing, sys, warnings
import jax.numpy as jnp, numpy as np
from warpjaxns import data

def read(windows, number):
    return float(windows[number]["vorticity"].sum())

if __name__ == "__main__":
    warnings.simplefilter("ignore")  # JAX warns of fork
    jnp.ones(3).block_until_ready()
    windows = data.open(sys.argv[1]).windows(2)
    expected = [read(windows, i) for i in range(4)]
    for kind in ("fork", "spawn"):
        with multiprocessing.get_context(kind).Pool(2) as pool:
            assert pool.starmap(read, [(windows, i) for i in range(4)]) == expected, kind
    print("right")
"""
TOO_LARGE = """
import itertools, re, jax, jax.numpy as jnp, warpjaxns as wns
from concurrent.futures import ThreadPoolExecutor
grid = wns.Grid((1024, 1024))
def refused(case):
    backend, discretisation, gradient = case
    solver = wns.NavierStokes2D(
        grid, viscosity=1e-4, dt=1e-3, discretisation=discretisation, backend=backend, adjoint=wns.Direct()
    )
    run = lambda omega: solver.rollout(omega, steps=60_000, save_every=1)
    if gradient:
        run = jax.grad(lambda omega: jnp.sum(solver.rollout(omega, steps=40_000) ** 2))
    try:
        jax.block_until_ready(jax.jit(run)(jnp.zeros(grid.shape)))
    except jax.errors.JaxRuntimeError as error:
        found = re.search(r"memory.*allocat\\w+ ([\\d.]+) ?(\\w+)", str(error))
        assert found, error
        return f"{float(found[1]) / 1e9:.0f} GB" if found[2] == "bytes" else f"{found[1]} {found[2]}"
    raise AssertionError("it fits")
cases = itertools.product(("warp", "xla"), (wns.FiniteDifference(), wns.Spectral()), (False, True))
with ThreadPoolExecutor() as pool:  # on a GPU, XLA waits ten seconds for memory before it says that there is none
    sizes = list(pool.map(refused, cases))
""" + SOLVE.replace('print("right")', 'print("refused for", ", ".join(sizes), "and then right")')


@fault("two processes on one empty cache of kernels")
def one_cache(folder: Path, kills: int) -> Outcome:
    """Compile the same kernels at the same time."""
    processes = [start(code=SOLVE, WARP_CACHE_PATH=str(folder)) for _ in range(2)]
    results = [finish(process) for process in processes]
    return Outcome(f"exit codes {[code for code, _ in results]}", all(code == 0 for code, _ in results))


@fault("a cache of kernels whose files are cut in half")
def damaged_cache(folder: Path, kills: int) -> Outcome:
    """Compile kernels, damage what is kept of them, and run again."""
    assert ran(code=SOLVE, WARP_CACHE_PATH=str(folder))[0] == 0
    objects = list(folder.rglob("*.o"))
    for path in objects:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    code, said = ran(code=SOLVE, WARP_CACHE_PATH=str(folder))
    if code == 0:
        return Outcome(f"{len(objects)} kernels were compiled again", True)
    shutil.rmtree(folder)
    return Outcome(f"{quoted(code, said)}; right once the cache is removed", ran(code=SOLVE)[0] == 0)


@fault("a cache of kernels that is read-only")
def locked_cache(folder: Path, kills: int) -> Outcome:
    """Compile where the user may not write."""
    folder.chmod(0o555)
    code, said = ran(code=AS_NOBODY + SOLVE, WARP_CACHE_PATH=str(folder), HOME=str(folder))
    return Outcome(quoted(code, said), code == 0 or "ermission" in said)


@fault("no `HOME`")
def homeless(folder: Path, kills: int) -> Outcome:
    """Solve by both backends without a home."""
    code, said = ran(code=SOLVE, HOME=None, XDG_CACHE_HOME=None)
    return Outcome(quoted(code, said), code == 0)


@fault("`CUDA_VISIBLE_DEVICES=` and no `JAX_PLATFORMS`")
def no_devices(folder: Path, kills: int) -> Outcome:
    """Solve on a machine whose GPUs are hidden."""
    code, said = ran(code=SOLVE, CUDA_VISIBLE_DEVICES="", JAX_PLATFORMS=None)
    return Outcome(quoted(code, said), code == 0)


@fault("`fork` and `spawn` after JAX has run; each child reads a training set")
def children(folder: Path, kills: int) -> Outcome:
    """Read a file in children of both kinds."""
    undisturbed(folder)
    (folder / "child.py").write_text(CHILDREN)
    words = (sys.executable, str(folder / "child.py"), str(folder / "undisturbed.h5"))
    code, said = ran(command=words)
    return Outcome(quoted(code, said), code == 0)


def _older(package: str, version: str):
    @fault(f"{package} {version} is installed")
    def older(folder: Path, kills: int) -> Outcome:
        """Put an older version before the one that is installed."""
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder))
        code, said = ran(f"{package}=={version}", command=pip)
        assert code == 0, said
        code, said = ran(code="import warpjaxns", PYTHONPATH=f"{folder}:{PATH}")
        return Outcome(quoted(code, said), code == 1 and f"needs {package}>=" in said and f"found {version}" in said)


for _package, _versions in OLDER.items():
    for _version in _versions:
        _older(_package, _version)


@fault("`JAX_PLATFORMS=cpu` on a machine with a GPU", gpu=True)
def cpu_of_gpu(folder: Path, kills: int) -> Outcome:
    """Solve on the CPU though there is a GPU."""
    code, said = ran(code=SOLVE, JAX_PLATFORMS="cpu")
    return Outcome(quoted(code, said), code == 0)


@fault("`CUDA_VISIBLE_DEVICES=` on a machine with a GPU", gpu=True)
def hidden(folder: Path, kills: int) -> Outcome:
    """Hide the GPU there is."""
    return no_devices(folder, kills)


@fault("rollouts, and gradients, too large for 12 GiB of a CPU; then a small rollout")
def too_large(folder: Path, kills: int) -> Outcome:
    """Ask for more memory than there is, by each engine and backend."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))"
    code, said = ran(code=limit + TOO_LARGE)
    return Outcome(quoted(code, said), code == 0)


@fault("rollouts, and gradients, too large for a GPU; then a small rollout", gpu=True)
def too_large_for_gpu(folder: Path, kills: int) -> Outcome:
    """Ask for more memory than a GPU has."""
    code, said = ran(code=TOO_LARGE, JAX_PLATFORMS=None)
    return Outcome(quoted(code, said), code == 0)


@fault("JAX has all memory of a GPU when kernels are loaded", gpu=True)
def no_memory_left(folder: Path, kills: int) -> Outcome:
    """Set all memory aside for JAX before Warp loads a kernel."""
    code, said = ran(code=SOLVE, JAX_PLATFORMS=None, XLA_PYTHON_CLIENT_MEM_FRACTION="1.0")
    return Outcome(quoted(code, said), code == 0 or "memory" in said)
