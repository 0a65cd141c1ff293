"""What a task is: the trees it starts from and should end in, and what is unknown at the start."""

from __future__ import annotations

from dataclasses import dataclass

from pivot_jax.domains.terminal.filesystem import FileSystem
from pivot_jax.domains.terminal.goals import TEMPLATES

MAX_DISTRACTORS = 6


@dataclass(frozen=True)
class Knobs:
    """What a task may look like.

    Attributes:
        sub_goals: least and greatest number of sub-goals, a question included.
        boilerplate: share of the planned turns that ask for nothing new: look around, check what was changed, submit.
        distractors: files that the request does not name.
        second_file: probability that a later sub-goal is about another file, which must be found too.
        described: probability that a file is described by a word in it instead of named.
        templates: the goal templates to draw from; None for all of them.
    """

    sub_goals: tuple[int, int] = (3, 4)
    boilerplate: float = 0.4
    distractors: int = 2
    second_file: float = 0.4
    described: float = 0.25
    templates: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.templates or ()) - set(TEMPLATES))
        if unknown:
            raise ValueError(f"unknown terminal templates {unknown}; known are {list(TEMPLATES)}")
        if not self.allowed():
            raise ValueError(f"no terminal template has {self.sub_goals[0]} to {self.sub_goals[1]} sub-goals")
        if not 0 <= self.distractors <= MAX_DISTRACTORS:
            raise ValueError(f"distractors={self.distractors} is not between 0 and {MAX_DISTRACTORS}")

    def allowed(self) -> tuple[str, ...]:
        """The templates that satisfy `sub_goals` and `templates`."""
        low, high = self.sub_goals
        chosen = TEMPLATES if self.templates is None else self.templates
        return tuple(template for template in chosen if low <= template.count("+") + 1 <= high)


@dataclass(frozen=True)
class Source:
    """A file the request is about. `word` describes it when it is not named; `worlds` are the start trees that
    differ in where it is and, when it is described, in which file it is."""

    path: str
    text: str
    word: str
    worlds: tuple[FileSystem, ...]


@dataclass(frozen=True)
class Effect:
    """A change asked for: `result` at `target`, made from source number `source`.

    `base` is what the target of an append holds before; `target` and `result` are empty for a removal.
    """

    kind: str
    source: int
    target: str = ""
    result: str = ""
    word: str = ""
    base: str = ""


@dataclass(frozen=True)
class Asked:
    """The question of a task, about source number `source`; `worlds` are the start trees with another answer."""

    kind: str
    source: int
    word: str
    worlds: tuple[FileSystem, ...]


@dataclass(frozen=True)
class Task:
    """One task. `look` and `checks` (numbers of effects) are the boilerplate turns that were planned."""

    template: str
    request: str
    start: FileSystem
    goal: FileSystem
    sources: tuple[Source, ...]
    effects: tuple[Effect, ...]
    asked: Asked | None
    answer: str
    look: bool
    checks: frozenset[int]
