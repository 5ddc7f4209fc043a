"""The tiers: parts of the cases in which every option, or every pair of options, is still seen."""

import collections
import dataclasses
import itertools


def tier(items, full: bool) -> set:
    """Return the tests of a tier: all with `full`, else none marked `full`; of those marked `covering` a part.

    ``@pytest.mark.covering(1)`` keeps cases of a test function such that each value of each of its parameters occurs;
    ``covering(2)`` keeps cases such that each pair of values of different parameters does, where they occur together.
    A parameter that is a dataclass counts as many, one a field. With `full` all cases are kept, or those that the
    second number covers: ``covering(1, 2)`` has pairs there. A case of the fast tier is then one of them.
    """
    chosen = [item for item in items if item.get_closest_marker("full") is None]
    groups: dict = {}
    for item in items:
        if marker := item.get_closest_marker("covering"):
            groups.setdefault((item.path, item.originalname, marker.args), []).append(item)
    kept = {item for item in (items if full else chosen) if item.get_closest_marker("covering") is None}
    for (*_, strengths), group in groups.items():
        fast = _covered([item for item in group if item in chosen], strengths[0])
        kept.update(_covered(group, strengths[1], fast) if full and strengths[1:] else group if full else fast)
    return kept


def _covered(group: list, strength: int, first: list = ()) -> list:
    numbers = [group.index(item) for item in first]
    return [group[i] for i in covering([options(item.callspec) for item in group], strength, numbers)]


def options(callspec) -> dict[str, str]:
    """Return the value of each parameter of a case, as text, with the fields of dataclasses as parameters."""
    values = {}
    for name, value in callspec.params.items():
        if dataclasses.is_dataclass(value):
            values |= {f"{name}.{field.name}": repr(getattr(value, field.name)) for field in dataclasses.fields(value)}
        else:
            values[name] = repr(value)
    return values


def covering(cases: list[dict[str, str]], strength: int, first: list[int] = ()) -> list[int]:
    """Return the numbers of some cases which have all combinations of so many values that any of them has.

    Greedy: in each turn the case that has most of what is missing; of several the one whose values are seen least yet.
    `first`: numbers of cases that are among them.
    """
    combinations = [set(itertools.combinations(sorted(case.items()), min(strength, len(case)))) for case in cases]
    missing, kept, seen = set().union(*combinations), list(first), collections.Counter()
    for i in first:
        missing -= combinations[i]
        seen.update(cases[i].items())

    def gain(i):
        return len(combinations[i] & missing), -sum(seen[value] for value in cases[i].items())

    while missing:
        best = max(range(len(cases)), key=gain)
        kept.append(best)
        missing -= combinations[best]
        seen.update(cases[best].items())
    return sorted(kept)
