"""The check tool: parameters that a function never uses."""

from __future__ import annotations

from collections.abc import Iterable

from pivot_jax.domains.coding.tasks import Function


def complaint(functions: Iterable[tuple[Function, tuple[str, ...]]]) -> str:
    """`b in add not used` for the first parameter that no line of its function's body names; empty if there is none."""
    for function, lines in functions:
        words = {word for line in lines for word in line.split(" ")}
        for parameter in function.parameters:
            if parameter not in words:
                return f"{parameter} in {function.name} not used"
    return ""
