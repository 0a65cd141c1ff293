"""The closed vocabulary: names, kinds, relations and their synonyms, handles, chores, and the fixed phrases."""

from __future__ import annotations

import re

PEOPLE = ("ann", "bob", "eve", "joe", "kim", "lee", "max", "zoe")
SURNAMES = ("black", "blue", "green", "red", "white")
PLACES = ("ash", "bay", "elm", "fox", "hill", "lake", "moon", "oak", "star", "sun")
"""First names of people, their second names, and the names that things of every kind share."""

ROLES = {"team": "leader", "town": "mayor", "book": "author", "school": "head", "band": "singer"}
"""Each kind of thing, which is also a person's relation to it, and the relation that leads from it to a person."""

KINDS = tuple(ROLES)
FOUNDER = "founder"
"""A relation that every thing has and no question asks for."""

SYNONYMS = {
    "team": "club", "town": "city", "book": "novel", "school": "college", "band": "group",
    "leader": "boss", "mayor": "chief", "author": "writer", "head": "master", "singer": "voice",
}  # fmt: skip
"""Relations, and the other word by which a question or a query may call them."""

HANDLES = tuple(f"{letter}{digit}" for letter in "abcd" for digit in range(10))

CHORES = ("note", "back", "check")
"""Routine turns that may be due after a document was opened."""

WAIT = "wait"
BUSY, OK, NOTHING, SECRET = "busy", "ok", "none", "secret"
PUZZLED = "i do not understand"
GIVING_UP = "no thanks goodbye"

MOST_WORDS = 8
"""Words of a query or of a name; longer ones are refused."""

FILLERS = frozenset(("the", "a", "an", "it", "is", "of"))
"""Words of an answer or of a title that say nothing."""


def words_in(text: str) -> tuple[str, ...]:
    """The words of a text in small letters, without punctuation."""
    return tuple(re.findall(r"[a-z0-9]+", text.lower()))


def content_words(text: str) -> tuple[str, ...]:
    """The words of a text that are not fillers."""
    return tuple(word for word in words_in(text) if word not in FILLERS)
