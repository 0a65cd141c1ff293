"""The closed vocabulary of values: everything that a database row, an argument or a claim can name."""

from __future__ import annotations

NAMES = ("ann", "bob", "eve", "joe", "kim", "lee", "max", "zoe")
USERS = tuple(f"u{mark}" for mark in "01234567")
# Letters with which "o" would make an English word are left out.
ORDERS = tuple(f"o{mark}" for mark in "0123456789abcdegijlmpqstu")
ITEMS = tuple(f"i{mark}" for mark in "01234")
POSTCODES = tuple(f"p{mark}" for mark in "01234")
STREETS = ("ash", "bay", "elm", "oak")
PRODUCTS = ("bag", "cup", "hat", "lamp", "mug", "pen")
COLOURS = ("black", "blue", "green", "red")

OPEN, SHIPPED, DELIVERED, CANCELLED = STATUSES = ("open", "shipped", "delivered", "cancelled")
AVAILABLE, UNAVAILABLE = "available", "unavailable"

REASONS: dict[str, tuple[str, ...]] = {
    "late": ("late", "slow"),
    "price": ("price", "expensive"),
    "mistake": ("mistake", "wrong"),
}
"""What the database records as a reason, and the words that a person may use for it."""

VERBS = ("cancel", "return", "exchange", "change", "returned", "exchanged")

VALUES = frozenset(
    word
    for words in (USERS, ORDERS, ITEMS, POSTCODES, STREETS, PRODUCTS, COLOURS, STATUSES, VERBS, *REASONS.values())
    for word in words
) | {AVAILABLE, UNAVAILABLE, "yours"}
"""Words that carry the content of a statement; all the others are wording."""


def email_of(name: str) -> str:
    """The e-mail address of the user with this name."""
    return f"{name}@mail"


def reason_in(text: str) -> str | None:
    """The recorded reason that `text` names, or None if it names none or several."""
    words = set(text.split())
    named = [reason for reason, synonyms in REASONS.items() if words & set(synonyms)]
    return named[0] if len(named) == 1 else None
