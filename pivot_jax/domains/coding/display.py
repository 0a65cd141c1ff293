"""What the policy is shown: values, files and test results, in a closed vocabulary with digits as single words."""

from __future__ import annotations

from collections.abc import Iterable

from pivot_jax.domains.coding import engine
from pivot_jax.domains.coding.engine import Outcome
from pivot_jax.domains.coding.tasks import Function, Task

MAX_SHOWN = 999
MAX_SHOWN_ITEMS = 6
Lines = tuple[str, ...]


def shown(value: object) -> str:
    """A value in words: `- 1 2`, `True`, `[ 2 5 ]`; `other` for what is too large or no whole number."""
    if isinstance(value, list):
        items = " ".join(shown(item) for item in value[:MAX_SHOWN_ITEMS])
        return f"[ {items} ]" if items else "[ ]"
    if value is None or isinstance(value, bool):
        return str(value)
    if not isinstance(value, int) or abs(value) > MAX_SHOWN:
        return "other"
    digits = " ".join(str(abs(value)))
    return f"- {digits}" if value < 0 else digits


def shown_outcome(outcome: Outcome) -> str:
    return outcome.error or shown(outcome.value)


def shown_file(task: Task, bodies: tuple[Lines, ...], file: str) -> str:
    """The functions of a file: `add a b : a plus b 1 return a + b`.

    That is name, parameters, docstring and lines; their numbers run through the whole project. The brackets of the
    header and the quotes of the docstring are left out, for a small policy pays for every word.
    """
    parts: list[str] = []
    for number, function in enumerate(task.functions):
        if function.file == file:
            parts.append(f"{function.name} {' '.join(function.parameters)} : {_in_words(function.means)}")
            first = task.start_of(number) + 1
            parts += [f"{first + offset} {_in_words(line)}" for offset, line in enumerate(bodies[number])]
    return " ".join(parts)


def _in_words(line: str) -> str:
    """A line with every number's digits apart."""
    return " ".join(" ".join(word) if word.isdigit() else word for word in line.split(" "))


def shown_tests(functions: Iterable[tuple[Function, Lines]]) -> str:
    """`pass`, or the first failing function with one assertion, then the names of the others."""
    failures: list[str] = []
    for function, lines in functions:
        difference = engine.first_difference(function.source(lines), function.visible)
        if difference is None:
            continue
        arguments, outcome, wanted = difference
        detail = f" {' '.join(map(shown, arguments))} got {shown_outcome(outcome)} want {shown(wanted)}"
        failures.append(function.name if failures else f"{function.file} {function.name}{detail} ;")
    return f"fail {' '.join(failures).removesuffix(' ;')}" if failures else "pass"
