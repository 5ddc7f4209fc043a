"""Steps of a divided grid whose slabs exchange messages by kernels: simulated devices against one device by XLA."""

import functools
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import warp as wp
from emulator import COMPILER, Emulator, emulated
from layouts import fast_cases
from lockstep import Lockstep
from oracle import normal
from test_divided import GRID, TOLERANCE, flow, mesh_of
from tolerances import relative_error

from warpjaxns import Grid, NavierStokes2D, _ffi, clear_caches
from warpjaxns._finite_difference import algebra
from warpjaxns._finite_difference.divided import peers
from warpjaxns._finite_difference.divided.slab import Slab
from warpjaxns._kernels.finite_difference.planner import make_divided_plan, make_plan
from warpjaxns._kernels.hardware import groups
from warpjaxns._primitives.operands import Operands, complete

STEPS = 2
AXES = Operands(1, None, None, None, 2, None, None, None, None)  # along which operands are cut
SEVERAL = Grid((32, 300), (8.0, 30.0))  # more than one block a row, and of sums
ALL = Operands(True, True, True, True, True, False, False, False, False)


def operands(grid, dtype, forcing=True, seed=0) -> Operands:
    """Return two members with numbers of their own, and a forcing that they share."""
    numbers = ([0.01, 0.02], [0.2], [0.03, 0.01])
    force = normal(seed + 1, (STEPS, 1, *grid.shape)) if forcing else np.zeros((1, 1, 1, 1))
    given = [jnp.asarray(values, dtype) for values in (*numbers, force)]
    return complete(Operands(flow(grid, dtype, (2,)), *given))


def tangents(grid, x: Operands) -> Operands:
    dtype = x.omega.dtype
    numbers = (jnp.asarray(values, dtype) for values in ([0.3], [0.1, 0.2], [0.7]))
    fields = (jnp.asarray(normal(5 + i, shape), dtype) for i, shape in enumerate((x.omega.shape, (1, 2, *grid.shape))))
    omega, force = fields
    return Operands(omega, *numbers, force, *x[5:])


def how(grid, parts, scheme):
    """Return the parameters of functions of a slab, and of those of the grid."""
    slab = Slab(grid.over(mesh_of(parts), "y"))
    common = {"scheme": scheme, "steps": STEPS}
    return common | {"slab": slab, "platform": "cpu"}, common | {"grid": grid, "backend": "xla"}


def close(parts, expected, axis=None, rows=None):
    """Compare the parts of a result; without an axis they are shares, whose sum it is."""
    if axis is None:
        actual = functools.reduce(jnp.add, parts)
    else:
        actual = jnp.concatenate([jax.lax.slice_in_dim(part, 0, rows, axis=axis) for part in parts], axis)
    assert relative_error(actual, expected) <= TOLERANCE[expected.dtype.name]


def swept(devices, by_slabs, x, cotangent, kept, wrt=ALL):
    """Return the parts of all cotangents, given the parts of what is kept."""

    def sweep(*operands):
        *given, here = operands
        return peers.adjoint(*given, *(parts[int(here[0])] for parts in kept), wrt=wrt, **by_slabs)

    return devices(sweep, [*x, cotangent, jnp.arange(devices.count)], [*AXES, 1, 0])


@pytest.mark.full  # in the fast tier, what is kept has the same steps
@pytest.mark.covering(1, 2)
@pytest.mark.parametrize("dtype", fast_cases(["float32", "float64"], 1))
@pytest.mark.parametrize("parts", fast_cases([1, 2, 4], 1))
@pytest.mark.parametrize("repeats", [1, 2])
@pytest.mark.parametrize("grid", fast_cases([GRID, SEVERAL], 0), ids=["one block", "several"])
def test_steps(dtype, parts, repeats, grid, monkeypatch):
    by_slabs, whole = how(grid, parts, "arakawa")
    x = operands(grid, dtype, forcing=repeats == 1)
    (out,) = Lockstep(parts, monkeypatch)(functools.partial(peers.advance, repeats=repeats, **by_slabs), x, AXES)
    state = x.omega
    for _ in range(repeats):
        (state,) = algebra.advance(*x._replace(omega=state), keep=False, direct=False, **whole)
    close(out, state, 1)


