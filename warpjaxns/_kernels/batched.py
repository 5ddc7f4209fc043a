"""Batched kernels: one launch does for all members what a user's kernel does for one.

A batched kernel is compiled from the source of the user's kernel, with a head in front. Along the first axis of the
launch the threads of one member follow those of another. The head finds a thread's member, and its part of every array:

    thread_0, thread_1 = wp.tid()
    member = first + thread_0 // rows
    thread_0 = thread_0 % rows
    x = part(x, repeats, member)

In the body these indices replace `wp.tid()`. So the body, and the adjoint that Warp generates for it, see one member
alone, in arrays of any number of axes.
"""

import ast
import functools
import types
from typing import Any

import warp as wp

MOST = 2**31 - 1  # threads along one axis, whose indices are 32-bit integers
NAME = "warpjaxns_"  # prefix of all names in the head

_batched: dict[str, wp.Kernel] = {}  # by the names of their modules


@functools.cache
def kernel_of_batch(kernel: wp.Kernel, axes: int) -> wp.Kernel | None:
    """Return the kernel for all members, made of a `kernel` that is launched over `axes` axes.

    Its parameters are those of `kernel`, and then

    - the number of threads of a member along the first axis of the launch;
    - the number of the first member;
    - a `wp.vec2i` for every array: the number of successive members that share a part, and the number of parts.

    Arrays have the shape of one member and start at the first one. Every member has its own part of a gradient.

    **Returns:** the kernel, or None where threads of a block may work together, by tiles or native functions: a block
    could have threads of two members.
    """
    arrays = [argument for argument in kernel.adj.args if hasattr(argument.type, "ndim")]
    if _cooperates(kernel.adj) or not all(isinstance(argument.type, wp.array) for argument in arrays):
        return None
    function = kernel.func
    threads = [f"{NAME}thread_{axis}" for axis in range(axes)]
    head = [
        f"{', '.join(threads)} = {NAME}warp.tid()",
        f"{NAME}member = {NAME}first + {threads[0]} // {NAME}rows",
        f"{threads[0]} = {threads[0]} % {NAME}rows",
    ]
    names: dict[str, Any] = {f"{NAME}warp": wp}
    parameters: dict[str, type] = {f"{NAME}rows": int, f"{NAME}first": int}
    for a in arrays:
        part, repeats = f"{NAME}part_of_{a.label}", f"{NAME}repeats_of_{a.label}"
        head.append(f"{a.label} = {part}({a.label}, {repeats}, {NAME}member)")
        names[part] = _part(a.type.dtype, a.type.ndim)
        parameters[repeats] = wp.vec2i
    # the same code, source and closure, with more names and parameters, which Warp takes from the annotations
    twin = types.FunctionType(
        function.__code__, function.__globals__ | names, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__module__, twin.__qualname__ = function.__module__, function.__qualname__
    twin.__annotations__ = kernel.adj.arg_types | parameters
    key = f"{kernel.key}_of_batch"
    module = wp.Module(key, None)
    module.options.update(kernel.module.options)
    batched = wp.Kernel(
        twin,
        key=key,
        module=module,
        options=dict(kernel.options),
        code_transformers=[*kernel.adj.transformers, _Head(head, threads)],
        source=kernel.adj.source,
    )
    batched.adj.fun_lineno = kernel.adj.fun_lineno  # for messages
    # Warp tells modules apart by name when it loads them. Equal ones, from a notebook cell run twice, have one name.
    module.name = f"{key}_{module.get_module_hash().hex()[:8]}"
    return _batched.setdefault(module.name, batched)


@functools.cache
def _part(dtype, ndim):
    """``part(array, repeats, member)`` is a member's part of an array, and of its gradient."""
    array = wp.array(dtype=dtype, ndim=ndim)

    @wp.func_native("""
    size_t size = 1;
    for (int axis = 0; axis < all_parts.ndim; ++axis) size *= all_parts.shape[axis];
    auto part = all_parts;
    part.data += size * (member / repeats[0] % repeats[1]);
    if (part.grad) part.grad += size * member;
    return part;
    """)
    def part(all_parts: array, repeats: wp.vec2i, member: int) -> array: ...  # pyright: ignore[reportInvalidTypeForm]

    return part


class _Head(ast.NodeTransformer):
    """A transformer that puts the head in front of a kernel's body, and replaces `wp.tid()` by its indices."""

    def __init__(self, head, threads):
        self.head, self.threads = head, threads

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        node.body = [*_at(node, "\n".join(self.head)), *node.body]
        return node

    def visit_Assign(self, node):
        target = node.targets[0]
        if isinstance(target, ast.Tuple) and _is_tid(node.value):
            copies = ", ".join(map(self.copy, self.threads[: len(target.elts)]))
            [expression] = _at(node, f"({copies})")
            node.value = expression.value
            return node
        return self.generic_visit(node)

    def visit_Call(self, node):
        if _is_tid(node):
            [expression] = _at(node, self.copy(self.threads[0]))
            return expression.value
        return self.generic_visit(node)

    def copy(self, thread):
        """Return the code of an index, as a copy that the body may change."""
        return f"{NAME}warp.int32({thread})"


def _at(node, source):
    """Return the statements of `source`, with the line number of `node`, which Warp quotes in messages."""
    tree = ast.parse(source)
    for part in ast.walk(tree):
        ast.copy_location(part, node)
    return tree.body


def _is_tid(node):
    return isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "tid"


def _cooperates(adjoint):
    """Return whether a kernel uses tiles or native functions, directly or in functions that it calls."""
    if any(getattr(node, "attr", "").startswith("tile") for node in ast.walk(adjoint.tree)):
        return True
    for function in adjoint.get_references()[2]:
        if function.is_builtin():  # one that someone added to Warp's
            return True
        variants = [function, *function.user_overloads.values(), *function.user_templates.values()]
        if any(variant.native_snippet or _cooperates(variant.adj) for variant in variants):
            return True
    return False
