"""Skills on numbers, written digit by digit with one token a digit.

Sums and differences are written units first, question and answer: carries then arise in the order of the answer, and
the digits of a column stand at constant distances, which is what makes them learnable from a few thousand examples.
"""

from __future__ import annotations

import random

from pivot_jax.domains.skills.task import Question, question

COLUMNS = 3
CARRY_SHARE = 0.1
"""Probability that a column carries. Of random digits 45 % would, which a policy of a million parameters does not learn
in that time; and a skill that the base lacks cannot be forgotten."""


def ask_add(rng: random.Random) -> Question:
    """`add 2 4 0 + 9 2 1 =` → `1 7 1 0`: a sum in four digits, units first (42 + 129 = 171)."""
    a, b = _addends(rng)
    total = _units_first(_value(a) + _value(b))
    return question(f"add {_spaced(a)} + {_spaced(b)} =", _spaced(total), *_column_slips(total, rng))


def ask_subtract(rng: random.Random) -> Question:
    """`take 9 2 1 from 1 7 1 0` → `2 4 0`: a difference in three digits, units first (171 - 129 = 42)."""
    a, b = _addends(rng)
    total = _units_first(_value(a) + _value(b))
    return question(f"take {_spaced(b)} from {_spaced(total)}", _spaced(a), *_column_slips(a, rng))


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
    """The columns of two numbers; pairs of digits are equally likely among those that carry, and those that do not."""
    pairs = [(x, y) for x in range(10) for y in range(10)]
    columns = []
    for _ in range(COLUMNS):
        carries = rng.random() < CARRY_SHARE
        columns.append(rng.choice([pair for pair in pairs if (sum(pair) > 9) == carries]))
    return [x for x, _ in columns], [y for _, y in columns]


def _value(units_first: list[int]) -> int:
    return sum(digit * 10**column for column, digit in enumerate(units_first))


def _units_first(total: int) -> list[int]:
    return [total // 10**column % 10 for column in range(COLUMNS + 1)]


def _column_slips(digits: list[int], rng: random.Random) -> list[str]:
    """The number with one column a unit off, and with two neighbouring columns swapped."""
    column = rng.randrange(len(digits) - 1)
    off = [*digits[:column], (digits[column] + 1) % 10, *digits[column + 1 :]]
    swapped = [*digits[:column], digits[column + 1], digits[column], *digits[column + 2 :]]
    return [_spaced(off), _spaced(swapped)]


def _spaced(digits: list[int]) -> str:
    return " ".join(map(str, digits))