@pytest.mark.covering(1, 2)
@pytest.mark.parametrize("dtype", fast_cases(["float32", "float64"], 1))
@pytest.mark.parametrize("parts", fast_cases([2, 4], 0))
@pytest.mark.parametrize("grid", fast_cases([GRID, SEVERAL], 0), ids=["one block", "several"])
@pytest.mark.parametrize("scheme", fast_cases(["arakawa", "central"], 0))
def test_what_is_kept_and_the_sweep(dtype, parts, grid, scheme, monkeypatch):
    (by_slabs, whole), devices = how(grid, parts, scheme), Lockstep(parts, monkeypatch)
    x, cotangent = operands(grid, dtype), jnp.asarray(normal(3, (2, *grid.shape)), dtype)
    out, *kept = devices(functools.partial(peers.advance, keep=True, **by_slabs), x, AXES)
    state, states, psis = algebra.advance(*x, keep=True, direct=False, **whole)
    rows = grid.shape[0] // parts
    close(out, state, 1)
    close(kept[0], states, 2, rows)
    for here, there in ((0, 1), (1, 0)) if parts == 2 else ():  # rows m and -1 of all, of the other device
        for fields, end in ((kept[0], 1), (kept[1], 1)):
            mine, other = fields[here][:, :, rows:], fields[there][:, :, jnp.asarray([0, rows - 1])]
            scale = jnp.max(jnp.abs(other)) * TOLERANCE[dtype] * end
            assert jnp.max(jnp.abs(mine - other)) <= 10 * scale
    psi = [part[:, :, :rows] for part in kept[1]]
    mean = sum(jnp.mean(part, (2, 3), keepdims=True) for part in psi) / parts  # a constant that no derivative sees
    close([part - mean for part in psi], psis - jnp.mean(psis, (2, 3), keepdims=True), 2)

    omega, *shares, forcing = swept(devices, by_slabs, x, cotangent, kept)
    expected = algebra.adjoint(*x, cotangent, states, psis, keep=True, wrt=ALL, **whole)
    close(omega, expected[0], 1)
    close(forcing, expected[4], 2)
    for parts_of, total in zip(shares, expected[1:4], strict=True):
        close(parts_of, total)


@pytest.mark.covering(1, 2)
@pytest.mark.parametrize("dtype", fast_cases(["float32", "float64"], 1))
@pytest.mark.parametrize("parts", fast_cases([2, 4], 0))
@pytest.mark.parametrize("grid", fast_cases([GRID, SEVERAL], 0), ids=["one block", "several"])
def test_tangent(dtype, parts, grid, monkeypatch):
    by_slabs, whole = how(grid, parts, "arakawa")
    x = operands(grid, dtype)
    dx = tangents(grid, x)
    made = Lockstep(parts, monkeypatch)(functools.partial(peers.advance_jvp, **by_slabs), [*x, *dx], [*AXES, *AXES])
    for actual, expected in zip(made, algebra.advance_jvp(*x, *dx, **whole), strict=True):
        close(actual, expected, 1)


@pytest.mark.full
@pytest.mark.parametrize("lines", [1, 2])
def test_long_rows(lines, monkeypatch):
    """Psi goes through memory, with the rows around it, where a block has room for so few lines."""
    grid = Grid((16, 32), (2.0, 7.0))
    line = make_plan(grid.shape, "float64", 1, 1).stage_bytes
    monkeypatch.setattr(peers, "shared_memory", lambda: lines * line)
    assert make_divided_plan((8, 32), "float64", 2, lines * line).through_memory
    devices, (by_slabs, whole) = Lockstep(2, monkeypatch), how(grid, 2, "arakawa")
    x, cotangent = operands(grid, "float64"), jnp.asarray(normal(3, (2, *grid.shape)))
    (out,) = devices(functools.partial(peers.advance, **by_slabs), x, AXES)
    kept_out, *kept = devices(functools.partial(peers.advance, keep=True, **by_slabs), x, AXES)
    state, *stages = algebra.advance(*x, keep=True, direct=False, **whole)
    close(out, state, 1)
    close(kept_out, state, 1)
    omega, *_ = swept(devices, by_slabs, x, cotangent, kept)
    close(omega, algebra.adjoint(*x, cotangent, *stages, keep=True, wrt=ALL, **whole)[0], 1)
    dx = tangents(grid, x)
    made = devices(functools.partial(peers.advance_jvp, **by_slabs), [*x, *dx], [*AXES, *AXES])
    for actual, expected in zip(made, algebra.advance_jvp(*x, *dx, **whole), strict=True):
        close(actual, expected, 1)


@pytest.mark.full
@pytest.mark.skipif(COMPILER is None, reason="needs g++")
@pytest.mark.parametrize("parts", [2, 3])
def test_any_order_of_threads(parts, emulated_kernels, monkeypatch):
    """Blocks and threads, as on a GPU, run in any order, and no bit depends on it."""
    grid = Grid((24, 300), (6.0, 30.0))
    devices = Lockstep(parts, monkeypatch, (Emulator, "launch"))
    emulator = emulated(monkeypatch, emulated_kernels)
    by_slabs, whole = how(grid, parts, "arakawa")
    x, cotangent = operands(grid, "float64"), jnp.asarray(normal(3, (2, *grid.shape)))
    dx, found = tangents(grid, x), []
    for emulator.order in range(5):
        out, *kept = devices(functools.partial(peers.advance, keep=True, **by_slabs), x, AXES)
        dout = devices(functools.partial(peers.advance_jvp, **by_slabs), [*x, *dx], [*AXES, *AXES])[1]
        omega, *_ = swept(devices, by_slabs, x, cotangent, kept)
        found.append((out, dout, omega))
    for other in found[1:]:
        jax.tree.map(np.testing.assert_array_equal, found[0], other)
    state, *stages = algebra.advance(*x, keep=True, direct=False, **whole)
    close(found[0][0], state, 1)
    close(found[0][1], algebra.advance_jvp(*x, *dx, **whole)[1], 1)
    close(found[0][2], algebra.adjoint(*x, cotangent, *stages, keep=True, wrt=ALL, **whole)[0], 1)


