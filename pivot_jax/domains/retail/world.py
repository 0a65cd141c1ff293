"""Drawing a shop from a seed: its rows, and the customer whose request it is."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from pivot_jax.domains.retail.lexicon import (
    COLOURS,
    DELIVERED,
    ITEMS,
    NAMES,
    OPEN,
    ORDERS,
    POSTCODES,
    PRODUCTS,
    SHIPPED,
    STATUSES,
    STREETS,
    USERS,
    email_of,
)
from pivot_jax.domains.retail.store import Row, Store

ITEM_COLOUR = 2
"""Position, among a product's three colours, of the one that customers own: it differs from the available one (0)
and from the unavailable one (1), so that every item has a possible and an impossible exchange."""


@dataclass(frozen=True)
class Order:
    """An order as it stands at the start; `items` pairs item handles with products, the lead product first."""

    id: str
    user: str
    status: str
    items: tuple[tuple[str, str], ...]

    @property
    def lead(self) -> str:
        return self.items[0][1]


@dataclass(frozen=True)
class Customer:
    """Who asks."""

    id: str
    name: str
    postcode: str
    street: str

    @property
    def email(self) -> str:
        return email_of(self.name)


@dataclass(frozen=True)
class World:
    """A shop: users (the first one is the customer), orders, and the three colours of each product by position."""

    users: tuple[Customer, ...]
    orders: tuple[Order, ...]
    colours: Mapping[str, tuple[str, ...]]
    stock: Mapping[tuple[str, str], int]

    @property
    def customer(self) -> Customer:
        return self.users[0]

    def own(self) -> tuple[Order, ...]:
        """The customer's orders."""
        return tuple(order for order in self.orders if order.user == self.customer.id)

    def foreign(self) -> tuple[Order, ...]:
        """Everybody else's orders."""
        return tuple(order for order in self.orders if order.user != self.customer.id)

    def store(self) -> Store:
        """The database of this shop."""
        orders: list[Row] = [(order.id, order.user, order.status, "") for order in self.orders]
        items: list[Row] = [
            (item, order.id, product, self.colours[product][ITEM_COLOUR], "kept")
            for order in self.orders
            for item, product in order.items
        ]
        users: list[Row] = [(user.id, user.name, user.email, user.postcode, user.street) for user in self.users]
        products: list[Row] = [(product, colour, count) for (product, colour), count in self.stock.items()]
        return Store.create({"users": users, "products": products, "orders": orders, "items": items})


def draw_world(rng: random.Random, users: tuple[int, int]) -> World:
    """A shop with a number of users in `users`, each with two or three orders, the customer with three or four."""
    count = rng.randint(*users)
    people = tuple(
        Customer(user, name, rng.choice(POSTCODES), rng.choice(STREETS))
        for user, name in zip(rng.sample(USERS, count), rng.sample(NAMES, count), strict=True)
    )
    handles = iter(rng.sample(ORDERS, len(ORDERS)))
    orders: list[Order] = []
    for person in people:
        # Every template finds an order that suits it, of the customer or of somebody else.
        needed = [OPEN, SHIPPED, DELIVERED] if person is people[0] else [OPEN, rng.choice(STATUSES)]
        statuses = needed + rng.choices(STATUSES, k=rng.randint(0, 1))
        leads = rng.sample(PRODUCTS, len(statuses))
        others = [product for product in PRODUCTS if product not in leads]
        for status, lead in zip(statuses, leads, strict=True):
            # Two items at least: which one to return or exchange is then a choice.
            products = [lead, *rng.sample(others, rng.randint(1, 2))]
            items = tuple(zip(sorted(rng.sample(ITEMS, len(products))), products, strict=True))
            orders.append(Order(next(handles), person.id, status, items))
    colours = {product: tuple(rng.sample(COLOURS, 3)) for product in PRODUCTS}
    # An available variant has two pieces at least: one exchange never makes it unavailable.
    stock = {
        (product, colour): (rng.randint(2, 5), 0, rng.choice((0, 3)))[position]
        for product in PRODUCTS
        for position, colour in enumerate(colours[product])
    }
    return World(people, tuple(orders), colours, stock)
