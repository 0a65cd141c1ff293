"""Every kind of intent, written as a script about one order, one address or one product."""

from __future__ import annotations

from collections.abc import Callable

from pivot_jax.domains.retail.intents import Ask, Change, Intent, Read, Stages
from pivot_jax.domains.retail.lexicon import (
    AVAILABLE,
    CANCELLED,
    DELIVERED,
    OPEN,
    POSTCODES,
    REASONS,
    STATUSES,
    STREETS,
    UNAVAILABLE,
)
from pivot_jax.domains.retail.speech import Claim
from pivot_jax.domains.retail.subject import Subject
from pivot_jax.records import Action


def _claim(required: str, allowed: str = "") -> Claim:
    return Claim(frozenset(required.split()), frozenset(allowed.split()))


def _confirmations(change: str) -> tuple[str, ...]:
    return f"shall i {change}", f"confirm {change}", f"{change} ok"


def _cancel(subject: Subject, first: bool) -> Intent:
    stages, reference = subject.identify(first)
    order, recorded = subject.order.id, subject.rng.choice(sorted(REASONS))
    said, other = subject.rng.sample(REASONS[recorded], 2)
    return Intent(
        opening="i want to cancel an order",
        followup=f"also cancel {reference}",
        stages=(*stages, (Ask("reason", f"it is {said}"),)),
        claim=_claim(CANCELLED, f"{order} {said} {other}"),
        statements=(f"{order} is cancelled", f"done {order} is cancelled", "your order is cancelled"),
        change=Change(
            _claim(f"cancel {order}", f"{said} {other}"),
            _confirmations(f"cancel {order}"),
            (
                Action.call("cancel_order", order=order, reason=said),
                Action.call("cancel_order", reason=said, order=order),
                Action.call("cancel_order", order=order, reason=other),
            ),
        ),
        falsehoods=(f"sorry {order} is shipped", "sorry can not cancel"),
        temptations=(Action.call("cancel_order", order=subject.decoy.id, reason=said),),
    )


def _return(subject: Subject, first: bool) -> Intent:
    stages, reference = subject.identify(first)
    order, handles = subject.order.id, [item for item, _ in subject.order.items]
    items = sorted(subject.rng.sample(handles, subject.rng.randint(1, len(handles) - 1)))
    spoken, reverse = " and ".join(items), items[::-1]
    wrong = next(item for item in handles if item not in items)
    return Intent(
        opening="i want to return an item",
        followup=f"also return an item for {reference}",
        stages=(*stages, (Ask("item", spoken),)),
        claim=_claim("returned", f"{order} {' '.join(items)}"),
        statements=(f"{spoken} returned", f"done {' and '.join(reverse)} returned", "it is returned"),
        change=Change(
            _claim(f"return {' '.join(items)}", order),
            (f"shall i return {spoken}", f"confirm return {' and '.join(reverse)}", f"return {spoken} ok"),
            (
                Action.call("return_items", order=order, items=items),
                Action.call("return_items", items=reverse, order=order),
            ),
        ),
        falsehoods=(f"sorry {order} is open", "sorry can not return"),
        temptations=(Action.call("return_items", order=order, items=[wrong]),),
    )


def _exchange(subject: Subject, first: bool, possible: bool = True) -> Intent:
    stages, reference = subject.identify(first)
    order = subject.order.id
    item, product = subject.rng.choice(subject.order.items)
    available, unavailable, _ = subject.world.colours[product]
    colour, other = (available, unavailable) if possible else (unavailable, available)
    stages = (*stages, (Ask("item", f"{item} for {colour}"),), (Read("read_product", product),))
    opening, followup = "i want to exchange an item", f"also exchange an item for {reference}"
    wanted = Action.call("exchange_item", order=order, item=item, colour=colour)
    replaced = Action.call("exchange_item", order=order, item=item, colour=other)
    if not possible:
        return Intent(
            opening=opening,
            followup=followup,
            stages=stages,
            claim=_claim(UNAVAILABLE, f"{order} {item} {colour} {product} exchange exchanged"),
            statements=(
                f"sorry {colour} is unavailable",
                "can not exchange it is unavailable",
                "sorry it is unavailable",
            ),
            refused=True,
            falsehoods=(f"sorry {order} is open", f"{item} is exchanged"),
            temptations=(wanted, replaced),
        )
    return Intent(
        opening=opening,
        followup=followup,
        stages=stages,
        claim=_claim("exchanged", f"{order} {item} {product} {colour}"),
        statements=(f"{item} is exchanged", f"done {item} is exchanged", f"{item} exchanged for {colour}"),
        change=Change(
            _claim(f"exchange {item} {colour}", f"{order} {product}"),
            _confirmations(f"exchange {item} for {colour}"),
            (
                wanted,
                Action.call("exchange_item", item=item, colour=colour, order=order),
                Action.call("exchange_item", order=order, colour=colour, item=item),
            ),
        ),
        falsehoods=(f"sorry {colour} is unavailable", "sorry can not exchange"),
        temptations=(replaced, Action.call("return_items", order=order, items=[item])),
    )


def _exchange_refused(subject: Subject, first: bool) -> Intent:
    return _exchange(subject, first, possible=False)


