"""The shop's tools: their schemas, and their execution on the database. Bad arguments are answered, never raised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pivot_jax.domains.retail.lexicon import AVAILABLE, CANCELLED, DELIVERED, OPEN, POSTCODES, STREETS, UNAVAILABLE
from pivot_jax.domains.retail.lexicon import reason_in as recorded_reason
from pivot_jax.domains.retail.store import Store
from pivot_jax.records import Tool, ToolCall

LONGEST_VALUE = 40
"""Characters of an argument; longer ones cannot name anything and are not looked up."""


@dataclass(frozen=True)
class Reply:
    """What a tool answers. `wrote`: the database changed."""

    content: str
    is_error: bool = False
    wrote: bool = False


def execute(store: Store, customer: str, call: ToolCall) -> Reply:
    """Run one call for the verified `customer` (empty: nobody is verified yet, only the look-ups work)."""
    tool = _TOOLS.get(call.name)
    if tool is None:
        return _error("unknown call")
    try:
        arguments = call.parsed()
    except (ValueError, RecursionError):
        return _error("wrong call")
    schema = tool.schema.parameters["properties"]
    if set(arguments) != set(schema) or not all(_fits(arguments[name], schema[name]) for name in schema):
        return _error("wrong call")
    if not customer and not tool.schema.name.startswith("find_user"):
        return _error("verify first")
    return tool.run(store, customer, **arguments)


def _fits(value: Any, schema: dict[str, Any]) -> bool:
    if schema["type"] == "array":
        return isinstance(value, list) and 0 < len(value) <= 4 and all(_is_word(item) for item in value)
    return _is_word(value)


def _is_word(value: Any) -> bool:
    # Non-ASCII text names nothing here, and lone surrogates cannot be bound to a query.
    return isinstance(value, str) and 0 < len(value) <= LONGEST_VALUE and value.isascii()


def _error(reason: str) -> Reply:
    return Reply(f"error {reason}", is_error=True)


def _find_user_by_email(store: Store, customer: str, email: str) -> Reply:
    found = store.rows("select id from users where email = ?", email)
    return Reply(str(found[0][0])) if found else _error("unknown user")


def _find_user_by_name_postcode(store: Store, customer: str, name: str, postcode: str) -> Reply:
    found = store.rows("select id from users where name = ? and postcode = ?", name, postcode)
    return Reply(str(found[0][0])) if found else _error("unknown user")


def _read_user(store: Store, customer: str, user: str) -> Reply:
    if user != customer:
        return _error("unknown user")
    leads = store.rows(
        "select orders.id, product, min(items.id) from orders join items on order_id = orders.id"
        " where user = ? group by orders.id order by orders.id",
        user,
    )
    return Reply(" ".join([user, *(f"{order} {product}" for order, product, _ in leads)]))


def _read_order(store: Store, customer: str, order: str) -> Reply:
    found = store.rows("select user, status from orders where id = ?", order)
    if not found:
        return _error("unknown order")
    items = store.rows("select id, product from items where order_id = ? and state = 'kept' order by id", order)
    return Reply(" ".join([order, *map(str, found[0]), *(f"{item} {product}" for item, product in items)]))


def _read_product(store: Store, customer: str, product: str) -> Reply:
    variants = store.rows("select colour, stock > 0 from products where name = ? order by colour", product)
    if not variants:
        return _error("unknown product")
    words = (f"{colour} {AVAILABLE if stock else UNAVAILABLE}" for colour, stock in variants)
    return Reply(" ".join([product, *words]))


def _forbidden(store: Store, customer: str, order: str, status: str) -> Reply | None:
    """The error if `order` is not the customer's or does not have the status that the change needs."""
    found = store.rows("select user, status from orders where id = ?", order)
    if not found:
        return _error("unknown order")
    if found[0][0] != customer:
        return _error("not yours")
    return None if found[0][1] == status else _error(f"not {status}")


