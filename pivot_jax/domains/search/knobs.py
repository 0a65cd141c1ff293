"""The knobs of the search domain, and the turns and the routine share that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

from pivot_jax.domains.search.lexicon import CHORES, HANDLES, KINDS, ROLES

TEMPLATES: tuple[str, ...] = (*KINDS, *ROLES.values())
"""Names of the question templates: the first relation that a question asks for, for holding some of them out."""

MOST_HOPS = len(TEMPLATES)
MOST_DISTRACTORS = 4
MOST_WAITS = 20


@dataclass(frozen=True)
class Knobs:
    """What tasks are drawn from.

    Attributes:
        hops: the numbers of hops to draw from; a number given twice is drawn twice as often.
        routine: routine turns after each needed document: of `note`, `back`, `check`, the first so many.
        waits: the numbers of routine turns of waiting in a task to draw from; they are dealt out evenly over its hops.
        listed: probability that the request gives the handle of the first document, which saves a search.
        hard_share: share of the hops whose finding the document keeps secret. It stands in the written policy alone:
            a policy that is shown only the first line of the system message cannot know it.
        synonyms: probability, for each relation of the question, that a synonym stands for it.
        distractors: documents, for each needed one, whose title starts with the same name. From three on the name
            alone does not find the needed one.
        templates: the question templates to draw from; None means all of them.
    """

    hops: tuple[int, ...] = (2, 3)
    routine: int = 1
    waits: tuple[int, ...] = (1,)
    listed: float = 0.5
    hard_share: float = 0.05
    synonyms: float = 0.3
    distractors: int = 2
    templates: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.hops or not all(1 <= hops <= MOST_HOPS for hops in self.hops):
            raise ValueError(f"hops={self.hops} must be one or more numbers within 1 and {MOST_HOPS}")
        if not self.waits or not all(0 <= waits <= MOST_WAITS for waits in self.waits):
            raise ValueError(f"waits={self.waits} must be one or more numbers within 0 and {MOST_WAITS}")
        limits = {"routine": len(CHORES), "distractors": MOST_DISTRACTORS}
        for name, most in limits.items():
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name}={getattr(self, name)} must be within 0 and {most}")
        for name in ("listed", "hard_share", "synonyms"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must be within 0 and 1")
        if max(self.hops) * (1 + self.distractors) > len(HANDLES):
            raise ValueError(
                f"{max(self.hops)} hops with {self.distractors} distractors each need more than the {len(HANDLES)}"
                f" documents of a collection; use distractors <= {len(HANDLES) // max(self.hops) - 1}"
            )
        if self.templates is not None and (not self.templates or set(self.templates) - set(TEMPLATES)):
            raise ValueError(f"templates={self.templates} must be some of: {', '.join(TEMPLATES)}")


def turns(knobs: Knobs) -> tuple[int, int]:
    """The least and the most turns that a task of these knobs needs."""
    least, most = (end(knobs.hops) * (2 + knobs.routine) + end(knobs.waits) + 1 for end in (min, max))
    return least - (knobs.listed > 0), most - (knobs.listed == 1)


def routine_share(knobs: Knobs) -> float:
    """Expected share of routine turns (chores and waiting) among the turns that tasks of these knobs need."""
    hops = sum(knobs.hops) / len(knobs.hops)
    routine = hops * knobs.routine + sum(knobs.waits) / len(knobs.waits)
    return routine / (routine + 2 * hops + 1 - knobs.listed)
