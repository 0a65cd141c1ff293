"""The terminal domain's knobs, and its budgets of words, turns and time."""

from __future__ import annotations

import json
import statistics
import time

import pytest

from pivot_jax.domains.environment import demonstrate
from pivot_jax.domains.terminal import TEMPLATES, Knobs, reset
from pivot_jax.records import Message

STYLES = 4


def words(message: Message) -> list[str]:
    """The words of a message as a word-level tokenizer counts them: names, argument names, values; `/` alone."""
    found = message.content.replace("/", " / ").split()
    for call in message.tool_calls:
        arguments = json.loads(call.arguments)
        found += [call.name, *arguments, *" ".join(arguments.values()).replace("/", " / ").split()]
    return found


def test_templates_can_be_held_out() -> None:
    chosen = ("sort+move+count", "drop+unique+move+last")
    knobs = Knobs(templates=chosen)
    assert {reset(seed, knobs).task.template for seed in range(10)} == set(chosen)
    assert {reset(seed, Knobs(sub_goals=(2, 2))).task.template.count("+") for seed in range(20)} == {1}
    seen = {reset(seed, Knobs(sub_goals=(2, 4))).task.template for seed in range(400)}
    assert seen == set(TEMPLATES)


@pytest.mark.parametrize(
    "wrong", [{"templates": ("juggle",)}, {"sub_goals": (7, 8)}, {"distractors": -1}, {"distractors": 50}]
)
def test_impossible_knobs_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"terminal|distractors"):
        Knobs(**wrong)


@pytest.mark.parametrize(
    "knobs",
    [
        Knobs(distractors=0, described=1.0),
        Knobs(distractors=6, second_file=1.0),
        Knobs(boilerplate=0.0),
        Knobs(boilerplate=0.9),
    ],
)
def test_tasks_at_the_edges_of_the_knobs_are_solved(knobs: Knobs) -> None:
    for seed in range(25):
        trajectory = demonstrate(lambda number: reset(number, knobs), "terminal", seed, style=seed % STYLES)
        assert trajectory.reward == 1.0


def test_more_boilerplate_makes_longer_tasks() -> None:
    def planned(share: float) -> float:
        return statistics.mean(reset(seed, Knobs(boilerplate=share)).remaining() for seed in range(50))

    assert planned(0.0) < planned(0.3) < planned(0.6)


def test_vocabulary_and_lengths_stay_within_the_budget() -> None:
    vocabulary: set[str] = set()
    lengths, turns, outputs = [], [], []
    for seed in range(300):
        trajectory = demonstrate(reset, "terminal", seed, style=seed % STYLES)
        noisy = demonstrate(reset, "terminal", seed, style=seed % STYLES, error_rate=0.3)
        for message in (*trajectory.messages, *noisy.messages):
            vocabulary.update(words(message))
        lengths.append(sum(len(words(message)) for message in trajectory.messages[1:]))
        turns.append(sum(message.role == "assistant" for message in trajectory.messages))
        outputs += [len(words(message)) for message in trajectory.messages if message.role == "tool"]
    assert len(vocabulary) <= 170
    assert max(lengths) <= 170 and 90 <= statistics.mean(lengths) <= 120
    assert max(turns) <= 9 and min(turns) >= 4 and 6.5 <= statistics.mean(turns) <= 8.5
    assert statistics.quantiles(outputs, n=20)[-1] <= 20 and max(outputs) <= 36


def test_verification_is_fast() -> None:
    envs = [reset(seed) for seed in range(40)]
    for env in envs:
        env.step(env.demonstrations()[0])
    cases = [(env, action) for env in envs for action in (*env.demonstrations(), *env.mistakes())]
    start = time.process_time()
    for env, action in cases:
        branch = env.clone()
        branch.step(action)
        assert env.remaining() > 0 and branch.remaining() >= 0
    # Every case takes two calls of remaining(); the margin is for a busy machine.
    assert len(cases) / (time.process_time() - start) > 1000
