"""Methods that both Equinox and plain JAX can transform."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx


class BoundMethod(eqx.Module):
    """A method and its owner.

    It is a pytree, so that `eqx.filter_jit` sees the owner's leaves. It is hashable by the owner's identity, as
    `jax.jit` requires; there the leaves become constants.
    """

    function: Callable = eqx.field(static=True)
    owner: eqx.Module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method on its owner."""
        return self.function(self.owner, *args, **kwargs)

    def __hash__(self):
        return hash((self.function, id(self.owner)))

    def __eq__(self, other: object):
        return isinstance(other, BoundMethod) and self.owner is other.owner and self.function is other.function

    @property
    def __name__(self) -> str:  # pyright: ignore
        return self.function.__name__

    @property
    def __doc__(self) -> str | None:  # pyright: ignore
        return self.function.__doc__

    @property
    def __signature__(self) -> inspect.Signature:
        signature = inspect.signature(self.function)
        return signature.replace(parameters=list(signature.parameters.values())[1:])


class method:
    """Decorator of methods of an `eqx.Module`, which become `BoundMethod`s when bound."""

    def __init__(self, function: Callable):
        self.function = function
        functools.update_wrapper(self, function)  # pyright: ignore

    def __get__(self, owner, owner_type=None):
        return self.function if owner is None else BoundMethod(self.function, owner)
