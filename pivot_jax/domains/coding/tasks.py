"""What a task is: the functions of a small project, which of them are broken, and the planned routine turns."""

from __future__ import annotations

from dataclasses import dataclass, field

from pivot_jax.domains.coding.catalogue import KINDS, TEMPLATES
from pivot_jax.domains.coding.engine import Case

MAX_FUNCTIONS = 3


@dataclass(frozen=True)
class Knobs:
    """What a task may look like.

    Attributes:
        bugs: least and greatest number of broken functions; the greater numbers are drawn more often.
        sibling: probability that a healthy function stands beside them.
        second_file: probability that two or more functions lie in two files.
        routine: probability of each further working rule: list first, test between two repairs, check before the end.
        loops: probability that a broken function has a loop or a branch (at most one of a task has).
        hard_share: share of tasks whose broken functions hold constants that nothing shows.
        templates: the kinds of broken functions to draw from; None for all of them.
    """

    bugs: tuple[int, int] = (1, 3)
    sibling: float = 0.2
    second_file: float = 0.6
    routine: float = 0.2
    loops: float = 0.25
    hard_share: float = 0.15
    templates: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.templates or ()) - set(TEMPLATES))
        if unknown:
            raise ValueError(f"unknown coding templates {unknown}; known are {list(TEMPLATES)}")
        low, high = self.bugs
        if not 1 <= low <= high <= MAX_FUNCTIONS:
            raise ValueError(f"bugs={self.bugs} is not a range within 1 to {MAX_FUNCTIONS}")
        if self.templates is not None and len(set(self.templates)) < high:
            raise ValueError(
                f"coding templates {list(self.templates)} are fewer than the {high} bugs of bugs={self.bugs}"
            )
        for name in ("sibling", "second_file", "routine", "loops", "hard_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is not between 0 and 1")

    def kinds(self, *, hard: bool) -> tuple[str, ...]:
        """The kinds of broken functions of a hard task, or of one that is not; all that are allowed if there are too
        few."""
        chosen = TEMPLATES if self.templates is None else self.templates
        fitting = tuple(name for name in chosen if KINDS[name].hard == hard)
        return fitting if len(fitting) >= self.bugs[1] else chosen


@dataclass(frozen=True)
class Function:
    """One function of the project. Lines are normalised and carry no indentation; `depths` does.

    `start` is what the file holds at first, `right` the reference; `options` are right texts for the line of the bug,
    `slips` (line, text) wrong ones; `closed` as line 0 makes any body right.
    """

    name: str
    kind: str
    file: str
    parameters: tuple[str, ...]
    means: str
    start: tuple[str, ...]
    right: tuple[str, ...]
    depths: tuple[int, ...]
    bug_line: int
    options: tuple[str, ...]
    slips: tuple[tuple[int, str], ...]
    closed: str
    visible: tuple[Case, ...] = field(repr=False, hash=False)
    hidden: tuple[Case, ...] = field(repr=False, hash=False)

    @property
    def header(self) -> str:
        return f"def {self.name} ( {' , '.join(self.parameters)} ) :"

    def source(self, lines: tuple[str, ...]) -> str:
        """The function as Python text with these lines as its body."""
        body = [f"{' ' * (4 * depth + 4)}{line}" for depth, line in zip(self.depths, lines, strict=True)]
        return "\n".join([self.header, f'    """ {self.means} """', *body, ""])


@dataclass(frozen=True)
class Task:
    """One task. `bugs` are the numbers of the broken functions; `list_first`, `test_between` and `check` the further
    routine turns that were planned."""

    request: str
    rules: str
    functions: tuple[Function, ...]
    bugs: tuple[int, ...]
    list_first: bool
    test_between: bool
    check: bool

    @property
    def template(self) -> str:
        """The kinds of the broken functions."""
        return "+".join(self.functions[number].kind for number in self.bugs)

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(function.file for function in self.functions))

    def start_of(self, number: int) -> int:
        """Where the lines of function `number` begin among the numbered lines of the project (from 0)."""
        return sum(len(function.right) for function in self.functions[:number])

    def place(self, line: int) -> tuple[int, int] | None:
        """(function, line in its body) of a numbered line (from 1), or None."""
        for number, function in enumerate(self.functions):
            offset = line - 1 - self.start_of(number)
            if 0 <= offset < len(function.right):
                return number, offset
        return None
