"""How far an episode has come: what was shown and opened, which chores are due; and the fewest turns that are left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pivot_jax.domains.search.task import Task

PATIENCE = 4
"""Useless turns after which the user gives up."""


@dataclass(frozen=True)
class Progress:
    """The state of an episode.

    Attributes:
        shown: handles that the request or a page of results has shown.
        opened: numbers of the hops whose document was opened, the latest one last.
        due: chores to be done before anything else.
        query, page: the words searched for last, and the page of their results that was shown last.
        useless: turns so far that brought the goal no nearer.
        answered: an answer was given, and `right` tells whether it is right.
    """

    shown: frozenset[str] = frozenset()
    opened: tuple[int, ...] = ()
    due: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    page: int = 0
    useless: int = 0
    answered: bool = False
    right: bool = False

    @property
    def abandoned(self) -> bool:
        return self.useless >= PATIENCE

    @property
    def done(self) -> bool:
        return self.answered or self.abandoned

    def having_shown(self, handles: Iterable[str]) -> Progress:
        return replace(self, shown=self.shown | set(handles))

    def having_opened(self, task: Task, number: int) -> Progress:
        """The state after the document of hop `number` was opened for the first time."""
        return replace(self, opened=(*self.opened, number), due=task.hops[number].chores)

    def having_done(self, chore: str) -> Progress:
        due = list(self.due)
        due.remove(chore)
        return replace(self, due=tuple(due))

    def next_hop(self, task: Task) -> int | None:
        """The number of the first hop whose document was not opened."""
        return next((number for number in range(len(task.hops)) if number not in self.opened), None)


def begin(task: Task) -> Progress:
    """The state at the start of a task."""
    return Progress(shown=frozenset([task.hops[0].handle] if task.listed else []))


def turns_left(task: Task, progress: Progress) -> float:
    """One turn for each needed document that was not shown, one for each not opened, one for each chore, and the
    answer; 0 when it was given and is right, `inf` when it is wrong or the user has given up."""
    if progress.done:
        return 0.0 if progress.right else float("inf")
    ahead = [hop for number, hop in enumerate(task.hops) if number not in progress.opened]
    unseen = sum(hop.handle not in progress.shown for hop in ahead)
    return float(1 + len(progress.due) + unseen + len(ahead) + sum(len(hop.chores) for hop in ahead))
