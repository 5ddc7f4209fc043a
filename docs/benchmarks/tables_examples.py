"""Output of the examples, for docs/examples.md."""

import run_examples
from cells import FOLDER


def _maker(name: str, path: str, options: str):
    def printed() -> str:
        command = f"python examples/{name}.py {options}".strip()
        text = run_examples.sections(FOLDER / path)[command]
        return f"```text\n$ {command}\n{text}\n```"

    printed.__name__ = f"example_{name}"
    return printed


MADE = (
    *(_maker(name, "examples_default.txt", "") for name in run_examples.DEFAULT),
    _maker("train_closure", "examples.txt", run_examples.LARGE["train_closure"]),
)
