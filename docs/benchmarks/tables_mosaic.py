"""Tables of docs/guides/mosaic.md, from `mosaic.json`: the metrics of `examples/mosaic/run.py`."""

import statistics

from cells import data, table
from tables_validation import small


def mosaic_forward() -> str:
    """Return errors against the closed form of Taylor and Green's vortices, by experiment and value."""
    body = []
    for name, found in data("mosaic").items():
        if name.startswith("forward/") and not name.endswith("multimode"):  # of which there is no closed form
            errors = [f"{row['sweep_value']}: {small(row['metrics']['error'])}" for row in found["results"]]
            body.append([f"`{name}`", found["sweep"]["key"], ", ".join(errors)])
    return table(["experiment", "by", "relative error"], body)


def mosaic_gradients() -> str:
    """Return how derivatives in twenty directions compare with finite differences, by their width."""
    (row,) = data("mosaic")["gradient/fd_check"]["results"]
    body = []
    for width, found in row["metrics"]["eps_sweep"].items():
        middle = statistics.median(found["rel_error"])
        body.append([width, small(middle), small(1 - found["cosine"])])
    return table(["width of the differences", "relative error, median", "1 - cosine"], body)


def mosaic_horizons() -> str:
    """Return norms of gradients and their errors at the best width, by the number of steps."""
    rows = data("mosaic")["gradient/horizon_sweep"]["results"]
    best = [min(found["rel_error_mean"] for found in row["metrics"]["eps_sweep"].values()) for row in rows]
    norms = [f"{row['metrics']['grad_norm']:.3f}" for row in rows]
    head = ["steps", *(str(row["sweep_value"]) for row in rows)]
    return table(head, [["norm of the gradient", *norms], ["relative error, mean, best width", *map(small, best)]])


MADE = (mosaic_forward, mosaic_gradients, mosaic_horizons)
