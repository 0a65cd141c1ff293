"""Retail: what a small policy must be able to read and write, and how fast verification is."""

from __future__ import annotations

import re
import time

from pivot_jax.domains.environment import demonstrate
from pivot_jax.domains.retail import reset
from pivot_jax.records import Action, Message

SEEDS = range(300)


def words(message: Message) -> list[str]:
    """The words of a message, with tool and argument names as one word each."""
    found = message.content.split(" ") if message.content else []
    for call in message.tool_calls:
        found.append(call.name)
        for name, value in call.parsed().items():
            found += [name, *(value if isinstance(value, list) else value.split(" "))]
    return found


def test_lengths_and_vocabulary() -> None:
    vocabulary: set[str] = set()
    lengths: list[int] = []
    turns: list[int] = []
    for seed in SEEDS:
        for style in range(3):
            messages = demonstrate(reset, "retail", seed, style=style).messages[1:]
            spoken = [words(message) for message in messages]
            vocabulary |= {word for sentence in spoken for word in sentence}
            lengths.append(sum(map(len, spoken)))
            turns.append(sum(message.role == "assistant" for message in messages))
            for message, sentence in zip(messages, spoken, strict=True):
                limit = {"user": 8, "tool": 15, "assistant": 9 if message.tool_calls else 6}[message.role]
                assert len(sentence) <= limit, message
        noisy = demonstrate(reset, "retail", seed, error_rate=0.5)
        vocabulary |= {word for message in noisy.messages[1:] for word in words(message)}
    assert len(vocabulary) <= 160
    assert all(re.fullmatch(r"[a-z0-9@_-]+", word) for word in vocabulary)
    assert max(lengths) <= 150 and 60 <= sum(lengths) / len(lengths) <= 110
    assert 8 <= sum(turns) / len(turns) <= 10.5


def test_most_states_have_several_equivalent_texts() -> None:
    several = total = 0
    for seed in range(100):
        env = reset(seed)
        while not env.done:
            options: tuple[Action, ...] = env.demonstrations()
            assert len(set(options)) == len(options)
            several += len(options) >= 2
            total += 1
            env.step(options[0])
    assert several > 0.6 * total


def test_everything_an_argument_names_is_in_the_history() -> None:
    for seed in range(100):
        for style in (0, 1):
            seen: set[str] = set()
            for message in demonstrate(reset, "retail", seed, style=style).messages[1:]:
                for call in message.tool_calls:
                    arguments = call.parsed()
                    arguments.pop("reason", None)  # a synonym of what was said is as good
                    for value in arguments.values():
                        assert set(value if isinstance(value, list) else [value]) <= seen
                seen |= set(words(message))


def test_verification_is_fast() -> None:
    cases = []
    for seed in range(30):
        env = reset(seed)
        while not env.done:
            cases.append((env.clone(), (*env.demonstrations(), *env.mistakes())))
            env.step(env.demonstrations()[0])
    began = time.process_time()
    for env, actions in cases:
        for action in actions:
            after = env.clone()
            after.step(action)
            after.remaining()
    assert sum(len(actions) for _, actions in cases) / (time.process_time() - began) > 1_500
