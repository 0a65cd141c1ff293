"""How far a conversation has come, and the planner: the fewest turns from there to its good end."""

from __future__ import annotations

from dataclasses import dataclass

from pivot_jax.domains.retail.goal import Goal
from pivot_jax.domains.retail.intents import Intent, Read


@dataclass(frozen=True)
class Progress:
    """The abstract state of a conversation.

    Attributes:
        stated: the current request has been made (not so while only greetings were exchanged).
        routes: how the customer can be looked up, by what was told: "email", "name".
        verified: the customer has been found by it.
        settled: number of intents that are resolved.
        waiting: the customer has said thanks and waits to be asked whether there is anything else.
        answered: slots of the current intent that have been revealed.
        facts: what has been read and exists.
        confirmed, written: the current intent's change has been agreed to, and made.
        useless: turns so far that brought the goal no nearer.
        damaged: the goal can no longer be reached.
        closed, abandoned: the agent ended the conversation; the customer lost patience.
    """

    stated: bool
    routes: frozenset[str] = frozenset()
    verified: bool = False
    settled: int = 0
    waiting: bool = False
    answered: frozenset[str] = frozenset()
    facts: frozenset[Read] = frozenset()
    confirmed: bool = False
    written: bool = False
    useless: int = 0
    damaged: bool = False
    closed: bool = False
    abandoned: bool = False

    @property
    def done(self) -> bool:
        return self.closed or self.abandoned

    def satisfied(self, goal: Goal) -> bool:
        """Every intent is settled and the customer has said so."""
        return self.settled == len(goal.intents) and not self.waiting

    def succeeded(self, goal: Goal) -> bool:
        """The conversation is over and all went well."""
        return self.closed and not self.damaged and self.satisfied(goal)

    def current(self, goal: Goal) -> Intent | None:
        """The intent that is being talked about; None while there is none."""
        if not self.stated or self.waiting or self.settled == len(goal.intents):
            return None
        return goal.intents[self.settled]

    def prepared(self, intent: Intent) -> bool:
        """The customer is verified, and all that the current intent needs has been asked and read."""
        return self.verified and self.answered >= intent.asks.keys() and self.facts >= intent.reads


def turns_left(goal: Goal, progress: Progress) -> int:
    """Fewest turns to the end if nothing were damaged; 0 when the conversation is over."""
    if progress.done:
        return 0
    identity = 0 if progress.verified else 1 if progress.routes else 2
    turns = 1 + identity + (not progress.stated) + progress.waiting + sum(goal.pauses[progress.settled :])
    unread: set[Read] = set()
    for intent in goal.intents[progress.settled :]:
        turns += len(intent.asks) + (3 if intent.change else 1)
        unread |= intent.reads
    return turns + len(unread - progress.facts) - len(progress.answered) - progress.confirmed - progress.written
