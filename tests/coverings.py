"""The fast tier: a part of the cases in which every option, or every pair of options, is still seen."""

import collections
import dataclasses
import itertools


def fast(items) -> set:
    """Return the tests that run without ``--full``: none marked `full`, and of those marked `covering` a part.

    ``@pytest.mark.covering(1)`` keeps cases of a test function such that each value of each of its parameters occurs;
    ``covering(2)`` keeps cases such that each pair of values of different parameters does, where they occur together.
    A parameter that is a dataclass counts as many, one a field.
    """
    chosen = [item for item in items if item.get_closest_marker("full") is None]
    kept = {item for item in chosen if item.get_closest_marker("covering") is None}
    groups: dict = {}
    for item in chosen:
        if item not in kept:
            groups.setdefault((item.path, item.originalname), []).append(item)
    for group in groups.values():
        strength = group[0].get_closest_marker("covering").args[0]
        kept.update(group[i] for i in covering([options(item.callspec) for item in group], strength))
    return kept


def options(callspec) -> dict[str, str]:
    """Return the value of each parameter of a case, as text, with the fields of dataclasses as parameters."""
    values = {}
    for name, value in callspec.params.items():
        if dataclasses.is_dataclass(value):
            values |= {f"{name}.{field.name}": repr(getattr(value, field.name)) for field in dataclasses.fields(value)}
        else:
            values[name] = repr(value)
    return values


def covering(cases: list[dict[str, str]], strength: int) -> list[int]:
    """Return the numbers of some cases which have all combinations of so many values that any of them has.

    Greedy: in each turn the case that has most of what is missing; of several the one whose values are seen least yet.
    """
    combinations = [set(itertools.combinations(sorted(case.items()), min(strength, len(case)))) for case in cases]
    missing, kept, seen = set().union(*combinations), [], collections.Counter()

    def gain(i):
        return len(combinations[i] & missing), -sum(seen[value] for value in cases[i].items())

    while missing:
        best = max(range(len(cases)), key=gain)
        kept.append(best)
        missing -= combinations[best]
        seen.update(cases[best].items())
    return sorted(kept)
