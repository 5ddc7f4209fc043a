"""Tables of docs/validation.md, from `validation.json`."""

import math

from cells import data, table


def small(value: float) -> str:
    """Return a number with two digits and an exponent."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def validation_taylor_green() -> str:
    """Return errors of the decaying vortices."""
    found = data("validation")["convergence"]["taylor_green"]
    head = ["points a side", *map(str, found["sizes"])]
    return table(head, [[name, *map(small, errors)] for name, errors in found["errors"].items()])


def validation_orders() -> str:
    """Return orders of convergence, expected and measured."""
    found = data("validation")["convergence"]
    measured = {
        "Taylor and Green, finite differences, in space": (2, found["taylor_green"]["order"]),
        "smooth flow, finite differences, in space": (2, found["space"]["order"]),
    }
    orders = {"finite differences, SSP-RK3": 3, "spectral, rk3": 3, "spectral, rk4": 4}
    measured |= {f"smooth flow, {name}, in time": (orders[name], o) for name, o in found["time"]["order"].items()}
    return table(["", "expected", "measured"], [[name, str(o), f"{m:.3f}"] for name, (o, m) in measured.items()])


def validation_critical() -> str:
    """Return critical Reynolds numbers, by NumPy's eigenvalues and measured."""
    found = data("validation")["kolmogorov"]
    names = ["numpy", "spectral", "finite differences, 32"]
    body = [
        [f"{row['length']:g}", *(f"{row[name]:.6f}" if name in row else "" for name in names)]
        for row in found["critical"]
    ]
    body.append(["0.005", f"{found['long_waves']:.6f}", "", ""])
    body.append(["0, published", f"√2 = {math.sqrt(2):.6f}", "", ""])
    heads = ["wavenumber along x", "eigenvalues, NumPy", "`Spectral()`, 32 points", "finite differences, 32"]
    return table([*heads], body)


def validation_rates() -> str:
    """Return growth rates, by NumPy's eigenvalues and measured."""
    rows = data("validation")["kolmogorov"]["rates"]
    reynolds = sorted({row["reynolds"] for row in rows})
    lengths = sorted({row["length"] for row in rows})
    at = {(row["length"], row["reynolds"]): row for row in rows}
    worst = {r: max(abs(at[a, r]["measured"] - at[a, r]["numpy"]) for a in lengths) for r in reynolds}
    body = [[f"{a:g}", *(f"{at[a, r]['measured']:+.5f}" for r in reynolds)] for a in lengths]
    body.append(["largest difference from NumPy", *(small(worst[r]) for r in reynolds)])
    return table(["wavenumber along x", *(f"Re = {r:g}" for r in reynolds)], body)


def validation_decay() -> str:
    """Return energy, enstrophy and the slope of the spectrum of decaying turbulence."""
    found = data("validation")["decay"]
    body = []
    for name in ("spectral", "finite differences"):
        run = found[name]
        for number, time in enumerate(found["times"]):
            values = [f"{run[quantity][number]:.4g}" for quantity in ("energy", "enstrophy")]
            slope = f"{run['slopes'][number]:.2f}" if number else ""  # there is no power law at the start
            body.append([name if not number else "", f"{time:g}", *values, slope])
    return table(["", "t", "energy", "enstrophy", "slope of E(k), 20 to 60"], body)


def validation_budgets() -> str:
    """Return by how much budgets fail to close."""
    found = data("validation")["budgets"]
    return table(
        ["", "by advection, relative", "over the run, relative"],
        [[name, small(row["residual"]), small(row["integral"])] for name, row in found.items()],
    )


def validation_gradients() -> str:
    """Return errors of gradients by horizon."""
    found = data("validation")["gradients"]
    body = []
    for name in ("finite differences", "spectral"):
        body += [[f"{name}: {row}", *map(small, values)] for row, values in found[name].items()]
    return table(["steps", *map(str, found["steps"])], body)


def validation_orbit() -> str:
    """Return the recurrent flow on several grids, beside the published one."""
    found = data("validation")["recurrent_flow"]["orbits"]
    return _orbits({"P1, published": ("5.3807", "0")}, found)


def validation_shifted() -> str:
    """Return an orbit with a shift, and a travelling wave."""
    found = data("validation")
    return _orbits({}, [found[name] for name in ("relative_orbit", "wave") if name in found])


def _orbits(published, found):
    body = [[name, *values, "", "", "", ""] for name, values in published.items()]
    for row in found:
        name = f"{row['size']}², `{row['dealiasing']}`, dt {row['dt']:g}"
        spread = f"{row['range'][0]:.5f} to {row['range'][1]:.5f}"
        shift = abs(row["shift"])
        values = [f"{row['period']:.5f}", f"{shift:.5f}", f"{shift / row['period']:.5f}", f"{row['dissipation']:.5f}"]
        body.append([name, *values, spread, small(row["residual"])])
    return table(["", "period T", "shift s", "s / T", "dissipation / laminar", "its range", "residual"], body)


MADE = (
    validation_gradients,
    *(validation_taylor_green, validation_orders, validation_critical, validation_rates, validation_decay),
    *(validation_budgets, validation_orbit, validation_shifted),
)
