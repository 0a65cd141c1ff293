from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable

import pytest

from pivot_jax.domains.environment import Reset, demonstrate
from pivot_jax.domains.skills import SKILLS
from pivot_jax.domains.skills.words import WORDS
from pivot_jax.records import Action

SEEDS = range(500)


def asked(reset: Reset, seed: int) -> str:
    return reset(seed).opening()[1].content


def answered(reset: Reset, seed: int) -> str:
    return reset(seed).demonstrations()[0].content


def number(digits: str, order: int = -1) -> int:
    """The number that spaced digits write: units first, or as usual with `order` 1."""
    return int(digits.replace(" ", "")[::order])


def add(question: str) -> str:
    a, b = re.fullmatch(r"add ([\d ]+) \+ ([\d ]+) =", question).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return " ".join(reversed(str(number(a) + number(b)).zfill(4)))


def subtract(question: str) -> str:
    b, a = question.removeprefix("take ").split(" from ")
    return " ".join(reversed(str(number(a) - number(b)).zfill(3)))


def sort(question: str) -> str:
    counts = Counter(question.split()[1:])
    return " ".join(digit for digit in "0123456789" for _ in range(counts[digit]))


def reverse(question: str) -> str:
    words = question.split()
    return " ".join(words.pop() for _ in range(len(words) - 1))


def count(question: str) -> str:
    words, target = question.removeprefix("in ").split(" count ")
    return str(len(re.findall(rf"\b{target}\b", words)))


def compare(question: str) -> str:
    a, b = (number(digits, order=1) for digits in question.removeprefix("compare ").split(" with "))
    return {-1: "less", 0: "same", 1: "more"}[(a > b) - (a < b)]


def as_json(question: str) -> str:
    text = re.sub(r"(\d) (\d)", r"\1\2", question)
    _, first, one, second, other = text.split()
    written = json.dumps({first: one, second: other}, sort_keys=True).replace('"', "")
    return re.sub(r"(\d)(\d)", r"\1 \2", re.sub(r"([{},:])", r" \1 ", written))


def nth(question: str) -> str:
    place, words = re.fullmatch(r"word (\d) of (.*)", question).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return words.split()[int(place) - 1]


def copy(question: str) -> str:
    return question[len("copy ") :]


def spell(question: str) -> str:
    if question.startswith("spell "):
        return " ".join(letter for letter in question.removeprefix("spell ") if letter != " ")
    dictionary = {tuple(sorted(word)): word for word in WORDS}
    scrambled = question.removeprefix("unscramble ").split(" , ")
    return " ".join(dictionary[tuple(sorted(letters.split()))] for letters in scrambled)


ORACLES: dict[str, Callable[[str], str]] = {
    "add": add,
    "subtract": subtract,
    "sort": sort,
    "reverse": reverse,
    "count": count,
    "compare": compare,
    "json": as_json,
    "nth": nth,
    "copy": copy,
    "spell": spell,
}

every_skill = pytest.mark.parametrize("name", list(SKILLS))


def test_there_are_ten_skills() -> None:
    assert set(SKILLS) == set(ORACLES)
    assert len(SKILLS) == 10


@every_skill
def test_answers_are_right(name: str) -> None:
    for seed in SEEDS:
        question = asked(SKILLS[name], seed)
        assert answered(SKILLS[name], seed).split() == ORACLES[name](question).split(), question


@every_skill
def test_the_answer_solves_and_nothing_else_does(name: str) -> None:
    for seed in SEEDS:
        fresh = SKILLS[name](seed)
        assert (fresh.done, fresh.remaining(), fresh.outcome()) == (False, 1.0, 0.0)
        (right,) = fresh.demonstrations()
        solved = fresh.clone()
        assert solved.step(right) == ()
        assert (solved.done, solved.remaining(), solved.outcome()) == (True, 0.0, 1.0)
        assert not fresh.done, "stepping a clone changed the original"
        assert fresh.mistakes()
        for mistake in fresh.mistakes():
            failed = fresh.clone()
            failed.step(mistake)
            assert (failed.done, failed.remaining(), failed.outcome()) == (True, math.inf, 0.0)
            failed.step(right)
            assert failed.outcome() == 0.0, "a second answer was accepted"


