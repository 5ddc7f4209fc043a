"""Ctrl-C while kernels are compiled, or while XLA is about to call Python: a KeyboardInterrupt, perhaps late."""

import os
import signal
import subprocess
import sys
import time

import pytest
from layouts import fast_cases

from warpjaxns import _signals

KERNEL = """
import warp as wp, warpjaxns as wns

row = wp.array(dtype=wp.float32)

@wp.kernel(module="unique")
def double(x: row, y: row):
    i = wp.tid()
    y[i] = 2.0 * x[i]

double = wns.primitive(double)
"""
SCRIPT = """
import _thread, os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background programs begin by ignoring it
import jax, jax.numpy as jnp
import kernels

moment = sys.argv[1]
if moment == "compiling":  # the signal comes as soon as Warp's compiler runs
    import warp._src.build as build
    compile = build.build_cpu
    def build_cpu(*args, **kwargs):
        build.build_cpu = compile
        _thread.interrupt_main()
        return compile(*args, **kwargs)
    build.build_cpu = build_cpu
    program = jax.jit(kernels.double)
else:  # while XLA computes; Python sees it first in the call that follows
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # in the main thread, as on a GPU
    def program(x):
        return kernels.double(jax.lax.fori_loop(0, 100_000_000, lambda _, x: jnp.cos(x), x))
    program = jax.jit(program).lower(jnp.ones(3)).compile()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
print("begin", flush=True)
try:
    jax.block_until_ready(program(jnp.ones(3)))
    print("computed", flush=True)
    time.sleep(10)
except KeyboardInterrupt:
    print("interrupted", flush=True)
assert jax.jit(kernels.double)(jnp.ones(2))[1] == 2
print("and well", flush=True)
"""


@pytest.mark.full
@pytest.mark.parametrize("moment", fast_cases(["compiling", "computing"], 1))
def test_an_interrupt_in_a_call_from_xla(tmp_path, moment):
    (tmp_path / "kernels.py").write_text(KERNEL)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "WARP_CACHE_PATH": str(tmp_path / "cache"), "PYTHONPATH": path}
    command = [sys.executable, "-c", SCRIPT, moment]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    assert "Exception ignored" not in result.stderr
    words = [line for line in result.stdout.splitlines() if line in ("interrupted", "and well")]
    assert words == ["interrupted", "and well"]


@pytest.fixture
def handlers():
    """Restore the handlers after a test."""
    before = {number: signal.getsignal(number) for number in _signals.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", _signals.SIGNALS)
def test_any_handler_waits_and_then_runs_once(handlers, number):
    seen = []
    signal.signal(number, lambda *_: seen.append(time.perf_counter()))
    call = compile("def call(f):\n    f()", "a file of calls", "exec")
    namespace = {}
    exec(call, namespace)
    _signals.defer_signals("a file of calls")
    _signals.defer_signals("a file of calls")

    def work():
        signal.raise_signal(number)
        assert not seen

    namespace["call"](work)
    deadline = time.perf_counter() + 10
    while not seen and time.perf_counter() < deadline:
        time.sleep(1e-3)
    assert len(seen) == 1
    signal.raise_signal(number)  # outside, at once
    assert len(seen) == 2


def test_what_is_no_python_handler_stays(handlers):
    for action in (signal.SIG_DFL, signal.SIG_IGN):
        signal.signal(signal.SIGTERM, action)
        _signals.defer_signals("a file of calls")
        assert signal.getsignal(signal.SIGTERM) is action
