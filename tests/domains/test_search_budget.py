"""The search domain's knobs, and its budgets of words, tokens, turns and time."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pivot_jax.data.small_tokenizer import build_small_tokenizer, training_texts
from pivot_jax.domains.environment import demonstrate
from pivot_jax.domains.retail import reset as reset_retail
from pivot_jax.domains.search import Knobs, Search, reset, routine_share, turns
from pivot_jax.domains.search.lexicon import CHORES, WAIT
from pivot_jax.domains.terminal import reset as reset_terminal
from pivot_jax.records import Message, Trajectory

STYLES = 3

LENGTHS = [
    (Knobs(hops=(1,), listed=1.0, routine=1, waits=(0,)), 3, 0.33),
    (Knobs(hops=(1,), listed=1.0, routine=1, waits=(1,)), 4, 0.50),
    (Knobs(hops=(1,), listed=1.0, routine=3, waits=(0,)), 5, 0.60),
    (Knobs(hops=(2,), listed=1.0, routine=1, waits=(0,)), 6, 0.33),
    (Knobs(hops=(1,), listed=0.0, routine=1, waits=(2,)), 6, 0.50),
    (Knobs(hops=(1,), listed=1.0, routine=2, waits=(2,)), 6, 0.67),
    (Knobs(hops=(4,), listed=1.0, routine=1, waits=(0,)), 12, 0.33),
    (Knobs(hops=(3,), listed=1.0, routine=1, waits=(3,)), 12, 0.50),
    (Knobs(hops=(2,), listed=1.0, routine=2, waits=(4,)), 12, 0.67),
    (Knobs(hops=(1,), listed=1.0, routine=3, waits=(7,)), 12, 0.83),
    (Knobs(hops=(8,), listed=1.0, routine=1, waits=(0,)), 24, 0.33),
    (Knobs(hops=(6,), listed=1.0, routine=2, waits=(0,)), 24, 0.50),
    (Knobs(hops=(4,), listed=1.0, routine=2, waits=(8,)), 24, 0.67),
    (Knobs(hops=(2,), listed=0.0, routine=3, waits=(13,)), 24, 0.79),
]
"""Knobs, and the turns and the routine share that they give."""


def play(env: Search, style: int = 0) -> list[Message]:
    """The messages of an expert episode, however long."""
    messages = list(env.opening())
    while not env.done:
        options = env.demonstrations()
        action = options[style % len(options)]
        messages += [action.message(), *env.step(action)]
    assert env.outcome() == 1.0
    return messages


@pytest.mark.parametrize(("knobs", "length", "share"), LENGTHS)
def test_knobs_set_length_and_routine_share_exactly(knobs: Knobs, length: int, share: float) -> None:
    knobs = replace(knobs, distractors=min(3, 40 // knobs.hops[0] - 1))
    assert turns(knobs) == (length, length)
    assert routine_share(knobs) == pytest.approx(share, abs=0.01)
    for seed in range(4):
        names = [message.tool_calls[0].name for message in play(reset(seed, knobs), seed) if message.tool_calls]
        assert len(names) == length
        assert sum(name in (*CHORES, WAIT) for name in names) / length == pytest.approx(share, abs=0.01)


LISTED_WAITS = Knobs(hops=(2,), listed=1.0, waits=(0, 3, 3))


def test_a_number_of_waits_given_twice_is_drawn_twice_as_often() -> None:
    waits = [sum(hop.chores.count(WAIT) for hop in reset(seed, LISTED_WAITS).task.hops) for seed in range(300)]
    assert set(waits) == {0, 3} and statistics.mean(waits) == pytest.approx(2, abs=0.25)
    assert routine_share(LISTED_WAITS) == pytest.approx(4 / 8)


def test_turns_bounds_what_occurs() -> None:
    for knobs in (Knobs(), Knobs(hops=(1, 4), listed=0.0), Knobs(hops=(2,), routine=3, waits=(2,)), LISTED_WAITS):
        lengths = {reset(seed, knobs).remaining() for seed in range(80)}
        assert (min(lengths), max(lengths)) == turns(knobs)


@pytest.mark.parametrize(
    "knobs",
    [
        Knobs(hops=(10,), distractors=0),
        Knobs(hops=(10,), distractors=3, hard_share=0.5),
        Knobs(hops=(8,), distractors=4, hard_share=0.5),
        Knobs(hops=(1,), distractors=4, routine=0, waits=(20,)),
        Knobs(hard_share=1.0, listed=0.0, distractors=0, synonyms=1.0),
    ],
)
def test_tasks_at_the_edges_of_the_knobs_are_solved(knobs: Knobs) -> None:
    for seed in range(8):
        env = reset(seed, knobs)
        left = env.remaining()
        assert sum(message.role == "assistant" for message in play(env, seed)) == left


@pytest.mark.parametrize(
    "wrong",
    [
        {"hops": ()},
        {"hops": (0,)},
        {"hops": (11,)},
        {"routine": 4},
        {"waits": (21,)},
        {"waits": ()},
        {"distractors": 5},
        {"distractors": -1},
        {"hops": (10,), "distractors": 4},
        {"listed": 1.5},
        {"hard_share": -0.1},
        {"synonyms": 2},
        {"templates": ("juggle",)},
        {"templates": ()},
    ],
)
def test_impossible_knobs_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(reversed(wrong))):
        Knobs(**wrong)


def test_the_hard_share_is_the_share_of_hops() -> None:
    for share in (0.0, 0.3, 1.0):
        hops = [hop for seed in range(120) for hop in reset(seed, Knobs(hard_share=share)).task.hops]
        assert statistics.mean(hop.secret for hop in hops) == pytest.approx(share, abs=0.06)


def test_vocabulary_and_tokens_stay_within_the_budget(tmp_path: Path) -> None:
    clean = [demonstrate(reset, "search", seed, style=style) for seed in range(60) for style in range(STYLES)]
    noisy = [demonstrate(reset, "search", seed, style=seed % STYLES, error_rate=0.4) for seed in range(60, 160)]
    long = [
        Trajectory(id=str(seed), task_id="long", messages=tuple(play(reset(seed, knobs), seed)))
        for seed in range(5)
        for knobs in (LENGTHS[-4][0], LENGTHS[-1][0], Knobs(hops=(8,), listed=0.0, routine=0, waits=(7,)))
    ]
    texts = [*training_texts(clean)]
    everything = [*texts, *training_texts(noisy), *training_texts(long)]
    tokenizer = build_small_tokenizer(everything, tmp_path / "search")
    others = [
        demonstrate(domain, name, seed, style=seed % 4, error_rate=0.3)
        for name, domain in (("retail", reset_retail), ("terminal", reset_terminal))
        for seed in range(80)
    ]
    known = build_small_tokenizer(training_texts(others), tmp_path / "others").get_vocab()
    assert len(set(tokenizer.get_vocab()) - set(known)) <= 110
    lengths = [len(tokenizer(text)["input_ids"]) for text in texts]
    assert max(lengths) <= 176 and 100 <= statistics.mean(lengths) <= 130
    assert max(len(tokenizer(text)["input_ids"]) for text in training_texts(long)) <= 420
    assert max(len(tokenizer(text.split("<|user|>")[0])["input_ids"]) for text in everything) <= 25
    actions = [part.split("<|end|>")[0] for text in everything for part in text.split("<|assistant|>")[1:]]
    assert max(len(tokenizer(action)["input_ids"]) for action in actions) <= 14


def test_default_tasks_have_the_intended_shape() -> None:
    lengths = [reset(seed).remaining() for seed in range(120)]
    assert (min(lengths), max(lengths)) == turns(Knobs()) == (7, 11)
    assert 0.38 < routine_share(Knobs()) < 0.45


def test_verification_is_fast() -> None:
    cases = []
    for seed in range(30):
        env = reset(seed)
        while not env.done:
            cases += [(env.clone(), action) for action in (*env.demonstrations(), *env.mistakes())]
            env.step(env.demonstrations()[0])
    began = time.process_time()
    for env, action in cases:
        branch = env.clone()
        branch.step(action)
        branch.remaining()
    assert len(cases) / (time.process_time() - began) > 1_500