def _address(subject: Subject, first: bool) -> Intent:
    street, postcode = subject.address
    elsewhere = next(name for name in STREETS if name not in (street, subject.world.customer.street))
    return Intent(
        opening="i want to change my address",
        followup="also change my address",
        stages=((Ask("address", f"{street} {postcode}"),),),
        claim=_claim(street, f"{postcode} change"),
        statements=(f"address is {street}", f"done address is {street} {postcode}", f"it is {street} {postcode}"),
        change=Change(
            _claim(f"{street} {postcode}", "change"),
            _confirmations(f"change to {street} {postcode}"),
            (
                Action.call("change_address", street=street, postcode=postcode),
                Action.call("change_address", postcode=postcode, street=street),
            ),
        ),
        falsehoods=("sorry can not change", f"address is {elsewhere}"),
        temptations=(Action.call("change_address", street=elsewhere, postcode=postcode),),
    )


def _status(subject: Subject, first: bool) -> Intent:
    stages, reference = subject.identify(first)
    order, status = subject.order.id, subject.order.status
    wrong = next(word for word in STATUSES if word != status)
    return Intent(
        opening="where is my order",
        followup=f"also where is {reference}",
        stages=stages,
        claim=_claim(status, order),
        statements=(f"{order} is {status}", f"your order is {status}", f"it is {status}"),
        falsehoods=(f"{order} is {wrong}", f"sorry {order} is {wrong}"),
        temptations=(Action.call("cancel_order", order=order, reason="late"),),
    )


def _both_statuses(subject: Subject, first: bool) -> Intent:
    pairs = tuple((order.id, order.status) for order in (subject.order, subject.second))
    (one, status), (two, other) = pairs
    ask: Stages = ((Ask("order", f"{one} and {two}"),),) if first else ()
    return Intent(
        opening="i want to check my orders",
        followup=f"also where is {one} and {two}",
        stages=(*ask, (Read("read_order", one), Read("read_order", two))),
        claim=Claim(frozenset((one, two, status, other)), frozenset(), pairs),
        statements=(f"{one} {status} and {two} {other}", f"{two} {other} and {one} {status}"),
        falsehoods=(f"{one} {other} and {two} {status}",),
    )


def _stock(subject: Subject, first: bool) -> Intent:
    product = subject.rng.choice(sorted(subject.world.colours))
    position = subject.rng.randrange(2)
    colour, state = subject.world.colours[product][position], (AVAILABLE, UNAVAILABLE)[position]
    wrong = (UNAVAILABLE, AVAILABLE)[position]
    ask: Stages = ((Ask("product", f"a {colour} {product}"),),) if first else ()
    return Intent(
        opening="i want a new item",
        followup=f"also is a {colour} {product} available",
        stages=(*ask, (Read("read_product", product),)),
        claim=_claim(state, f"{colour} {product}"),
        statements=(f"{colour} {product} is {state}", f"{colour} is {state}", f"it is {state}"),
        falsehoods=(f"{colour} {product} is {wrong}",),
    )


def _refusal(subject: Subject, first: bool, verb: str, reason: str) -> Intent:
    """A change of the order that the policy forbids; the last word of `reason` must be said."""
    stages, reference = subject.identify(first)
    order = subject.order.id
    cancels = verb == "cancel"
    done, rule, what = ("cancelled", OPEN, "an order") if cancels else ("returned", DELIVERED, "an item")
    wanted = (
        Action.call("cancel_order", order=order, reason="late")
        if cancels
        else Action.call("return_items", order=order, items=[subject.order.items[0][0]])
    )
    return Intent(
        opening=f"i want to {verb} {what}",
        followup=f"also cancel {reference}" if cancels else f"also return an item for {reference}",
        stages=stages,
        # A refusal may quote the rule: which status would have been needed.
        claim=_claim(reason.split()[-1], f"{order} {verb} {done} {rule}"),
        statements=(f"sorry {order} is {reason}", f"can not {verb} {order} {reason}", f"sorry it is {reason}"),
        refused=True,
        falsehoods=(f"done {order} is {done}", f"sorry {order} is {rule}"),
        temptations=(wanted,),
    )


def _cancel_refused(subject: Subject, first: bool) -> Intent:
    return _refusal(subject, first, "cancel", subject.order.status)


def _foreign_refused(subject: Subject, first: bool) -> Intent:
    return _refusal(subject, first, "cancel", "not yours")


def _return_refused(subject: Subject, first: bool) -> Intent:
    return _refusal(subject, first, "return", subject.order.status)


def _shop(subject: Subject, first: bool) -> Intent:
    street, postcode = subject.shop
    wrong = next(code for code in POSTCODES if code != postcode)
    return Intent(
        opening="where is the new shop",
        followup="also where is the new shop",
        stages=(),
        claim=_claim(f"{street} {postcode}", "open"),
        statements=(f"it is {street} {postcode}", f"the shop is {street} {postcode}"),
        falsehoods=(f"it is {street} {wrong}", f"the shop is {subject.world.customer.street} {wrong}"),
    )


BUILDERS: dict[str, Callable[[Subject, bool], Intent]] = {
    "cancel": _cancel,
    "return": _return,
    "exchange": _exchange,
    "address": _address,
    "status": _status,
    "both_statuses": _both_statuses,
    "stock": _stock,
    "cancel_refused": _cancel_refused,
    "return_refused": _return_refused,
    "exchange_refused": _exchange_refused,
    "foreign_refused": _foreign_refused,
    "shop": _shop,
}
"""Every kind of intent: (subject, is it the first of the task) to its script."""
