"""Programmatic dependencies of CUDA graphs, with a driver written in Python."""

import ctypes

import pytest
import warp as wp

from warpjaxns._kernels.hardware import address_table, dependent_launch
from warpjaxns._kernels.hardware.address_table import Table
from warpjaxns._kernels.hardware.intrinsics import synchronise_dependent_launch


class Driver:
    """A CUDA driver with one graph: nodes of `kinds` (0: kernels) in a row, or with the given `edges`."""

    def __init__(self, kinds, fails=(), edges=None):
        self.kinds, self.fails = kinds, fails
        full = (0, 0, 0)
        self.edges = dict.fromkeys(edges or ((i + 1, i + 2) for i in range(len(kinds) - 1)), full)

    def cuGraphGetEdges_v2(self, graph, starts, ends, edges, count):
        if starts is not None:
            for i, ((start, end), (from_port, to_port, kind)) in enumerate(self.edges.items()):
                starts[i], ends[i] = start, end
                edges[i].from_port, edges[i].to_port, edges[i].type = from_port, to_port, kind
        count._obj.value = len(self.edges)
        return 0

    def cuGraphNodeGetType(self, node, kind):
        kind._obj.value = self.kinds[node.value - 1]
        return 0

    def cuGraphRemoveDependencies_v2(self, graph, starts, ends, edges, count):
        for i in range(count.value):
            del self.edges[starts[i], ends[i]]
        return 0

    def cuGraphAddDependencies_v2(self, graph, starts, ends, edges, count):
        if edges[0].type in self.fails:
            return 1
        for i in range(count.value):
            self.edges[starts[i], ends[i]] = edges[i].from_port, edges[i].to_port, edges[i].type
        return 0


def overlap(monkeypatch, driver):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    return dependent_launch.make_programmatic(1)


def test_kernels_overlap(monkeypatch):
    driver = Driver([0, 0, 0])
    assert overlap(monkeypatch, driver) == 2
    assert driver.edges == {(1, 2): (1, 0, 1), (2, 3): (1, 0, 1)}


def test_kernels_overlap_within_a_stream(monkeypatch):
    within, between = [(2, 3), (3, 4), (5, 6)], [(1, 2), (1, 5), (4, 7), (6, 7)]
    driver = Driver([0] * 7, edges=[*within, *between])
    assert overlap(monkeypatch, driver) == 3
    assert driver.edges == dict.fromkeys(within, (1, 0, 1)) | dict.fromkeys(between, (0, 0, 0))


@pytest.mark.parametrize(
    "driver",
    [Driver([0, 1, 0]), Driver([0, 0, 0], fails=(1,)), Driver([0])],
    ids=["not only kernels", "refused", "one kernel"],
)
def test_graphs_left_as_they_were(driver, monkeypatch):
    before = dict(driver.edges)
    assert overlap(monkeypatch, driver) == 0
    assert driver.edges == before


def test_a_driver_that_knows_no_such_dependencies(monkeypatch):
    assert overlap(monkeypatch, object()) == 0

    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert dependent_launch.make_programmatic(1) == 0


def test_kernels_must_synchronise():
    with pytest.raises(TypeError, match="kernel rash does not call"):

        @address_table.kernel()
        def rash(table: Table, x: float):
            wp.printf("%f", x)

    @address_table.kernel()
    def patient(table: Table, x: float):
        synchronise_dependent_launch()
        wp.printf("%f", x)

    assert isinstance(patient, wp.Kernel)
