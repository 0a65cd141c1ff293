"""Draws the task of a seed: functions, bugs, files, tests, routine."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence

from pivot_jax.domains.coding import engine
from pivot_jax.domains.coding.catalogue import KINDS, TEMPLATES, Kind
from pivot_jax.domains.coding.engine import Arguments, Case
from pivot_jax.domains.coding.tasks import MAX_FUNCTIONS, Function, Knobs, Task

FILES = ("m1", "m2")
HIDDEN_CASES = 200
VISIBLE_CASES = 2
MAX_TURNS = 9
"""Planned turns of a task."""
_LETTERS = ("a", "b", "c")
_LIST_LETTERS = ("x", "y")
_ATTEMPTS = 200


def draw_task(seed: int, knobs: Knobs) -> Task:
    """The task of a seed: the same for ever."""
    rng = random.Random(f"coding/{seed}")
    hard = rng.random() < knobs.hard_share
    low, high = knobs.bugs
    broken = _kinds(rng, knobs, max(rng.randint(low, high), rng.randint(low, high)), hard=hard)
    healthy: list[str] = []
    if len(broken) < MAX_FUNCTIONS and rng.random() < knobs.sibling:
        healthy = [rng.choice([name for name in TEMPLATES if name not in broken and _is_short(name)])]
    names = rng.sample([*broken, *healthy], len(broken) + len(healthy))
    split = rng.randint(1, len(names) - 1) if len(names) > 1 and rng.random() < knobs.second_file else len(names)
    functions = tuple([_function(rng, KINDS[name], FILES[number >= split]) for number, name in enumerate(names)])
    bugs = tuple([number for number, name in enumerate(names) if name in broken])
    # A healthy function starts right: the bug that was drawn for it is only what a careless edit would write.
    functions = tuple([f if number in bugs else _repaired(f) for number, f in enumerate(functions)])
    list_first, between, check = _routine(rng, knobs, [functions[number] for number in bugs])
    planned = [("list", list_first), ("test", True), ("again", between), ("check", check), ("submit", True)]
    return Task(
        request=_request(rng, [functions[number] for number in bugs]),
        rules=" ".join(["coding", *(word for word, wanted in planned if wanted)]),
        functions=functions,
        bugs=bugs,
        list_first=list_first,
        test_between=between,
        check=check,
    )


def _kinds(rng: random.Random, knobs: Knobs, amount: int, *, hard: bool) -> list[str]:
    """The kinds of the broken functions, at most one of them with several lines where the choice allows it."""
    allowed = knobs.kinds(hard=hard)
    long = [name for name in allowed if not _is_short(name)]
    short = [name for name in allowed if _is_short(name)]
    if long and (rng.random() < knobs.loops or len(short) < amount):
        chosen = rng.sample(long, max(1, amount - len(short)))
        return chosen + rng.sample(short, amount - len(chosen))
    return rng.sample(short, amount)


def _routine(rng: random.Random, knobs: Knobs, broken: Sequence[Function]) -> list[bool]:
    """Which of the further routine turns (list, tests between, check) are planned, as far as there is room."""
    room = MAX_TURNS - 3 - len(broken) - len({function.file for function in broken})
    # A function with several lines takes the words of two more turns to be shown.
    room -= 2 * any(len(function.right) > 1 for function in broken)
    wanted = [rng.random() < knobs.routine for _ in range(3)]
    wanted[1] = wanted[1] and len(broken) > 1
    for index in rng.sample(range(3), 3):
        if sum(wanted) > room:
            wanted[index] = False
    return wanted


def _is_short(name: str) -> bool:
    return len(KINDS[name].right) == 1


def _request(rng: random.Random, broken: Sequence[Function]) -> str:
    files = " ".join(dict.fromkeys(function.file for function in broken))
    names = " ".join(function.name for function in broken)
    return rng.choice((f"fix {names}", f"fix {names} in {files}", f"fix {files}"))


def _function(rng: random.Random, kind: Kind, file: str) -> Function:
    """A function of this kind with a bug that its visible tests show."""
    numbers = rng.sample(_LETTERS, 2)
    filled = {"p": numbers[0], "q": numbers[1], "x": rng.choice(_LIST_LETTERS)}
    k, j = _two(rng, kind, near=not kind.hard)
    c, d = rng.sample(range(2, 9), 2)
    filled |= {"k": str(k), "j": str(j), "c": str(c), "d": str(d)}
    right = tuple([line.format(**filled).strip() for line in kind.right])
    slips = tuple([(line, text.format(**filled)) for line, text in kind.slips])
    bug_line, wrong = rng.choice(slips)
    function = Function(
        name=kind.name,
        kind=kind.name,
        file=file,
        parameters=tuple([filled[role] for role in kind.parameters]),
        means=kind.means.format(**filled),
        start=(*right[:bug_line], wrong, *right[bug_line + 1 :]),
        right=right,
        depths=tuple([len(line) - len(line.lstrip()) for line in kind.right]),
        bug_line=bug_line,
        options=(right[bug_line], *(text.format(**filled) for line, text in kind.equals if line == bug_line)),
        slips=slips,
        closed=(kind.closed or kind.right[0]).format(**filled),
        visible=(),
        hidden=(),
    )
    hidden = _cases(function, _inputs(kind.parameters, kind.least))
    return _with_tests(function, visible=_visible(rng, function, kind), hidden=hidden)


def _two(rng: random.Random, kind: Kind, *, near: bool) -> tuple[int, int]:
    """A right constant and a wrong one: the next one up or down where the bug is to be seen by comparison."""
    low, high = kind.constants
    k = rng.randint(low, high)
    if near:
        return k, rng.choice((k - 1, k + 1))
    return k, rng.choice([j for j in range(low, high + 1) if j != k])


def _with_tests(function: Function, visible: tuple[Case, ...], hidden: tuple[Case, ...]) -> Function:
    return Function(**{**function.__dict__, "visible": visible, "hidden": hidden})


def _repaired(function: Function) -> Function:
    return Function(**{**function.__dict__, "start": function.right})


def _cases(function: Function, inputs: Sequence[Arguments]) -> tuple[Case, ...]:
    """The inputs with what the reference makes of them."""
    wanted = engine.outcomes(function.source(function.right), inputs)
    for arguments, outcome in zip(inputs, wanted, strict=True):
        if outcome.error:
            raise ValueError(f"the reference of {function.name} fails on {arguments}: {outcome.error}")
    return tuple([(arguments, outcome.value) for arguments, outcome in zip(inputs, wanted, strict=True)])


def _visible(rng: random.Random, function: Function, kind: Kind) -> tuple[Case, ...]:
    """Small cases, each of which shows the bug."""
    found: list[Case] = []
    for _ in range(_ATTEMPTS):
        arguments = _draw(rng, kind.parameters, max(kind.least, 2), low=1, high=9, longest=max(kind.least, 3))
        (case,) = _cases(function, [arguments])
        if engine.first_difference(function.source(function.start), [case]) and case not in found:
            found.append(case)
            if len(found) == VISIBLE_CASES:
                return tuple(found)
    raise ValueError(f"no small case shows the bug {function.start} of {function.name}")


@functools.cache
def _inputs(parameters: str, least: int) -> tuple[Arguments, ...]:
    """The inputs of the hidden tests and of the property check."""
    rng = random.Random(f"coding/{parameters}/{least}")
    edges = [_draw(rng, parameters, least, low, high, least) for low, high in ((0, 0), (1, 1), (-1, 0), (0, 1), (2, 9))]
    return (*edges, *(_draw(rng, parameters, least, -12, 12, least + 4) for _ in range(HIDDEN_CASES)))


def _draw(rng: random.Random, parameters: str, least: int, low: int, high: int, longest: int) -> Arguments:
    """One number or list for each parameter; equal values and values that are in the list are frequent."""
    drawn: list[object] = []
    items = [rng.randint(low, high) for _ in range(rng.randint(least, longest))]
    seen = list(items) if "x" in parameters else []
    for role in parameters:
        if role == "x":
            drawn.append(items)
            continue
        value = rng.choice(seen) if seen and rng.random() < 0.3 else rng.randint(low, high)
        seen.append(value)
        drawn.append(value)
    return tuple(drawn)