@pytest.mark.full
@pytest.mark.parametrize("forcing", [True, False])
def test_kernels_are_loaded_beforehand(forcing, monkeypatch):
    """Every kernel of a segment is loaded when it is traced: later, a device that loads one may wait for others."""
    by_slabs, _ = how(GRID, 2, "arakawa")
    devices, x = Lockstep(2, monkeypatch), operands(GRID, "float64", forcing)
    load, loaded = peers.kernels.load_kernels, set()

    def loads(kernels, on):
        loaded.update(kernels)
        load(kernels, on)

    monkeypatch.setattr(peers.kernels, "load_kernels", loads)

    def checked(run):
        loaded.clear()
        devices.launched.clear()
        made = run()
        assert devices.launched
        assert devices.launched <= loaded
        return made

    checked(lambda: devices(functools.partial(peers.advance, **by_slabs), x, AXES))
    _, *kept = checked(lambda: devices(functools.partial(peers.advance, keep=True, **by_slabs), x, AXES))
    dx = tangents(GRID, x)
    checked(lambda: devices(functools.partial(peers.advance_jvp, **by_slabs), [*x, *dx], [*AXES, *AXES]))
    for wrt in (ALL, ALL._replace(viscosity=False, drag=False, dt=False, forcing=False)):
        checked(functools.partial(swept, devices, by_slabs, x, x.omega, kept, wrt))


def test_devices_that_make_calls_together(monkeypatch):
    """A device that is ahead lets others make their calls, which hold Warp's lock."""
    monkeypatch.setattr(groups, "_calls", type(groups._calls)())
    group = groups.Group((0, 1, 2), ("cuda:0", "cuda:1", "cuda:2"))
    calls = groups.Together([groups.Mailboxes(group, "sums", [], (), None)])
    assert not any(map(calls.ahead, group.own))
    calls.count("cuda:1")
    assert [calls.ahead(device) for device in group.own] == [False, True, False]
    calls.count("cuda:0")
    made = []

    def other():
        with _ffi.CALLBACK_LOCK:
            made.append(calls.ahead("cuda:1"))
            calls.count("cuda:2")

    thread = threading.Thread(target=other)
    with _ffi.CALLBACK_LOCK:
        thread.start()
        _ffi._let_others_go_on(lambda: calls.ahead("cuda:1"))
        assert _ffi.CALLBACK_LOCK.locked()
        assert made == [True]
        assert not calls.ahead("cuda:1")
    thread.join()
    monkeypatch.setattr(_ffi, "MOST_AHEAD", 0.01)
    calls.count("cuda:1")
    with _ffi.CALLBACK_LOCK:
        _ffi._let_others_go_on(lambda: calls.ahead("cuda:1"))  # not for ever
    assert calls.ahead("cuda:1")


def test_a_message_that_does_not_come(monkeypatch):
    """A device that has left out a turn sends the next one too early; on the CPU no kernel waits."""
    by_slabs, _ = how(GRID, 2, "arakawa")
    devices, x = Lockstep(2, monkeypatch), operands(GRID, "float64")
    advance = functools.partial(peers.advance, **by_slabs)
    (first,) = devices(advance, x, AXES)
    (second,) = devices(advance, x, AXES)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    for each in groups.all_made[-2:]:
        turns = each.mailboxes[0].turns
        turns.assign(turns.numpy() - 1)
    (late,) = devices(advance, x, AXES)
    assert all(jnp.all(jnp.isnan(part)) for part in late)
    with pytest.raises(
        RuntimeError, match=r"30 s without a message between the devices 0, 1.* call .*clear_caches\(\)"
    ):
        devices(advance, x, AXES)
    clear_caches()
    (third,) = devices(advance, x, AXES)
    np.testing.assert_array_equal(first[0], third[0])


