"""Options, refusals and versions that the subcommands share."""

import argparse
import contextlib
import importlib.util
import math
import platform
import re
import sys
import warnings
from typing import NoReturn

from .._version import VERSION

# Options of each discretisation, and the values of each, the default first. They are written again here, so that --help
# does not wait for JAX.
DISCRETISATIONS = {
    "finite-difference": {"advection": ("arakawa", "central")},
    "spectral": {"integrator": ("rk4", "rk3"), "dealiasing": ("two-thirds", "smooth")},
}
LONGEST = 60  # characters of a value in a message
LARGEST_COUNT = 2**31 - 1  # as in `_checks`
INSTALL = 'pip install -e ".[all]" in the checkout'


class UsageError(Exception):
    """A request that cannot be met. Its message goes to the user, without a traceback, with exit code 2."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and the help of the option that is wrong, not the usage of all options."""

    def error(self, message: str) -> NoReturn:
        """Print the message, with the help of the option that it names, and exit with code 2."""
        action = self._named(message)
        if action is None:
            more = f"`{self.prog} --help` lists what there is"
        else:
            formatter = self._get_formatter()
            formatter.add_argument(action)
            more = formatter.format_help().rstrip()
        self.exit(2, f"{self.prog}: {message}\n{more}\n")

    def _get_values(self, action, arg_strings):
        """Refuse ``--option=--``, which argparse takes for an empty list before Python 3.13."""
        if action.option_strings and arg_strings == ["--"]:
            raise argparse.ArgumentError(action, "expected one argument")
        return super()._get_values(action, arg_strings)

    def _named(self, message):
        """Return the action that a message begins with, as ``argument --size: ...`` or as ``size=...``, or None."""
        found = re.match(r"argument ([^:]+):|(\w+)=", message)
        names = (found[1] or "").split("/") if found else []
        for action in self._actions:
            own = (*action.option_strings, action.metavar)
            if found and (action.dest == found[2] or not set(own).isdisjoint(names)):
                return action
        return None


def require(*modules: str) -> None:
    """Refuse to start without optional packages, before any time is spent.

    Raises:
        UsageError: one is missing; the message says what to install.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"this command needs {' and '.join(missing)}: {INSTALL}")


def shown(text: str) -> str:
    """Return what was given, in quotes and cut to a length."""
    return repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")


def number(kind: type, *, least: float = -math.inf, above: float = -math.inf, most: float | None = None):
    """Return an argparse type: a finite number of `kind`, at least `least`, above `above` and at most `most`.

    `most`: None: for integers `LARGEST_COUNT`.
    """
    if most is None:
        most = LARGEST_COUNT if kind is int else math.inf

    def parse(text: str):
        try:
            value = kind(text)
            float(value)
        except (OverflowError, ValueError):  # no number, or an integer beyond all floating-point numbers
            value = math.nan
        if not (math.isfinite(value) and least <= value <= most and value > above):
            bounds = {"greater than": above, "at least": least, "at most": most}
            said = " and ".join(f"{words} {bound}" for words, bound in bounds.items() if math.isfinite(bound))
            noun = "an integer" if kind is int else "a finite number"
            raise argparse.ArgumentTypeError(f"{shown(text)}: expected {noun} {said}".rstrip())
        return value

    return parse


seed = number(int, least=0, most=2**32 - 1)  # a random key tells these apart


def add_discretisation(option) -> None:
    """Add the options of a discretisation by `option`, a function of flag, help, default and more for argparse."""
    names = tuple(DISCRETISATIONS)
    option("--discretisation", "finite differences of second order, or Fourier modes", names[0], choices=names)
    texts = {
        "advection": "of finite-difference: conserving energy and enstrophy, or centred",
        "integrator": "of spectral: of fourth or of third order in time",
        "dealiasing": "of spectral: exact products of two thirds of the modes, or a smooth filter on all",
    }
    for of_one in DISCRETISATIONS.values():
        for name, values in of_one.items():
            option(f"--{name}", texts[name], shown=values[0], choices=values)


def discretisation_of(options):
    """Return the discretisation that options ask for.

    Raises:
        UsageError: an option belongs to the other one.
    """
    from .._discretisation import NAMES

    chosen = {}
    for kind, names in DISCRETISATIONS.items():
        given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
        if kind == options.discretisation:
            chosen = given
        elif given:
            name, value = next(iter(given.items()))
            raise UsageError(
                f"argument --{name}: {value} is an option of --discretisation {kind}, and not of "
                f"{options.discretisation}"
            )
    return NAMES[options.discretisation](**chosen)


def versions() -> dict[str, str]:
    """Return the versions of all software that a result depends on."""
    from importlib.metadata import version

    others = {name: version(name) for name in ("jax", "warp-lang", "equinox", "optax", "numpy")}
    return {"python": platform.python_version(), "warpjaxns": VERSION, **others}


@contextlib.contextmanager
def plain_warnings():
    """Print warnings in this context as one line each, without their place in the source."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = lambda message, *_, **__: print(f"warpjaxns: {message}", file=sys.stderr)
        yield


def say(options, *lines) -> None:
    """Print lines, unless ``--quiet`` is given."""
    if not options.quiet:
        print(*lines, sep="\n", flush=True)


def say_now(options, line: str) -> None:
    """Show what is being done, in place of what was shown before: on a terminal only, and not if ``--quiet`` is given.

    An empty line ends it.
    """
    if sys.stderr.isatty() and not options.quiet:
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
