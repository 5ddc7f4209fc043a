"""Programs that leave the process: exported, or found again by the names of their foreign calls."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import warp as wp
from oracle import normal
from tolerances import ROLLOUT, assert_trees_close

from warpjaxns import Checkpointed, Direct, FiniteDifference, Grid, NavierStokes2D
from warpjaxns._names import name_of

GRID = Grid((6, 10), (2.0, 3.5))


def make(**options):
    return NavierStokes2D(GRID, viscosity=0.01, dt=0.05, check_finite=False, **options)


FULL = pytest.mark.full


@pytest.mark.parametrize(
    "adjoint",
    [pytest.param(Direct(), marks=FULL), Checkpointed(), pytest.param(Checkpointed(2), marks=FULL)],
    ids=["direct", "default", "every 2"],
)
def test_a_symbolic_number_of_members(adjoint):
    solver = make(backend="xla", adjoint=adjoint)
    loss = jax.value_and_grad(lambda w: jnp.sum(solver.rollout(w, steps=6) ** 2))
    (members,) = jax.export.symbolic_shape("members")
    exported = jax.export.export(jax.jit(loss))(jax.ShapeDtypeStruct((members, *GRID.shape), jnp.float64))
    for n in (1, 3):
        omega = normal(n, (n, *GRID.shape))
        assert_trees_close(exported.call(omega), loss(omega), ROLLOUT)


def targets(advection):
    solver = make(backend="warp", discretisation=FiniteDifference(advection))
    lowered = jax.jit(lambda w: solver.rollout(w, steps=2)).lower(jnp.zeros(GRID.shape, jnp.float32))
    return sorted(set(re.findall(r"warpjaxns_\w+", lowered.as_text())))


IN_ANOTHER_PROCESS = """
import sys
sys.path[:0] = {path}
import test_export
print(*test_export.targets("central"))
print(*test_export.targets("arakawa"))
"""


@pytest.mark.full
def test_targets_have_the_same_names_in_another_process():
    arakawa, central = targets("arakawa"), targets("central")
    assert len({*arakawa, *central}) == len(arakawa) + len(central) > 1
    program = IN_ANOTHER_PROCESS.format(path=sys.path)  # which comes to them in the other order
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert [line.split() for line in out.splitlines()[-2:]] == [central, arakawa]


def kernel(scale: float):
    @wp.kernel(module="unique", enable_backward=False)
    def multiply(x: wp.array(dtype=wp.float32)):
        x[wp.tid()] *= scale

    return multiply


def test_names_of_what_differs_differ():
    values = [1, 1.0, True, "1", b"1", None, (1,), ((1,),), Grid((4, 4)), Grid((4, 5)), wp.vec2f, wp.vec2d, wp.float32]
    values += [kernel(2.0), kernel(3.0)]
    names = {name_of(value) for value in values}
    assert len(names) == len(values)
    assert name_of(Grid((4, 4))) == name_of(Grid((4, 4)))
    with pytest.raises(TypeError, match="has no name"):
        name_of(np.zeros(3))