@every_skill
def test_hostile_answers_score_zero(name: str) -> None:
    right = SKILLS[name](0).demonstrations()[0]
    hostile = [
        Action(),
        Action.say(" \n "),
        Action.say("9 " * 1_000_000),
        Action.say(right.content + " " + right.content),
        Action.say("\0\ud800" * 1000),
        Action.call("answer", text=right.content),
        Action.call("answer").model_copy(update={"content": right.content}),
        right.model_copy(update={"malformed": "cut off"}),
    ]
    for action in hostile:
        env = SKILLS[name](0)
        env.step(action)
        assert (env.done, env.outcome()) == (True, 0.0)


def test_spacing_and_case_do_not_matter() -> None:
    env = SKILLS["copy"](0)
    env.step(Action.say("  " + env.demonstrations()[0].content.upper().replace(" ", "\n ") + "\n"))
    assert env.outcome() == 1.0


@every_skill
def test_a_seed_is_one_question_for_ever(name: str) -> None:
    assert [asked(SKILLS[name], seed) for seed in SEEDS] == [asked(SKILLS[name], seed) for seed in SEEDS]


def test_questions_do_not_depend_on_the_process() -> None:
    # Recorded once. A change here silently changes what every stored profile and result was about.
    assert {name: asked(reset, 0) for name, reset in SKILLS.items()} == {
        "add": "add 3 3 1 + 4 2 5 =",
        "subtract": "take 6 3 2 from 7 6 3 0",
        "sort": "sort 6 6 5 1 0 9",
        "reverse": "reverse field cloud grape dance glass wind",
        "count": "in apple bread chair bread cloud cloud chair count chair",
        "compare": "compare 3 3 0 with 3 3 5",
        "json": "json size 5 7 name river",
        "nth": "word 1 of snow piano wind moon music horse",
        "copy": "copy chair stone cloud chair dance light chair wind",
        "spell": "spell paper river",
    }


@every_skill
def test_most_questions_are_new(name: str) -> None:
    questions = {asked(SKILLS[name], seed) for seed in range(2000)}
    least = {"spell": 1300}.get(name, 1800)
    assert len(questions) >= least


@every_skill
def test_lengths_and_spacing(name: str) -> None:
    for seed in SEEDS:
        question, answer = asked(SKILLS[name], seed), answered(SKILLS[name], seed)
        assert len(question.split(" ")) <= 14
        assert 1 <= len(answer.split(" ")) <= 10
        assert "" not in [*question.split(" "), *answer.split(" ")]


def test_vocabulary_is_small_and_closed() -> None:
    def words(seeds: range) -> set[str]:
        pairs = [(asked(reset, seed), answered(reset, seed)) for reset in SKILLS.values() for seed in seeds]
        return {word for pair in pairs for text in pair for word in text.split()}

    vocabulary = words(range(2000))
    assert len(vocabulary) <= 120
    assert words(range(10_000, 10_500)) <= vocabulary
    assert len({tuple(sorted(word)) for word in WORDS}) == 24, "two words share their letters"
    assert {len(word) for word in WORDS} == {4, 5}


@every_skill
def test_answers_are_not_guessable(name: str) -> None:
    answers = Counter(answered(SKILLS[name], seed) for seed in SEEDS)
    assert answers.most_common(1)[0][1] / len(SEEDS) < 0.5


@every_skill
def test_demonstrated_episode(name: str) -> None:
    trajectory = demonstrate(SKILLS[name], name, 3)
    assert [message.role for message in trajectory.messages] == ["system", "user", "assistant"]
    assert trajectory.messages[0].content.splitlines()[0] == "skills"
    assert (trajectory.reward, trajectory.tools) == (1.0, ())
    assert demonstrate(SKILLS[name], name, 3, error_rate=1.0).reward == 0.0
