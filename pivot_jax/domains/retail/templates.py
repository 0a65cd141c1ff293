"""Drawing tasks: the goal templates, the knobs, and the goal and database of a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from pivot_jax.domains.retail.catalogue import BUILDERS
from pivot_jax.domains.retail.goal import Goal
from pivot_jax.domains.retail.lexicon import DELIVERED, OPEN, POSTCODES, SHIPPED, STREETS, USERS
from pivot_jax.domains.retail.progress import Progress, turns_left
from pivot_jax.domains.retail.store import Store
from pivot_jax.domains.retail.subject import Subject
from pivot_jax.domains.retail.tools import execute
from pivot_jax.domains.retail.world import World, draw_world

_ANY = (OPEN, SHIPPED, DELIVERED)
_GOALS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "cancel": (("cancel",), (OPEN,)),
    "return": (("return",), (DELIVERED,)),
    "exchange": (("exchange",), (DELIVERED,)),
    "address": (("address",), _ANY),
    "status": (("status",), _ANY),
    "both_statuses": (("both_statuses",), _ANY),
    "stock": (("stock",), _ANY),
    "cancel_refused": (("cancel_refused",), (SHIPPED, DELIVERED)),
    "return_refused": (("return_refused",), (OPEN, SHIPPED)),
    "exchange_refused": (("exchange_refused",), (DELIVERED,)),
    "foreign_refused": (("foreign_refused",), (OPEN,)),
    "status_cancel": (("status", "cancel"), (OPEN,)),
    "status_return": (("status", "return"), (DELIVERED,)),
    "refused_return": (("cancel_refused", "return"), (DELIVERED,)),
    "refused_exchange": (("cancel_refused", "exchange"), (DELIVERED,)),
    "refused_cancel": (("return_refused", "cancel"), (OPEN,)),
    "address_status": (("address", "status"), _ANY),
    "stock_address": (("stock", "address"), _ANY),
    "status_stock_address": (("status", "stock", "address"), _ANY),
    "status_refused_address": (("status", "cancel_refused", "address"), (SHIPPED, DELIVERED)),
    "stock_status_refused": (("stock", "status", "return_refused"), (OPEN, SHIPPED)),
}
"""By name: the kinds of the intents, and the statuses that the order in question may have."""

TEMPLATES: tuple[str, ...] = tuple(_GOALS)
"""Names of the goal templates, for holding some of them out."""

SHORTEST_LIMIT = 12
"""Turns that the longest template needs without any boilerplate."""


@dataclass(frozen=True)
class Knobs:
    """What tasks are drawn from.

    Attributes:
        intents: least and greatest number of intents (the question below not counted).
        boilerplate: probability of each turn that any policy gets right: a greeting to be answered first, and a
            "thanks" after a settled intent, after which the customer waits to be asked for more.
        absent: probability that the task ends with a question whose answer stands in the written policy alone.
            A policy that is shown only the first line of the system message cannot know it.
        named: probability that the customer names an order by its product, so that the orders must be listed.
        users: least and greatest number of users in the database.
        longest: most turns that a task may need; boilerplate is left out until the task is short enough.
        templates: the goal templates to draw from; None means all of them.
    """

    intents: tuple[int, int] = (1, 3)
    boilerplate: float = 0.4
    absent: float = 0.1
    named: float = 0.3
    users: tuple[int, int] = (4, 8)
    longest: int = SHORTEST_LIMIT
    templates: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if unknown := set(self.templates or ()) - set(TEMPLATES):
            raise ValueError(f"unknown retail templates {sorted(unknown)}; known: {', '.join(TEMPLATES)}")
        if not self.eligible():
            raise ValueError(f"no retail template has intents={self.intents} among templates={self.templates}")
        if not all(0 <= share <= 1 for share in (self.boilerplate, self.absent, self.named)):
            raise ValueError(f"shares must be within 0 and 1, not {self.boilerplate}, {self.absent}, {self.named}")
        if not 2 <= self.users[0] <= self.users[1] <= len(USERS):
            raise ValueError(f"users={self.users} must be an increasing pair within 2 and {len(USERS)}")
        if self.longest < SHORTEST_LIMIT:
            raise ValueError(f"longest={self.longest} is less than the {SHORTEST_LIMIT} turns that templates need")

    def eligible(self) -> tuple[str, ...]:
        """The templates that these knobs allow."""
        least, most = self.intents
        return tuple(name for name in self.templates or TEMPLATES if least <= len(_GOALS[name][0]) <= most)


def draw_task(seed: int, knobs: Knobs) -> tuple[Goal, Store]:
    """The goal and the database of one task."""
    rng = random.Random(f"retail/{seed}")
    world = draw_world(rng, knobs.users)
    template = rng.choice(knobs.eligible())
    extras = [f"pause {index}" for index in range(len(_GOALS[template][0]))]
    extras = [extra for extra in (*extras, "greeting") if rng.random() < knobs.boilerplate]
    extras += [extra for extra, share in (("named", knobs.named), ("shop", knobs.absent)) if rng.random() < share]
    rng.shuffle(extras)
    script = rng.getrandbits(32)
    goal = _build(world, template, frozenset(extras), script)
    while turns_left(goal, Progress(stated=not goal.greeting)) > knobs.longest:
        extras.pop()
        goal = _build(world, template, frozenset(extras), script)
    store = world.store()
    return _with_digests(goal, store), store


def _build(world: World, template: str, extras: frozenset[str], script: int) -> Goal:
    """The goal with these extras; the order, the choices and the wording depend on `script` alone."""
    rng = random.Random(script)
    kinds, statuses = _GOALS[template]
    foreign = "foreign_refused" in kinds
    order = rng.choice([order for order in (world.foreign() if foreign else world.own()) if order.status in statuses])
    second = rng.choice([other for other in world.own() if other.status != order.status])
    decoy = rng.choice([other for other in world.own() if other.id not in (order.id, second.id)])
    streets = [street for street in STREETS if street != world.customer.street]
    postcodes = [postcode for postcode in POSTCODES if postcode != world.customer.postcode]
    address = rng.choice(streets), rng.choice(postcodes)
    notice = rng.choice(STREETS), rng.choice(POSTCODES)
    subject = Subject(world, rng, order, second, decoy, "named" in extras and not foreign, address, notice)
    kinds = (*kinds, "shop") if "shop" in extras else kinds
    intents = tuple(BUILDERS[kind](subject, index == 0) for index, kind in enumerate(kinds))
    return Goal(
        template=template,
        customer=world.customer,
        intents=intents,
        greeting="greeting" in extras,
        pauses=tuple(f"pause {index}" in extras for index in range(len(intents))),
        notice=notice,
        digests=(),
        stranger=world.users[1],
        decoy=decoy.id,
    )


def _with_digests(goal: Goal, store: Store) -> Goal:
    """The goal with the digests that its writes lead to, found by executing them on a copy."""
    after = store.clone()
    digests = [after.digest()]
    for intent in goal.intents:
        if intent.change:
            execute(after, goal.customer.id, intent.change.calls[0].tool_calls[0])
        digests.append(after.digest())
    return replace(goal, digests=tuple(digests))
