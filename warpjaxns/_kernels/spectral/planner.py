"""Makes plans from the tables of `tuning` and the limits of the device."""

from ..hardware.limits import LARGEST_BLOCK, SHARED_MEMORY
from .plan import Plan


def make_plan(
    shape: tuple[int, int], dtype: str, dealiasing: str, batch: int = 1, shared_memory: int | None = None
) -> Plan:
    """Return the plan for a grid shape, float type, dealiasing and number of members.

    `shared_memory`: bytes that a block of the device may use; None: the most that a plan uses.
    """
    allowed = min(SHARED_MEMORY, shared_memory or SHARED_MEMORY)
    return Plan(shape, dtype, dealiasing, shared_memory=allowed)


def unsupported(plan: Plan, shared_memory: int | None) -> str | None:
    """Return why a device cannot run a plan, or None. `shared_memory`: its bytes a block; None: no limit."""
    threads, need = plan.need()
    if threads > LARGEST_BLOCK:
        return f"shape {plan.shape} needs more than {LARGEST_BLOCK} threads a block"
    if shared_memory is not None and need > shared_memory:
        return (
            f"shape {plan.shape} in {plan.dtype} needs {need // 1024} KiB of shared memory a block, "
            f"the device has {shared_memory // 1024}; use a smaller grid or float32"
        )
    return None
