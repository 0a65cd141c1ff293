"""How far an episode has come: the lines of the project, what was seen, tested and repaired; what is left to do."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from pivot_jax.domains.coding import engine
from pivot_jax.domains.coding.language import Refused, normalised
from pivot_jax.domains.coding.tasks import Function, Task

PATIENCE = 6
"""Turns without any gain after which the episode is over."""
MAX_EDITS = 40


@functools.lru_cache(maxsize=16384)
def is_right(function: Function, lines: tuple[str, ...]) -> bool:
    """Whether a body does what the reference does, in every hidden test and property check."""
    return engine.first_difference(function.source(lines), function.hidden) is None


@dataclass(frozen=True, slots=True)
class Progress:
    """State of an episode between two turns.

    Attributes:
        bodies: the lines of each function.
        history: (function, its lines before) of each edit that can be undone.
        wrong: numbers of the functions that do not do what they must; follows from `bodies`.
        seen: files that were viewed.
        listed, tested, between, checked: routine that was done: `tested` once a broken function was tested, `between`
            once tests were run with some bugs repaired and some not, `checked` since the last edit.
        verified: functions that were tested since they were last edited.
        useless: turns that gained nothing.
        end: "" while the episode runs, then "submitted" or "abandoned".
    """

    bodies: tuple[tuple[str, ...], ...]
    wrong: frozenset[int]
    history: tuple[tuple[int, tuple[str, ...]], ...] = ()
    seen: frozenset[str] = frozenset()
    listed: bool = False
    tested: bool = False
    between: bool = False
    checked: bool = False
    verified: frozenset[int] = frozenset()
    useless: int = 0
    end: str = ""

    def edited(self, task: Task, line: int, text: str) -> Progress:
        """With another text at a numbered line; Refused, with the kind of error, when that cannot be."""
        place = task.place(line)
        if place is None:
            raise Refused("line")
        number, offset = place
        before = self.bodies[number]
        body = (*before[:offset], normalised(text), *before[offset + 1 :])
        engine.load(task.functions[number].source(body))
        if len(self.history) >= MAX_EDITS:
            raise Refused("limit")
        return replace(self._with_body(task, number, body), history=(*self.history, (number, before)))

    def undone(self, task: Task) -> Progress:
        """Without the last edit; Refused when there is none."""
        if not self.history:
            raise Refused("undo")
        number, before = self.history[-1]
        return replace(self._with_body(task, number, before), history=self.history[:-1])

    def after_tests(self, task: Task, functions: frozenset[int]) -> Progress:
        """After the tests of these functions were run."""
        broken = self.wrong.intersection(task.bugs)
        return replace(
            self,
            tested=self.tested or bool(functions & broken),
            between=self.between or (bool(functions & broken) and len(broken) < len(task.bugs)),
            verified=self.verified | functions,
        )

    def _with_body(self, task: Task, number: int, body: tuple[str, ...]) -> Progress:
        bodies = (*self.bodies[:number], body, *self.bodies[number + 1 :])
        right = is_right(task.functions[number], body)
        return replace(
            self,
            bodies=bodies,
            wrong=self.wrong - {number} if right else self.wrong | {number},
            verified=self.verified - {number},
            checked=False,
        )


def begin(task: Task) -> Progress:
    """The progress at the start of a task."""
    return Progress(bodies=tuple([function.start for function in task.functions]), wrong=frozenset(task.bugs))


@dataclass(frozen=True, slots=True)
class Agenda:
    """What is left to do before the submit.

    `views` are the files to be read, `repairs` the functions to be repaired (one edit each: the first line can hold
    the whole of a function, so a single edit always does).
    """

    list_files: bool
    first_test: bool
    views: tuple[str, ...]
    repairs: tuple[int, ...]
    test_between: bool
    check: bool
    last_test: bool

    @property
    def turns(self) -> int:
        """One turn each, and the submit."""
        routine = self.list_files + self.first_test + self.test_between + self.check + self.last_test
        return routine + len(self.views) + len(self.repairs) + 1


def agenda(task: Task, progress: Progress) -> Agenda:
    """What is left to do.

    A routine turn that has lost its use is left out: the list once the tests or a file told where to look, the first
    tests once a bug is repaired, the tests between once none is left. So is a view of a file without broken functions.
    """
    broken = progress.wrong.intersection(task.bugs)
    repaired = len(broken) < len(task.bugs)
    unseen = tuple(
        dict.fromkeys(f.file for n, f in enumerate(task.functions) if n in broken and f.file not in progress.seen)
    )
    begun = progress.tested or repaired or any(task.functions[number].file in progress.seen for number in task.bugs)
    return Agenda(
        list_files=task.list_first and not progress.listed and not begun,
        first_test=not progress.tested and not repaired,
        views=unseen,
        repairs=tuple(sorted(progress.wrong)),
        test_between=task.test_between and not progress.between and bool(broken),
        check=task.check and not (progress.checked and not progress.wrong),
        last_test=bool(broken) or not progress.verified.issuperset(task.bugs),
    )
