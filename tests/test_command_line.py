"""Any bad value of any option of the command line is one line that names it, exit code 2, and nothing written.

The parsers say which options there are, and of what kind. A release draws more, as `test_properties` says.
"""

import argparse
import contextlib
import io
import os
import re

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from warpjaxns import cli
from warpjaxns._commands.options import Parser

EXAMPLES = int(os.environ.get("WARPJAXNS_EXAMPLES", "5"))
some = settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
FOLDERS = ("output", "config", "file", "against")  # any text names one: what is wrong with it, its own tests show


def options():
    """Return every option of every command that takes a value which can be wrong."""
    parser = Parser()
    commands = parser.add_subparsers()
    for command in cli.COMMANDS:
        command.add(commands)
    made = []
    for name, command in commands.choices.items():
        for action in command._actions:
            if action.dest not in ("help", *FOLDERS):
                made.append(pytest.param(name, action, id=f"{name}{action.option_strings[0]}"))
    return made


with_a_value = pytest.mark.parametrize(
    ("command", "action"), [option for option in options() if option.values[1].nargs != 0]
)
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", " ", "nan", "inf", "-inf", "1e400", "-1", "0", "1.5", "1:", ":1", "2:1", "1x", "x", "0x10", "٣"]
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.lists(st.integers(), min_size=2, max_size=4).map(lambda numbers: ":".join(map(str, numbers))),
    st.lists(st.integers(), min_size=3, max_size=4).map(lambda numbers: "x".join(map(str, numbers))),
)


def is_wrong(action, text):
    """Return whether argparse must refuse a text, by the definition of the option alone."""
    try:
        value = action.type(text) if action.type else text
    except (argparse.ArgumentTypeError, TypeError, ValueError):
        return True
    return action.choices is not None and value not in action.choices


def run(arguments, folder):
    """Return the exit code and what was printed, in a folder that must stay empty."""
    out, err = io.StringIO(), io.StringIO()
    redirected = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
    with contextlib.chdir(folder), redirected[0], redirected[1], pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert not list(folder.iterdir())
    assert out.getvalue() == ""
    return stop.value.code, err.getvalue()


def check(command, action, arguments, folder):
    code, message = run([command, *arguments], folder)
    first, *rest = message.splitlines()
    names = "/".join(action.option_strings)
    assert code == 2
    assert first.startswith(f"warpjaxns {command}: argument {names}: ")
    assert len(first) < 500
    assert rest  # its help
    assert all(line.startswith((" ", "-")) for line in rest)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("here")


@pytest.mark.parametrize(("command", "action"), options())
@some
@given(data=st.data())
def test_a_bad_value_is_named(command, action, data, folder):
    flag = action.option_strings[0]
    if action.nargs == 0:  # a flag, which takes no value
        return check(command, action, [f"{flag}={data.draw(st.text(max_size=8))}"], folder)
    text = data.draw(TEXTS.filter(lambda text: is_wrong(action, text)))
    return check(command, action, [f"{flag}={text}"], folder)


@with_a_value
def test_a_missing_value_is_named(command, action, folder):
    check(command, action, [action.option_strings[0]], folder)


# ------------------------------------------------------------------------------------------------ beyond argparse


class TakenError(Exception):
    """A command would begin its work now."""


@pytest.fixture
def no_work(monkeypatch):
    """Stop every command where its work would begin."""

    def stop(*args, **kwargs):
        raise TakenError

    monkeypatch.setattr("warpjaxns._commands.demo._experiment", stop)
    monkeypatch.setattr("warpjaxns._commands.bench._measure_all", stop)
    monkeypatch.setattr("warpjaxns.data.generate", stop)


EXTREMES = st.one_of(
    st.integers(-(10**22), 10**22).map(str),
    st.integers(-320, 310).map(lambda power: f"1e{power}"),
    st.integers(0, 400).map(lambda power: str(10**power)),
    st.tuples(st.integers(-320, 310), st.integers(-320, 310), st.sampled_from(["", ":log"])).map(
        lambda parts: "1e{}:1e{}{}".format(*parts)
    ),
    st.tuples(st.integers(3, 40), st.integers(3, 40)).map(lambda pair: "{}x{}".format(*pair)),
)


@with_a_value
@some
@given(data=st.data())
def test_a_number_is_taken_or_named(command, action, data, no_work, tmp_path):
    texts = EXTREMES if action.choices is None else st.sampled_from(sorted(map(str, action.choices)))
    check_taken_or_named(command, action.option_strings[0], data.draw(texts), tmp_path)


# what was found: each ended in a traceback, or in a message about another option
FOUND = [
    ("demo", "--steps", "1" + 309 * "0"),
    ("demo", "--iterations", "3000000000"),
    ("demo", "--size", "1" + 19 * "0"),
    ("demo", "--viscosity", "1e39"),
    ("demo", "--viscosity", "1e32"),
    ("demo", "--dt", "1e-300"),
    ("demo", "--dt", "1e-20"),
    ("demo", "--dt", "1e300"),
    ("generate", "--end-time", "1e30"),
    ("demo", "--discretisation", "--"),
    ("generate", "--size", "--"),
]


@pytest.mark.parametrize(("command", "flag", "text"), FOUND)
def test_what_was_found_is_named(command, flag, text, no_work, tmp_path):
    assert check_taken_or_named(command, flag, text, tmp_path) is SystemExit


def check_taken_or_named(command, flag, text, tmp_path):
    """Check a value, and return the type of the exception that ended the command."""
    before = set(tmp_path.iterdir())  # of examples before this one
    err, begun_or_refused = io.StringIO(), pytest.raises((TakenError, SystemExit))
    with contextlib.chdir(tmp_path), contextlib.redirect_stderr(err), begun_or_refused as stop:
        cli.main([command, f"{flag}={text}"])
    if isinstance(stop.value, SystemExit):
        assert set(tmp_path.iterdir()) == before
        first, dest = err.getvalue().splitlines()[0], flag[2:].replace("-", "_")
        assert stop.value.code == 2
        # a message may begin with what this option does not fit
        assert re.search(rf"^warpjaxns {command}: .*({flag}\b|\b{dest}=)", first), first
        assert len(first) < 500
    return stop.type
