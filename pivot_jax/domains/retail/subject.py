"""The subject of a task: the order, the address and the products that its intents are about."""

from __future__ import annotations

import random
from dataclasses import dataclass

from pivot_jax.domains.retail.intents import Ask, Read, Stages
from pivot_jax.domains.retail.world import Order, World


@dataclass
class Subject:
    """What the intents of one task are about.

    Attributes:
        order: the order in question; `second` is another one, `decoy` one that is never in question.
        named: the customer names the order by its first product, not by its handle.
        introduced: the order has been identified by an earlier intent.
    """

    world: World
    rng: random.Random
    order: Order
    second: Order
    decoy: Order
    named: bool
    address: tuple[str, str]
    shop: tuple[str, str]
    introduced: bool = False

    def identify(self, first: bool) -> tuple[Stages, str]:
        """The stages that find and read the order, and how a follow-up request refers to it."""
        read = (Read("read_order", self.order.id),)
        if self.introduced:
            return (read,), "it"
        self.introduced = True
        reference = f"the {self.order.lead} order" if self.named else self.order.id
        ask: Stages = ((Ask("order", reference),),) if first else ()
        listing: Stages = ((Read("read_user", self.world.customer.id),),) if self.named else ()
        return (*ask, *listing, read), reference
