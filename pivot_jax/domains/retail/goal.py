"""The hidden goal of one task: who asks for what, in which order, and what success leaves behind."""

from __future__ import annotations

from dataclasses import dataclass

from pivot_jax.domains.retail.intents import Intent
from pivot_jax.domains.retail.world import Customer


@dataclass(frozen=True)
class Goal:
    """A hidden goal.

    Attributes:
        template: its name.
        customer: whose requests these are.
        intents: what the customer wants, in order.
        greeting: the customer opens with a greeting alone.
        pauses: for each intent, whether the customer says thanks and waits once it is settled.
        notice: street and postcode of the new shop, as the written policy tells it.
        digests: of the database before the first intent and after each one.
        stranger: another user, with whom the customer must not be confused.
        decoy: an order that is never in question.
    """

    template: str
    customer: Customer
    intents: tuple[Intent, ...]
    greeting: bool
    pauses: tuple[bool, ...]
    notice: tuple[str, str]
    digests: tuple[str, ...]
    stranger: Customer
    decoy: str
