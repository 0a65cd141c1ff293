"""Runs one function of checked Python in this process: what it returns for given arguments, or how it fails."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pivot_jax.domains.coding.language import Refused, checked
from pivot_jax.domains.coding.meter import MAX_STEPS, Meter, OutOfSpace, OutOfSteps, metered

Arguments = tuple[Any, ...]
"""Numbers and flat lists; a call never changes them."""
Case = tuple[Arguments, Any]
"""Arguments and the wanted value."""


class Outcome(NamedTuple):
    """What a call came to: a value, or else the kind of `error` ("error", "error time", "error memory")."""

    value: Any = None
    error: str = ""


class Function:
    """A loaded function. Its meter is reset at each call, so one loaded function is not for two threads at once: the
    budget would be shared (never unbounded)."""

    def __init__(self, source: str) -> None:
        tree = checked(source)
        self._meter = Meter()
        names = self._meter.names()
        name = tree.body[0].name  # pyright: ignore[reportAttributeAccessIssue]
        try:
            code = compile(metered(tree), "<edit>", "exec")
        except SyntaxError:  # such as a break outside a loop
            raise Refused("syntax") from None
        exec(code, names)
        self._function: Callable[..., Any] = names[name]
        # Only `t += ...` can change a list in place, and then each call needs lists of its own.
        self._changes_lists = "+= " in source or "*= " in source

    def __call__(self, arguments: Arguments) -> Outcome:
        self._meter.steps = MAX_STEPS
        if self._changes_lists:
            arguments = tuple([list(value) if isinstance(value, list) else value for value in arguments])
        try:
            value = self._function(*arguments)
        except (OutOfSteps, RecursionError):
            return Outcome(error="error time")
        except (OutOfSpace, MemoryError):
            return Outcome(error="error memory")
        # The code is the policy's: it may raise whatever Python raises.
        except Exception:
            return Outcome(error="error")
        # Lists hold only numbers. No reference returns a tuple, an iterator or a function.
        return Outcome(value) if isinstance(value, _PLAIN) else Outcome(error="error")

    def right_until(self, cases: Sequence[Case]) -> int:
        """How many of the cases, from the first, come out as wanted: one loop for many calls, since most pass."""
        passed = 0
        if self._changes_lists:
            while passed < len(cases) and self(cases[passed][0]) == (cases[passed][1], ""):
                passed += 1
            return passed
        try:
            for arguments, wanted in cases:
                self._meter.steps = MAX_STEPS
                if self._function(*arguments) != wanted:
                    break
                passed += 1
        except Exception:  # as above; the caller learns the kind from a call of that one case
            return passed
        return passed


_PLAIN = (int, list, float, type(None))


@functools.lru_cache(maxsize=8192)
def load(source: str) -> Function:
    """The function of a source text; Refused when the text is not allowed."""
    return Function(source)


def first_difference(source: str, cases: Sequence[Case]) -> tuple[Arguments, Outcome, Any] | None:
    """The first (arguments, outcome, wanted value) in which a function is wrong; None when it is right throughout.

    Values are compared by `==`, as a test would: 1 equals True.
    """
    function = load(source)
    passed = function.right_until(cases)
    if passed == len(cases):
        return None
    arguments, wanted = cases[passed]
    return arguments, function(arguments), wanted


def outcomes(source: str, cases: Sequence[Arguments]) -> list[Outcome]:
    """What a function comes to for each of the arguments."""
    function = load(source)
    return [function(arguments) for arguments in cases]