def test_errors(monkeypatch):
    grid = GRID.over(mesh_of(4), "y", "peers")
    with pytest.raises(ValueError, match=r'exchange="peers" cannot be used here: .*; use exchange="auto"'):
        NavierStokes2D(grid, viscosity=1.0, dt=0.1)
    with pytest.raises(ValueError, match=r"exchange='post': expected one of 'auto', 'gather', 'near', 'peers'"):
        GRID.over(mesh_of(4), "y", "post")
    assert groups.Group(tuple(range(9)), ("cuda:0",) * 9).obstacle() == "9 devices are more than 8"


class InThreads:
    """Two processes that are threads: `groups.Processes` for each of them."""

    numbers = 0, 1

    def __init__(self):
        self.given, self.barrier, self.local = {}, threading.Barrier(2, timeout=60), threading.local()

    def share(self, name, given):
        self.given[name, self.local.here] = given
        self.barrier.wait()
        return [self.given[name, here] for here in range(2)]

    def meet(self, name):
        self.given.setdefault(name, []).append(self.local.here)
        self.barrier.wait()
        assert sorted(self.given[name]) == [0, 1]  # a name is used once

    def __call__(self, function):
        def run(here):
            self.local.here = here
            return function(groups.Group((3, 5), tuple("cpu" if here == slab else None for slab in range(2)), self))

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(run, range(2)))


def test_memory_of_other_processes(monkeypatch):
    """Each process has the addresses of all, and all begin anew together."""
    monkeypatch.setattr(groups, "all_made", [])
    monkeypatch.setattr(wp.array, "ipc_handle", lambda array: array.ptr.to_bytes(64, "little"))

    def mapped(handle, dtype, shape, device):
        return wp.array(ptr=int.from_bytes(handle, "little"), dtype=dtype, shape=shape, device=device)

    monkeypatch.setattr(wp, "from_ipc_handle", mapped)
    processes = InThreads()
    first, second = processes(lambda group: groups.mailboxes.__wrapped__("sums", group, 40, 6, 2))
    assert [mailbox is None for mailbox in (*first.mailboxes, *second.mailboxes)] == [False, True, True, False]
    mine, other = first.of("cpu"), second.of("cpu")
    assert (mine.here, other.here) == (0, 1)
    np.testing.assert_array_equal(mine.addresses.numpy(), other.addresses.numpy())
    numbers, flags = np.split(mine.addresses.numpy(), 2)
    np.testing.assert_array_equal(flags, numbers + 40)
    first.memory[1].fill_(7)
    assert (second.memory[1].numpy() == 7).all()
    second.broken.fill_(1)
    with pytest.raises(RuntimeError, match=r"600 s .* devices 3, 5: .*in all processes"):
        second.check()
    for turn in range(2):
        processes(lambda group, turn=turn: (first, second)[group.here.index("cpu")].reset(turn))
    second.check()
    assert not second.memory[1].numpy().any()
    assert groups.Together([first]).ahead("cpu") is False

    monkeypatch.setattr(wp, "from_ipc_handle", lambda *given, **_: wp.zeros(given[2], dtype=given[1], device="cpu"))
    with pytest.raises(RuntimeError, match=r'cpu cannot map the memory of device .*use exchange="gather"'):
        processes(lambda group: groups.mailboxes.__wrapped__("rows", group, 40, 6, 2))


def test_processes_that_cannot_exchange_messages(monkeypatch):
    processes = InThreads()
    monkeypatch.setattr(processes, "numbers", (0, 1, 1))
    group = groups.Group((0, 1, 2), ("cuda:0", None, None), processes)  # the other process has two
    assert "a process has several of its devices, and not all" in group.obstacle()
    monkeypatch.undo()
    given = {"is_ipc_supported": False}
    monkeypatch.setattr(wp, "get_device", lambda _: types.SimpleNamespace(**given))
    (said, _) = processes(lambda group: group.obstacle())
    assert said == "cpu cannot share its memory with other processes"
    given["is_ipc_supported"] = None  # unknown
    groups._several_hosts.cache_clear()
    assert processes(lambda group: group.obstacle()) == [None, None]
    groups._several_hosts.cache_clear()
    share = processes.share
    monkeypatch.setattr(processes, "share", lambda name, given: share(name, given + bytes([processes.local.here])))
    assert processes(lambda group: group.obstacle()) == ["its devices belong to several hosts"] * 2
    groups._several_hosts.cache_clear()


def test_turns_that_overflow(monkeypatch):
    """After 2^31 turns counts are negative."""
    by_slabs, _ = how(GRID, 2, "arakawa")
    devices, x = Lockstep(2, monkeypatch), operands(GRID, "float64")
    advance = functools.partial(peers.advance, **by_slabs)
    (first,) = devices(advance, x, AXES)
    for each in groups.all_made[-2:]:
        for mailbox in each.mailboxes:
            turns = mailbox.turns.numpy()
            turns[::2] = 2**31 - 2
    (later,) = devices(advance, x, AXES)
    np.testing.assert_array_equal(first[0], later[0])
