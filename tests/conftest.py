import contextlib
import gc
import importlib.util
import itertools
import os
import shutil
import tempfile

# Workers share a GPU, of which JAX would give three quarters to the first one.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# Several devices on the CPU, and less optimising, which would take most of the time. Set before JAX starts, in each
# worker of xdist; what the user chose wins.
# Without optimising at all, a program of XLA alone wrote out of bounds on an H200 (JAX 0.11, 8 x 512 x 512 points).
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=4 --xla_cpu_opt_preset=FAST_COMPILE "
    "--xla_cpu_parallel_codegen_split_count=1 --xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters "
    + ("" if os.path.exists("/dev/nvidia0") else "--xla_backend_optimization_level=0 ")
    + os.environ.get("XLA_FLAGS", "")
)

import coverings
import jax
import jaxtyping
import pytest

# Tracing makes much that stays; collections, which would find little, leave out what has been imported, and are fewer.
gc.freeze()
gc.set_threshold(10_000, 20, 20)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Programs are lowered faster without the places in Python that their operations come from.
jax.config.update("jax_traceback_in_locations_limit", 0)

MOST_WORKERS = 8  # one or two gigabytes each

# Annotations are checked in all modules that JAX users reach, but not in kernels: Warp reads their source.
CHECKED = ["_solver", "_operators", "_rollout", "_adjoint", "_checks", "_finite", "_grid", "_custom", "_primitives"]
CHECKED += ["_finite_difference", "_spectral"]
CHECKED += ["initial", "diagnostics", "experiments", "plotting", "forcing", "closures", "data", "_modes", "_coarsen"]
CHECKED += ["_velocity", "_arrays", "_scalars"]
CHECKED += ["benchmarks", "metrics"]

if importlib.util.find_spec("beartype"):
    import beartype

    check_annotations = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
    jaxtyping.install_import_hook([f"warpjaxns.{name}" for name in CHECKED], "conftest.check_annotations")

if jax.default_backend() == "cpu":
    import warp

    from warpjaxns._kernels.hardware import address_table

    # Kernels compile faster so, and no test needs fast ones; that loops are unrolled is for the registers of a GPU
    address_table.OPTIONS["module_options"]["max_unroll"] = 1
    warp.config.optimization_level = 0
    # Warp compiles its headers once a thread (two seconds). Kernels are compiled in XLA's threads, never two at a time.
    headers = tempfile.TemporaryDirectory(prefix="warp_headers_")
    warp._src.context.Runtime._get_or_create_pch_dir = lambda self: headers.name


@pytest.fixture(scope="session", autouse=True)
def programs_are_kept(tmp_path_factory):
    """Keep compiled programs on disk: what caches in memory have lost is not compiled again.

    Each worker has a folder, since JAX's writes are not atomic.
    """
    folder = tmp_path_factory.mktemp("programs")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    yield
    shutil.rmtree(folder)


FILES = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def little_left():
    """Clear JAX's caches after every fourth file. Files share small programs, but collections scan all that is kept."""
    yield
    if next(FILES) % 4 == 0:
        jax.clear_caches()


@pytest.fixture(scope="module", autouse=True)
def ranks_of_examples(request):
    """Examples broadcast as their readers do; the package does so in so many words."""
    examples = request.module.__name__.startswith("test_examples")
    with jax.numpy_rank_promotion("allow") if examples else contextlib.nullcontext():
        yield


@pytest.fixture(autouse=True)
def own_errors(request):
    """Turn annotations off for tests of the package's own errors."""
    disabled = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", "raises" in request.function.__code__.co_names)
    yield
    jaxtyping.config.update("jaxtyping_disable", disabled)


def pytest_addoption(parser):
    parser.addoption(
        "--full", action="store_true", help="run the full tier, not only the fast one (docs/contributing.md)"
    )
    parser.addoption("--rest", action="store_true", help="run what the full tier has besides the fast one")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Share the tests among processes, if there is pytest-xdist and the user has not said how."""
    option = config.option
    worker = hasattr(config, "workerinput")
    if not worker and getattr(option, "numprocesses", 0) is None and option.dist == "no" and not option.usepdb:
        option.numprocesses, option.dist = min(len(os.sched_getaffinity(0)), MOST_WORKERS), "worksteal"


def pytest_collection_modifyitems(config, items):
    named = any("::" in argument for argument in config.args)
    if not named:
        option = config.option
        tier = coverings.tier(items, option.full or option.rest)
        if option.rest:
            tier -= coverings.tier(items, False)
        config.hook.pytest_deselected(items=[item for item in items if item not in tier])
        items[:] = [item for item in items if item in tier]
    if any(device.platform == "gpu" for device in jax.devices()):
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def emulated_kernels(tmp_path_factory, worker_id):
    """Return the folder of kernels that are compiled for `emulator`, which all workers of xdist share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "emulated_kernels"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def compiled(caplog):
    """``compiled(f)`` is the names of the programs that JAX compiles while f() runs."""

    def names(f):
        caplog.clear()
        with jax.log_compiles():
            jax.block_until_ready(f())
        messages = [record.getMessage() for record in caplog.records]
        return [message.split()[1] for message in messages if message.startswith("Compiling ")]

    return names
