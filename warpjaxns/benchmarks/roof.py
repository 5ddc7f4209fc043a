"""The roof of throughput: measured memory bandwidth, and the bytes that a step moves at least."""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_count


def least_bytes(dtype: str = "float32", *, stages: int = 3, rows: int | None = 8, spectra: bool = False) -> int:
    """Return the bytes a point and time step that two kernels a Runge-Kutta stage move, if every array is read once.

    A half spectrum holds ``nx/2 + 1`` complex numbers a row: about as many bytes as a real field, w a point.

    - The row kernel reads the state and writes the new one: ``2 w`` a stage. With `spectra` it also reads the spectrum
      of the state and writes that of the new one: ``2 w`` more. Otherwise it transforms the rows of the state anew.
    - Stages after the first also read the state at the start of the step: ``w`` each.
    - Each slab of `rows` rows has two rows of sums. The row kernel and the kernel between two stages both read and
      write them: ``8 w / rows`` a stage. With `rows` None, full columns of spectra are read and written instead:
      ``2 w`` a stage.

    Parameters, tables and halo rows are left out. A grid that fits a cache may be faster than the bandwidth of device
    memory allows.

    | three stages in float32 | bytes |
    |---|---|
    | by slabs, rows transformed anew | 44 |
    | by slabs, with spectra | 68 |
    | by columns | 80 |
    """
    along_y = 2 * stages if rows is None else 8 * stages / rows
    by_row = 4 if spectra or rows is None else 2
    return round((by_row * stages + stages - 1 + along_y) * np.dtype(dtype).itemsize)


def bandwidth(*, megabytes: int | None = None, repeat: int = 7) -> dict:
    """Measure the memory bandwidth of the default device, by ``a <- b + s a`` (STREAM's triad, in place).

    Args:
        megabytes: size of each of the two arrays; None: 128 on a CPU, and 1024 on an accelerator, but at most a
            sixteenth of its memory.
        repeat: number of samples, of ten calls each.

    Returns:
        ``bytes_per_second`` of the fastest sample (two reads and a write), ``median`` of all samples, ``array_bytes``,
        and the raw ``seconds`` of one call.
    """
    if megabytes is None:
        memory = (jax.devices()[0].memory_stats() or {}).get("bytes_limit")
        megabytes = 128 if jax.default_backend() == "cpu" else min(1024, (memory or 2**34) // 2**24)
    count, calls = check_count("megabytes", megabytes, least=1) * 2**20 // 4, 10
    a, b = jnp.ones(count, jnp.float32), jnp.ones(count, jnp.float32)
    triad = jax.jit(lambda a, b: b + jnp.float32(0.5) * a, donate_argnums=0)
    a = jax.block_until_ready(triad(a, b))
    seconds = []
    for _ in range(check_count("repeat", repeat, least=1)):
        start = time.perf_counter()
        for _ in range(calls):  # separate calls: XLA would fuse the iterations of a loop
            a = triad(a, b)
        jax.block_until_ready(a)
        seconds.append((time.perf_counter() - start) / calls)
    moved = 3 * a.nbytes
    return {
        "bytes_per_second": moved / min(seconds),
        "median": moved / statistics.median(seconds),
        "array_bytes": a.nbytes,
        "seconds": seconds,
    }
