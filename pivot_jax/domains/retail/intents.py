"""What a customer may want: each intent is a script of what must be asked and read, then how it is resolved."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pivot_jax.domains.retail.speech import Claim
from pivot_jax.records import Action


@dataclass(frozen=True)
class Ask:
    """A choice that the customer withholds until asked, and the words that reveal it."""

    slot: str
    reply: str


@dataclass(frozen=True)
class Read:
    """A fact of the database that must be looked up: the tool and the handle."""

    tool: str
    key: str

    def action(self) -> Action:
        """The call that looks it up."""
        return Action.call(self.tool, **{self.tool.removeprefix("read_"): self.key})


Stages = tuple[tuple[Ask | Read, ...], ...]
"""Asks and reads in the order of a good conversation; those of one stage in any order."""


@dataclass(frozen=True)
class Change:
    """A write that the customer wants: how it is named for confirmation, and the calls that are equivalent."""

    claim: Claim
    confirmations: tuple[str, ...]
    calls: tuple[Action, ...]


@dataclass(frozen=True)
class Intent:
    """One thing that the customer wants.

    Attributes:
        opening, followup: the request as a first message, and after an earlier one was settled.
        stages: what must be asked and read before the intent can be resolved.
        claim, statements: what the agent must finally say (result, answer or refusal), and wordings of it.
        refused: the policy forbids what is wanted: the statement must be a refusal.
        change: the write, if there is one.
        falsehoods, temptations: wrong statements and wrong calls that lie near.
    """

    opening: str
    followup: str
    stages: Stages
    claim: Claim
    statements: tuple[str, ...]
    refused: bool = False
    change: Change | None = None
    falsehoods: tuple[str, ...] = ()
    temptations: tuple[Action, ...] = ()

    @cached_property
    def asks(self) -> dict[str, Ask]:
        """The withheld choices by slot, in the order of the script."""
        return {need.slot: need for stage in self.stages for need in stage if isinstance(need, Ask)}

    @cached_property
    def reads(self) -> frozenset[Read]:
        """The facts that are needed."""
        return frozenset(need for stage in self.stages for need in stage if isinstance(need, Read))
