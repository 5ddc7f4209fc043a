"""Programmatic dependent launch: a kernel of a CUDA graph begins while the previous one ends.

Captured launches depend on each other in full: a kernel starts when the last block of the previous one has finished.
CUDA 12.3 and later also have *programmatic* dependencies (CUDA driver API, `CUgraphEdgeData`). The kernel then starts
as soon as all blocks of the previous one are running. It waits inside (`intrinsics.synchronise_dependent_launch`)
before it touches what they write. Its launch, instructions and constants are loaded meanwhile, which takes a good part
of the time of a kernel of a few microseconds.

Warp records full dependencies only, so this file changes the captured graph.
"""

import collections
import ctypes

PROGRAMMATIC = 1  # CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC, and the port of a kernel at which it begins
KERNEL = 0  # CU_GRAPH_NODE_TYPE_KERNEL


class _Edge(ctypes.Structure):
    _fields_ = [
        ("from_port", ctypes.c_ubyte),
        ("to_port", ctypes.c_ubyte),
        ("type", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte * 5),
    ]


def make_programmatic(graph: int) -> int:
    """Make the dependencies between the kernels of a `CUgraph` programmatic, except where streams fork or join.

    All its nodes must be kernels that call `synchronise_dependent_launch`.

    **Returns:** the number of dependencies changed. It is 0 where the driver has no programmatic ones; the graph is
    then as it was.
    """
    try:
        return _make_programmatic(ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p(graph))
    except (OSError, AttributeError, RuntimeError):
        return 0


def _make_programmatic(driver, graph) -> int:
    def check(status):
        if status:
            raise RuntimeError(f"CUDA driver error {status}")

    def is_kernel(node):
        kind = ctypes.c_int()
        check(driver.cuGraphNodeGetType(ctypes.c_void_p(node), ctypes.byref(kind)))
        return kind.value == KERNEL

    count = ctypes.c_size_t()
    check(driver.cuGraphGetEdges_v2(graph, None, None, None, ctypes.byref(count)))
    Nodes, Edges = ctypes.c_void_p * count.value, _Edge * count.value
    starts, ends, full = Nodes(), Nodes(), Edges()
    check(driver.cuGraphGetEdges_v2(graph, starts, ends, full, ctypes.byref(count)))
    if not count.value or not all(map(is_kernel, {*starts, *ends})):
        return 0
    leaving, entering = collections.Counter(starts), collections.Counter(ends)
    within = [i for i in range(count.value) if leaving[starts[i]] == entering[ends[i]] == 1]
    count.value = len(within)
    starts, ends, full = (
        (kind * count.value)(*(array[i] for i in within))
        for kind, array in ((ctypes.c_void_p, starts), (ctypes.c_void_p, ends), (_Edge, full))
    )
    programmatic = (_Edge * count.value)(*[_Edge(PROGRAMMATIC, 0, PROGRAMMATIC)] * count.value)
    check(driver.cuGraphRemoveDependencies_v2(graph, starts, ends, full, count))
    try:
        check(driver.cuGraphAddDependencies_v2(graph, starts, ends, programmatic, count))
    except RuntimeError:
        check(driver.cuGraphAddDependencies_v2(graph, starts, ends, full, count))
        raise
    return count.value