def _cancel_order(store: Store, customer: str, order: str, reason: str) -> Reply:
    recorded = recorded_reason(reason)
    if recorded is None:
        return _error("unknown reason")
    if error := _forbidden(store, customer, order, OPEN):
        return error
    store.write("update orders set status = ?, reason = ? where id = ?", CANCELLED, recorded, order)
    return Reply(f"{order} {CANCELLED}", wrote=True)


def _kept_products(store: Store, order: str) -> dict[str, str]:
    rows = store.rows("select id, product from items where order_id = ? and state = 'kept'", order)
    return {str(item): str(product) for item, product in rows}


def _return_items(store: Store, customer: str, order: str, items: list[str]) -> Reply:
    if error := _forbidden(store, customer, order, DELIVERED):
        return error
    if not set(items) <= set(_kept_products(store, order)):
        return _error("unknown item")
    for item in items:
        store.write("update items set state = 'returned' where order_id = ? and id = ?", order, item)
    return Reply(" ".join([order, *sorted(set(items)), "returned"]), wrote=True)


def _exchange_item(store: Store, customer: str, order: str, item: str, colour: str) -> Reply:
    if error := _forbidden(store, customer, order, DELIVERED):
        return error
    kept = _kept_products(store, order)
    if item not in kept:
        return _error("unknown item")
    product = kept[item]
    if not store.rows("select 1 from products where name = ? and colour = ? and stock > 0", product, colour):
        return _error(f"not {AVAILABLE}")
    old = str(store.rows("select colour from items where order_id = ? and id = ?", order, item)[0][0])
    store.write("update products set stock = stock + 1 where name = ? and colour = ?", product, old)
    store.write("update products set stock = stock - 1 where name = ? and colour = ?", product, colour)
    store.write("update items set colour = ? where order_id = ? and id = ?", colour, order, item)
    return Reply(f"{order} {item} {colour}", wrote=True)


def _change_address(store: Store, customer: str, street: str, postcode: str) -> Reply:
    if street not in STREETS or postcode not in POSTCODES:
        return _error("unknown address")
    store.write("update users set street = ?, postcode = ? where id = ?", street, postcode, customer)
    return Reply(f"{customer} {street} {postcode}", wrote=True)


@dataclass(frozen=True)
class _Implementation:
    schema: Tool
    run: Callable[..., Reply]


def _implement(run: Callable[..., Reply], description: str, **arguments: str) -> _Implementation:
    properties: dict[str, Any] = {name: {"type": "string", "description": text} for name, text in arguments.items()}
    if "items" in properties:
        properties["items"] = {"type": "array", "items": {"type": "string"}, "description": arguments["items"]}
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return _Implementation(Tool(name=run.__name__[1:], description=description, parameters=schema), run)


_ORDER, _POSTCODE = "order handle, such as o3", "postcode, such as p4"
_IMPLEMENTATIONS = (
    _implement(_find_user_by_email, "Look up a customer by e-mail; gives the user handle.", email="such as ann@mail"),
    _implement(
        _find_user_by_name_postcode,
        "Look up a customer by name and postcode; gives the user handle.",
        name="first name",
        postcode=_POSTCODE,
    ),
    _implement(_read_user, "List the customer's orders, each with its first product.", user="user handle, such as u2"),
    _implement(_read_order, "An order's owner, status and items with their products.", order=_ORDER),
    _implement(_read_product, "The colours of a product, and whether each is available.", product="such as lamp"),
    _implement(_cancel_order, "Cancel an open order.", order=_ORDER, reason="why: late, price or mistake"),
    _implement(_return_items, "Return items of a delivered order.", order=_ORDER, items="item handles, such as i1"),
    _implement(
        _exchange_item,
        "Exchange an item of a delivered order for another colour of the same product.",
        order=_ORDER,
        item="item handle, such as i1",
        colour="the new colour, which must be available",
    ),
    _implement(_change_address, "Change the customer's address.", street="street name", postcode=_POSTCODE),
)
_TOOLS = {tool.schema.name: tool for tool in _IMPLEMENTATIONS}

TOOLS: tuple[Tool, ...] = tuple(tool.schema for tool in _IMPLEMENTATIONS)
"""The tools as the policy sees them."""
