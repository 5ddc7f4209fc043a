"""The part of the cases that is the fast tier."""

import itertools

import pytest
from coverings import covering

VALUES = {"backend": "ab", "dtype": "cd", "scheme": "efg", "grid": "hijk"}
PRODUCT = [dict(zip(VALUES, case, strict=True)) for case in itertools.product(*VALUES.values())]


def seen(cases, strength):
    return {found for case in cases for found in itertools.combinations(sorted(case.items()), strength)}


@pytest.mark.parametrize(("strength", "most"), [(1, 4), (2, 14), (4, 48)])
def test_a_covering_has_what_any_case_has(strength, most):
    kept = covering(PRODUCT, strength)
    assert kept == sorted(set(kept))
    assert seen([PRODUCT[i] for i in kept], strength) == seen(PRODUCT, strength)
    assert len(kept) <= most


def test_a_covering_goes_on_from_cases_that_are_chosen():
    first = covering(PRODUCT, 1)
    kept = covering(PRODUCT, 2, first)
    assert set(first) < set(kept)
    assert seen([PRODUCT[i] for i in kept], 2) == seen(PRODUCT, 2)
    assert len(kept) <= 16


def test_values_are_seen_about_as_often_as_each_other():
    counts = [PRODUCT[i]["backend"] for i in covering(PRODUCT, 1)]
    assert counts.count("a") == counts.count("b")


def test_what_is_in_no_other_case_is_kept():
    cases = [{"a": "1"}, {"a": "1"}, {"a": "2", "b": "3"}]
    assert covering(cases, 2) == [0, 2]
