"""The coding domain's knobs, and its budgets of words, turns and time."""

from __future__ import annotations

import statistics
import time

import pytest

from pivot_jax.data.compact import SPECIAL_TOKENS
from pivot_jax.data.small_tokenizer import build_small_tokenizer, training_texts
from pivot_jax.domains.coding import TEMPLATES, Knobs, reset
from pivot_jax.domains.coding.catalogue import KINDS
from pivot_jax.domains.coding.progress import is_right
from pivot_jax.domains.environment import demonstrate
from pivot_jax.domains.retail import reset as reset_retail
from pivot_jax.domains.terminal import reset as reset_terminal
from pivot_jax.records import Message, Trajectory

STYLES = 4
ROUTINE = ("list", "test", "check", "submit")


def test_templates_can_be_held_out() -> None:
    knobs = Knobs(templates=("add", "low", "score", "peak"))
    seen = {kind for seed in range(60) for kind in reset(seed, knobs).task.template.split("+")}
    assert seen == set(knobs.templates or ())
    assert len({reset(seed, Knobs(bugs=(3, 3))).task.template.count("+") for seed in range(20)}) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"templates": ("juggle",)},
        {"templates": ("add",)},
        {"bugs": (0, 1)},
        {"bugs": (2, 1)},
        {"bugs": (1, 4)},
        {"routine": -0.1},
        {"hard_share": 2.0},
    ],
)
def test_impossible_knobs_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"templates|bugs=|routine=|hard_share="):
        Knobs(**wrong)


@pytest.mark.parametrize(
    "knobs",
    [
        Knobs(bugs=(1, 1), sibling=1.0, second_file=1.0, routine=1.0, hard_share=0.0, loops=1.0),
        Knobs(bugs=(3, 3), sibling=0.0, second_file=0.0, routine=0.0, hard_share=1.0),
        *(Knobs(bugs=(1, 1), templates=(template,)) for template in TEMPLATES),
    ],
)
def test_tasks_at_the_edges_of_the_knobs_are_solved(knobs: Knobs) -> None:
    for seed in range(4):
        assert demonstrate(lambda number: reset(number, knobs), "coding", seed, style=seed).reward == 1.0


def test_routine_and_bugs_make_longer_tasks_and_hard_share_harder_ones() -> None:
    def planned(**settings: object) -> float:
        knobs = Knobs(**settings)  # pyright: ignore[reportArgumentType]
        return statistics.mean(reset(seed, knobs).remaining() for seed in range(40))

    assert planned(routine=0.0) < planned(routine=0.4) < planned(routine=1.0)
    assert planned(bugs=(1, 1)) < planned(bugs=(2, 2)) < planned(bugs=(3, 3))
    for share in (0.0, 1.0):
        kinds = [kind for seed in range(40) for kind in reset(seed, Knobs(hard_share=share)).task.template.split("+")]
        assert {KINDS[kind].hard for kind in kinds} == {bool(share)}


@pytest.fixture(scope="module")
def trajectories() -> list[Trajectory]:
    return [demonstrate(reset, "coding", seed, style=seed % STYLES) for seed in range(300)]


def test_tokens_stay_within_the_budget(trajectories: list[Trajectory], tmp_path) -> None:
    tokenizer = build_small_tokenizer(training_texts(trajectories), tmp_path)
    lengths = [len(tokenizer.encode(text)) for text in training_texts(trajectories)]
    assert max(lengths) <= 176 and 110 <= statistics.median(lengths) <= 140
    actions = [message for t in trajectories for message in t.messages if message.role == "assistant"]
    # Fourteen and the end; the assistant mark is part of the prompt.
    assert max(len(tokenizer.encode(rendered(action))) for action in actions) <= 14 + 1
    systems = [t.messages[0].content.split("\n")[0] for t in trajectories]
    assert max(len(system.split()) for system in systems) < 25


def rendered(action: Message) -> str:
    (call,) = action.tool_calls
    arguments = "".join(f" {name}= {value}" for name, value in call.parsed().items())
    return f"<|call|> {call.name}{arguments}<|end|>"


def vocabulary(found: list[Trajectory], tmp_path) -> set[str]:
    return set(build_small_tokenizer(training_texts(found), tmp_path).get_vocab()) - set(SPECIAL_TOKENS)


def test_new_words_are_few_and_digits_are_single(trajectories: list[Trajectory], tmp_path) -> None:
    noisy = [demonstrate(reset, "coding", seed, style=seed % STYLES, error_rate=0.4) for seed in range(200)]
    words = vocabulary([*trajectories, *noisy], tmp_path)
    others = [demonstrate(other, "x", seed) for other in (reset_retail, reset_terminal) for seed in range(100)]
    assert len(words - vocabulary(others, tmp_path)) <= 110
    assert not [word for word in words if word.strip("▁").isdigit() and len(word) > 2]


def test_turns_and_shares(trajectories: list[Trajectory]) -> None:
    turns, routine, hard = [], 0, 0
    for seed, trajectory in enumerate(trajectories):
        tools = [message.tool_calls[0].name for message in trajectory.messages if message.role == "assistant"]
        turns.append(len(tools))
        routine += sum(tool in ROUTINE for tool in tools)
        kinds = reset(seed).task.template.split("+")
        hard += sum(KINDS[kind].hard for kind in kinds)
    assert min(turns) >= 5 and max(turns) <= 12 and 6.5 <= statistics.mean(turns) <= 7.8
    assert 0.4 <= routine / sum(turns) <= 0.5
    assert 0.05 <= hard / sum(turns) <= 0.10  # hard_share is 0.15, and a hard task has more than one such turn


def test_verification_is_fast() -> None:
    envs = [reset(seed) for seed in range(40)]
    for env in envs:
        env.step(env.demonstrations()[0])
    cases = [(env, action) for env in envs for action in (*env.demonstrations(), *env.mistakes())]
    is_right.cache_clear()
    start = time.process_time()
    for env, action in cases:
        branch = env.clone()
        branch.step(action)
        assert branch.remaining() >= 0
    # The margin is for a busy machine.
    assert len(cases) / (time.process_time() - start) > 1000
