"""Skills on words: lists of words, records and letters, over one short list of content words."""

from __future__ import annotations

import random

from pivot_jax.domains.skills.task import Question, question

# fmt: off
WORDS = (
    "apple", "bread", "chair", "cloud", "dance", "field", "glass", "grape", "horse", "house", "light", "lemon",
    "moon", "music", "paper", "piano", "river", "sheep", "snow", "stone", "table", "tiger", "train", "wind",
)
# fmt: on
"""Four or five letters each, so that two spelt words fit an answer."""

COUNTED = WORDS[:4]
"""Counting takes one comparison a word and is learnt far more slowly than the rest; fewer words make it learnable."""

WORD_KEYS = ("name", "pet", "home", "food")
NUMBER_KEYS = ("age", "cost", "size")


def ask_reverse(rng: random.Random) -> Question:
    """`reverse moon snow wind lemon` → `lemon wind snow moon`: four to six words."""
    words = rng.choices(WORDS, k=rng.randint(4, 6))
    backwards = words[::-1]
    return question(f"reverse {' '.join(words)}", " ".join(backwards), " ".join(words), " ".join(backwards[1:]))


def ask_copy(rng: random.Random) -> Question:
    """`copy moon snow wind lemon horse` → `moon snow wind lemon horse`: five to eight words."""
    words = rng.choices(WORDS, k=rng.randint(5, 8))
    return question(f"copy {' '.join(words)}", " ".join(words), " ".join(words[:-1]), " ".join(words[::-1]))


def ask_count(rng: random.Random) -> Question:
    """`in chair apple cloud apple bread chair count apple` → `2`: none to four among six to eight words."""
    target, *others = rng.sample(COUNTED, k=len(COUNTED))
    length, count = rng.randint(6, 8), rng.randrange(5)
    words = [target] * count + rng.choices(others, k=length - count)
    rng.shuffle(words)
    slips = (str(near) for near in (count + 1, count - 1) if near >= 0)
    return question(f"in {' '.join(words)} count {target}", str(count), *slips)


def ask_nth(rng: random.Random) -> Question:
    """`word 3 of moon snow wind lemon horse apple` → `wind`: one of six different words."""
    words = rng.sample(WORDS, k=6)
    place = rng.randrange(len(words))
    slips = (words[near] for near in (place - 1, place + 1) if 0 <= near < len(words))
    return question(f"word {place + 1} of {' '.join(words)}", words[place], *slips)


def ask_json(rng: random.Random) -> Question:
    """`json name moon age 3 4` → `{ age : 3 4 , name : moon }`: two fields in the order of their keys."""
    first = (rng.choice(WORD_KEYS), rng.choice(WORDS))
    if rng.random() < 0.5:
        # One number at most: with two, the answer would pass ten words.
        second = (rng.choice(NUMBER_KEYS), " ".join(rng.choices("0123456789", k=2)))
    else:
        second = (rng.choice([key for key in WORD_KEYS if key != first[0]]), rng.choice(WORDS))
    fields = [first, second]
    rng.shuffle(fields)
    inside = [f"{key} : {value}" for key, value in sorted(fields)]
    return question(
        f"json {' '.join(f'{key} {value}' for key, value in fields)}",
        f"{{ {' , '.join(inside)} }}",
        f"{{ {' '.join(inside)} }}",
        f"{{ {' , '.join(inside[::-1])} }}",
    )


def ask_spell(rng: random.Random) -> Question:
    """`spell moon snow` → `m o o n s n o w`, or back from any order: `unscramble o n o m , w o n s` → `moon snow`."""
    first, second = rng.choices(WORDS, k=2)
    if rng.random() < 0.5:
        slips = (" ".join(first), " ".join(second + first))
        return question(f"spell {first} {second}", " ".join(first + second), *slips)
    letters = (" ".join(rng.sample(word, k=len(word))) for word in (first, second))
    return question(f"unscramble {' , '.join(letters)}", f"{first} {second}", f"{second} {first}", first)
