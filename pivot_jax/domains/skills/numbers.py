"""Skills on numbers, written digit by digit with one token a digit."""

from __future__ import annotations

import random

from pivot_jax.domains.skills.task import Question, question

COLUMNS = 4
"""Columns of a sum or difference. None of them carries: carrying is beyond a policy of a million parameters that sees
a few thousand examples, and a skill that the base lacks cannot be forgotten."""


def ask_add(rng: random.Random) -> Question:
    """`add 0 1 4 2 + 3 1 4 0 =` → `3 2 8 2`: a sum without carries."""
    a, b = _addends(rng)
    total = [x + y for x, y in zip(a, b, strict=True)]
    return question(f"add {_spaced(a)} + {_spaced(b)} =", _spaced(total), *_column_slips(total, rng))


def ask_subtract(rng: random.Random) -> Question:
    """`take 3 1 4 0 from 3 2 8 2` → `0 1 4 2`: a difference without borrowing."""
    a, b = _addends(rng)
    total = [x + y for x, y in zip(a, b, strict=True)]
    return question(f"take {_spaced(b)} from {_spaced(total)}", _spaced(a), *_column_slips(a, rng))


def ask_compare(rng: random.Random) -> Question:
    """`compare 4 5 with 4 6` → `less`, `same` or `more`; the shared leading digits vary from none to all."""
    a, b = (rng.choices(range(10), k=2) for _ in range(2))
    shared = rng.randrange(3)
    b[:shared] = a[:shared]
    answer = "less" if a < b else "more" if a > b else "same"
    return question(f"compare {_spaced(a)} with {_spaced(b)}", answer, "less", "same", "more")


def ask_sort(rng: random.Random) -> Question:
    """`sort 7 3 9 1 3` → `1 3 3 7 9`: five or six digits in rising order."""
    digits = rng.choices(range(10), k=rng.randint(5, 6))
    rising = sorted(digits)
    return question(f"sort {_spaced(digits)}", _spaced(rising), _spaced(rising[::-1]), _spaced(digits))


def _addends(rng: random.Random) -> tuple[list[int], list[int]]:
    """Two numbers whose columns add up to at most 8."""
    return rng.choices(range(5), k=COLUMNS), rng.choices(range(5), k=COLUMNS)


def _column_slips(digits: list[int], rng: random.Random) -> list[str]:
    """The number with one column a unit too high, and with two neighbouring columns swapped."""
    column = rng.randrange(COLUMNS - 1)
    one_more = [*digits[:column], digits[column] + 1, *digits[column + 1 :]]
    swapped = [*digits[:column], digits[column + 1], digits[column], *digits[column + 2 :]]
    return [_spaced(one_more), _spaced(swapped)]


def _spaced(digits: list[int]) -> str:
    return " ".join(map(str, digits))
