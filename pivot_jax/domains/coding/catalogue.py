"""The kinds of function a task is made of: what each must do, its right code, likely slips, other right codes.

In the patterns `{p}`, `{q}`, `{x}` are parameters, `{k}` and `{c}` constants, `{j}` and `{d}` wrong ones. A line is
written as the policy would write it, a space between words.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of function, by patterns.

    Attributes:
        name: the function's name.
        parameters: a string of `p`, `q` (numbers) and `x` (a list), in order.
        means: the docstring.
        right: the lines of the body; a line that starts with a space is one step further in.
        slips: (line, wrong text) of each bug.
        equals: (line, text) of other right texts, in words a small policy knows.
        closed: one statement that is the whole body; as line 0 it repairs whatever the other lines hold.
        least: fewest elements of the list.
        positive: True when the numbers are above zero.
        constants: range that `k` is drawn from.
        hard: True when neither docstring nor assertion gives the constants.
    """

    name: str
    parameters: str
    means: str
    right: tuple[str, ...]
    slips: tuple[tuple[int, str], ...]
    equals: tuple[tuple[int, str], ...]
    closed: str = ""
    least: int = 0
    positive: bool = False
    constants: tuple[int, int] = (2, 8)
    hard: bool = False


def _one(
    name: str, parameters: str, means: str, right: str, slips: str, equals: str, least: int = 0, high: int = 8
) -> Kind:
    """A function of one expression; slips and equals are separated by `;`."""
    return Kind(
        name=name,
        parameters=parameters,
        means=means,
        right=(f"return {right}",),
        slips=tuple([(0, f"return {text.strip()}") for text in slips.split(";")]),
        equals=tuple([(0, f"return {text.strip()}") for text in equals.split(";")]),
        least=least,
        constants=(2, high),
    )


def _hard(name: str, right: str, wrong: str, equal: str) -> Kind:
    return Kind(
        name=name,
        parameters="p",
        means=name + " of {p}",
        right=(f"return {right}",),
        slips=((0, f"return {wrong}"),),
        equals=((0, f"return {equal}"),),
        hard=True,
    )


