"""Hostile and random actions in the coding environment: answered in known words, contained, harmless to the task."""

from __future__ import annotations

import json
import random

import pytest

from pivot_jax.domains.coding import reset
from pivot_jax.domains.coding.language import BUILTINS
from pivot_jax.domains.environment import demonstrate
from pivot_jax.records import Action, ToolCall
from tests.domains.coding_cases import HOSTILE_EDITS, TEST, UNDO, edit, hostile_action, play, single

STYLES = 4


def test_hostile_and_random_actions_are_answered_in_known_words() -> None:
    """1,000 actions: none raises, none says a word that was not known, and the task can be solved afterwards."""
    known = set(" ".join(BUILTINS).split())
    for seed in range(100):
        for error_rate in (0.0, 0.5):
            trajectory = demonstrate(reset, "coding", seed, style=seed % STYLES, error_rate=error_rate)
            known |= {word for message in trajectory.messages for word in message.content.split()}
            for message in trajectory.messages:
                for call in message.tool_calls:
                    known |= {word for value in call.parsed().values() for word in str(value).split()}
    known |= {"limit", "tool", "call", "line", "forbidden", "name", "syntax", "undo", "memory", "time", "other"}
    known |= {"use", "or", "None", "True", "False", "while", "and", "pass", "**", "//", "/", "*", "used"}
    rng = random.Random(0)
    counts: dict[str, int] = {}
    for number in range(1000):
        env = reset(number % 40)
        play(env, *env.demonstrations()[:1])
        before = env.remaining()
        messages = env.step(hostile_action(rng, env))
        for message in messages:
            assert set(message.content.split()) <= known, message
            assert message.is_error == message.content.startswith("error "), message
            if message.is_error:
                counts[message.content] = counts.get(message.content, 0) + 1
        assert not env.done and env.remaining() <= before + 1
        while not env.done:
            env.step(env.demonstrations()[0])
        assert env.outcome() == 1.0
    kinds = {f"error {kind}" for kind in ("tool", "call", "line", "name", "syntax", "forbidden", "limit", "undo")}
    assert set(counts) == kinds and min(counts.values()) >= 5, counts


@pytest.mark.parametrize("text", HOSTILE_EDITS)
def test_a_hostile_edit_is_refused_or_runs_within_bounds(text: str) -> None:
    env = single("add")
    (message,) = env.step(edit(1, text))
    if message.is_error:
        assert env._progress.bodies == single("add")._progress.bodies and not env._progress.history
        assert play(env, UNDO) == ["error undo"]
    else:
        assert env._progress.wrong == {0}
        assert play(env, TEST)[0].startswith("fail m1 add ")


def test_wrong_types_are_refused() -> None:
    env = reset(0)
    for name, arguments in (
        ("edit", {"line": "1", "text": "return 0"}),
        ("edit", {"line": True, "text": "return 0"}),
        ("edit", {"line": 1}),
        ("edit", {"line": 1, "text": 0}),
        ("edit", {"line": 1, "text": "return 0", "name": "m1"}),
        ("view", {}),
        ("view", {"name": ["m1"]}),
        ("test", {"name": None}),
        ("submit", {"name": "m1"}),
    ):
        call = ToolCall(name=name, arguments=json.dumps(arguments))
        branch = env.clone()
        assert branch.step(Action(tool_calls=(call,)))[0].content == "error call", (name, arguments)
        assert not branch.done
