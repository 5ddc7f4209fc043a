"""Tables of docs/developer/trust.md."""

from cells import data, table
from faults import TESTS


def faults() -> str:
    """Return what was done to processes, and what came out."""
    body = [
        [name, found["came out"], "yes" if found["as it should be"] else "no"] for name, found in data("faults").items()
    ]
    return table(["done", "came out", "as it should be"], body)


def faults_of_tests() -> str:
    """Return the faults that tests do, and the files of tests."""
    return table(["fault", "test"], [[fault, f"`tests/{name}.py`"] for fault, name in TESTS.items()])


def faults_seeded() -> str:
    """Return how many of the faults seeded in the source each tier of the tests finds, by the part of the package."""
    parts: dict[str, list] = {}
    for found in data("seeded_faults")["faults"].values():
        parts.setdefault(found["file"].rpartition("/")[0] or ".", []).append(found["found by"])
    body = [
        [f"`warpjaxns/{part}`".replace("/.", ""), *(str(tiers.count(tier) or "") for tier in ("fast", "full", None))]
        for part, tiers in sorted(parts.items())
    ]
    return table(["faults in", "found by the fast tier", "by the full tier only", "by none"], body)


def long_use() -> str:
    """Return the bytes that a use leaves behind, on each device."""
    body = []
    for device, uses in data("long_use").items():
        for name, found in uses.items():
            use, _, backend = name.rpartition(", ")
            left = found.get("bytes a use after jax.clear_caches()")  # below 0 where it drops what is older
            cells = [f"{found['count']:,}", f"{found['bytes a use']:,}", "" if left is None else f"{max(left, 0):,}"]
            body.append([use.replace("plain_", "JAX alone, "), backend, *cells, device.split(",")[0]])
    return table(["use", "backend", "times", "bytes a time", "after `jax.clear_caches()`", "device"], body)


def versions() -> str:
    """Return how many tests of a selection pass, with which versions."""
    body = []
    for found in data("versions"):
        body.append([*found["versions"].values(), str(found["passed"]), str(found["failed"] + found["error"])])
    return table([*data("versions")[0]["versions"], "passed", "failed"], body)


MADE = (faults, faults_of_tests, faults_seeded, long_use, versions)
