"""Skills on numbers, written digit by digit with one token a digit.

Sums and differences are answered from the units up, the order in which carries arise.
"""

from __future__ import annotations

import random

from pivot_jax.domains.skills.task import Question, question

COLUMNS = 3
CARRY_SHARE = 0.1
"""Probability that a column carries. Of random digits 45 % would, which a policy of a million parameters does not learn
from a few thousand examples; and a skill that the base lacks cannot be forgotten."""


def ask_add(rng: random.Random) -> Question:
    """`add 0 4 2 + 1 2 9 =` → `1 7 1 0`: the sum from the units up, in four digits."""
    a, b = _addends(rng)
    answer = _units_up(_value(a) + _value(b), COLUMNS + 1)
    return question(f"add {_spaced(a)} + {_spaced(b)} =", _spaced(answer), *_column_slips(answer, rng))


def ask_subtract(rng: random.Random) -> Question:
    """`take 1 2 9 from 0 1 7 1` → `2 4 0`: the difference from the units up, in three digits."""
    a, b = _addends(rng)
    total = _units_up(_value(a) + _value(b), COLUMNS + 1)[::-1]
    answer = a[::-1]
    return question(f"take {_spaced(b)} from {_spaced(total)}", _spaced(answer), *_column_slips(answer, rng))


def ask_compare(rng: random.Random) -> Question:
    """`compare 4 5 2 with 4 6 1` → `less`, `same` or `more`; up to three leading digits are made to agree."""
    a, b = (rng.choices(range(10), k=3) for _ in range(2))
    (shared,) = rng.choices(range(4), weights=(4, 3, 2, 1))
    b[:shared] = a[:shared]
    answer = "less" if a < b else "more" if a > b else "same"
    return question(f"compare {_spaced(a)} with {_spaced(b)}", answer, "less", "same", "more")


def ask_sort(rng: random.Random) -> Question:
    """`sort 7 3 9 1 3` → `1 3 3 7 9`: five or six digits in rising order."""
    digits = rng.choices(range(10), k=rng.randint(5, 6))
    rising = sorted(digits)
    return question(f"sort {_spaced(digits)}", _spaced(rising), _spaced(rising[::-1]), _spaced(rising[1:]))


def _addends(rng: random.Random) -> tuple[list[int], list[int]]:
    """The digits of two numbers; pairs of digits are equally likely among those that carry, and those that do not."""
    pairs = [(x, y) for x in range(10) for y in range(10)]
    columns = []
    for _ in range(COLUMNS):
        carries = rng.random() < CARRY_SHARE
        columns.append(rng.choice([pair for pair in pairs if (sum(pair) > 9) == carries]))
    return [x for x, _ in columns], [y for _, y in columns]


def _value(digits: list[int]) -> int:
    return int("".join(map(str, digits)))


def _units_up(number: int, width: int) -> list[int]:
    return [number // 10**column % 10 for column in range(width)]


def _column_slips(digits: list[int], rng: random.Random) -> list[str]:
    """The number with one column a unit off, and with two neighbouring columns swapped."""
    column = rng.randrange(len(digits) - 1)
    off = [*digits[:column], (digits[column] + 1) % 10, *digits[column + 1 :]]
    swapped = [*digits[:column], digits[column + 1], digits[column], *digits[column + 2 :]]
    return [_spaced(off), _spaced(swapped)]


def _spaced(digits: list[int]) -> str:
    return " ".join(map(str, digits))
