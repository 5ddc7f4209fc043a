"""Tables of docs/guides/mosaic.md, from `mosaic.json`, which `examples/mosaic/run.py` writes."""

from cells import data, table
from tables_validation import small


def mosaic_forward() -> str:
    """Return errors against the closed form, by experiment and value."""
    body = []
    for name, found in data("mosaic").items():
        if name.startswith("forward/") and found["extras"].get("reference_label") == "analytic":
            errors = {row["sweep_value"]: row["metrics"]["error"] for row in found["results"]}
            sweep = found["sweep"]["key"]
            body.append([f"`{name}`", f"by {sweep}: " + ", ".join(f"{v}: {small(e)}" for v, e in errors.items())])
    return table(["experiment", "relative error"], body)