_NUMBERS = (
    _one("add", "pq", "{p} plus {q}", "{p} + {q}", "{p} - {q}; {p} + {p}; {p} * {q}", "{q} + {p}; {p} - - {q}"),
    _one("sub", "pq", "{p} minus {q}", "{p} - {q}", "{q} - {p}; {p} + {q}; {p} - {p}", "- {q} + {p}; {p} + - {q}"),
    _one("mul", "pq", "{p} times {q}", "{p} * {q}", "{p} + {q}; {p} * {p}; {p} - {q}", "{q} * {p}; - {p} * - {q}"),
    _one("below", "pq", "{p} below {q}", "{p} < {q}", "{p} > {q}; {p} <= {q}; {q} < {p}", "{q} > {p}; not {p} >= {q}"),
    _one("above", "pq", "{p} above {q}", "{p} > {q}", "{p} < {q}; {p} >= {q}; {q} > {p}", "{q} < {p}; not {p} <= {q}"),
    _one("same", "pq", "{p} equal {q}", "{p} == {q}", "{p} != {q}; {p} >= {q}; {p} == {p}",
         "{q} == {p}; not {p} != {q}"),
    _one("low", "pq", "least of {p} {q}", "min ( {p} , {q} )", "max ( {p} , {q} ); min ( {p} , {p} )",
         "min ( {q} , {p} ); {p} if {p} < {q} else {q}"),
    _one("high", "pq", "most of {p} {q}", "max ( {p} , {q} )", "min ( {p} , {q} ); max ( {q} , {q} )",
         "max ( {q} , {p} ); {p} if {p} > {q} else {q}"),
    _one("gap", "pq", "gap of {p} {q}", "abs ( {p} - {q} )", "abs ( {p} + {q} ); {p} - {q}; abs ( {p} )",
         "abs ( {q} - {p} ); abs ( - {p} + {q} )"),
    _one("more", "p", "{p} plus {k}", "{p} + {k}", "{p} - {k}; {p} + {j}; {p} * {k}", "{k} + {p}; {p} - - {k}"),
    _one("less", "p", "{p} minus {k}", "{p} - {k}", "{p} + {k}; {p} - {j}; {k} - {p}", "- {k} + {p}; {p} + - {k}"),
    _one("scale", "p", "{p} times {k}", "{p} * {k}", "{p} + {k}; {p} * {j}; {p} * {p}", "{k} * {p}; - {p} * - {k}"),
    _one("even", "p", "{p} even", "{p} % 2 == 0", "{p} % 2 == 1; {p} % 3 == 0; {p} == 0",
         "not {p} % 2; {p} % 2 < 1"),
)  # fmt: skip
_LISTS = (
    _one("first", "x", "first of {x}", "{x} [ 0 ]", "{x} [ 1 ]; {x} [ - 1 ]; {x} [ 2 ]",
         "min ( {x} [ : 1 ] ); {x} [ 0 ] + 0", 3),
    _one("last", "x", "last of {x}", "{x} [ - 1 ]", "{x} [ 0 ]; {x} [ - 2 ]; {x} [ 1 ]",
         "{x} [ - 1 ] + 0; 0 + {x} [ - 1 ]", 3),
    _one("size", "x", "count of {x}", "len ( {x} )", "sum ( {x} ); len ( {x} ) - 1; max ( {x} )",
         "0 + len ( {x} ); len ( {x} [ : ] )", 1),
    _one("total", "x", "sum of {x}", "sum ( {x} )", "len ( {x} ); max ( {x} ); sum ( {x} ) + 1",
         "sum ( {x} , 0 ); 0 + sum ( {x} )", 1),
    _one("top", "x", "most of {x}", "max ( {x} )", "min ( {x} ); len ( {x} ); {x} [ 0 ]",
         "max ( {x} ) + 0; max ( sorted ( {x} ) )", 1),
    _one("bottom", "x", "least of {x}", "min ( {x} )", "max ( {x} ); sum ( {x} ); {x} [ 0 ]",
         "0 + min ( {x} ); min ( sorted ( {x} ) )", 1),
    _one("sort", "x", "sort {x}", "sorted ( {x} )", "{x}; {x} [ : : - 1 ]; sorted ( {x} [ 1 : ] )",
         "sorted ( {x} [ : ] ); sorted ( {x} [ 0 : ] )"),
    _one("head", "x", "first {k} of {x}", "{x} [ : {k} ]", "{x} [ {k} : ]; {x} [ : {j} ]; {x} [ {k} ]",
         "{x} [ 0 : {k} ]; {x} [ : {k} : 1 ]", 3, 2),
    _one("rest", "x", "{x} without first {k}", "{x} [ {k} : ]", "{x} [ : {k} ]; {x} [ {j} : ]; {x} [ {k} ]",
         "{x} [ {k} : : ]; {x} [ {k} : : 1 ]", 3, 2),
    _one("has", "px", "{p} in {x}", "{p} in {x}", "{p} not in {x}; {p} == {x} [ 0 ]; {p} < {x} [ 0 ]",
         "not {p} not in {x}; {x} . count ( {p} ) > 0", 1),
)  # fmt: skip
_LOOPS = (
    Kind("run", "x", "sum of {x}", ("t = 0", "for i in {x} :", " t = t + i", "return t"),
         ((0, "t = 1"), (2, "t = t - i"), (2, "t = i"), (3, "return i")),
         ((0, "t = sum ( [ ] )"), (2, "t += i"), (2, "t = i + t"), (3, "return 0 + t"), (3, "return t + 0")),
         "return sum ( {x} )", least=2),
    Kind("many", "x", "count above {k} in {x}",
         ("t = 0", "for i in {x} :", " t = t + ( i > {k} )", "return t"),
         ((0, "t = 1"), (2, "t = t + ( i < {k} )"), (2, "t = t + ( i > {j} )"), (2, "t = t + ( i >= {k} )")),
         ((2, "t += i > {k}"), (2, "t += {k} < i"), (0, "t = - 0"), (3, "return 0 + t")),
         "return sum ( i > {k} for i in {x} )", least=2, constants=(3, 6)),
    Kind("peak", "x", "most of {x}", ("t = {x} [ 0 ]", "for i in {x} :", " t = max ( t , i )", "return t"),
         ((2, "t = min ( t , i )"), (2, "t = max ( i , i )"), (3, "return i")),
         ((2, "t = max ( i , t )"), (0, "t = min ( {x} )"), (3, "return t + 0"), (3, "return 0 + t")),
         "return max ( {x} )", least=2),
    Kind("cap", "p", "{p} at most {k}", ("t = {p}", "if t > {k} :", " t = {k}", "return t"),
         ((1, "if t < {k} :"), (2, "t = {j}"), (3, "return {p}"), (0, "t = {k}")),
         ((1, "if {k} < t :"), (1, "if t >= {k} :"), (2, "t = min ( t , {k} )"), (0, "t = 0 + {p}")),
         "return min ( {p} , {k} )", constants=(4, 7)),
)  # fmt: skip
_HARD = (
    _hard("score", "{p} * {k} + {c}", "{p} * {j} + {d}", "{c} + {p} * {k}"),
    _hard("rank", "{p} * {k} - {c}", "{p} * {j} - {d}", "{k} * {p} - {c}"),
    _hard("cost", "{c} - {p} * {k}", "{d} - {p} * {j}", "- {p} * {k} + {c}"),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in (*_NUMBERS, *_LISTS, *_LOOPS, *_HARD)}
TEMPLATES: tuple[str, ...] = tuple(KINDS)
"""A task's template is the kind of its broken function, or the kinds of all of them."""
