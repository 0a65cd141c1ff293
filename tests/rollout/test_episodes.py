"""Whole episodes with a scripted policy: an expert that writes token ids solves every task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

import pivot_jax
from pivot_jax.data.rendering import render
from pivot_jax.domains.environment import demonstrate
from pivot_jax.domains.registry import DOMAINS, SKILLS
from pivot_jax.records import Message, Trajectory
from pivot_jax.rollout.actions import SampledAction
from pivot_jax.rollout.episodes import play


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(Path(pivot_jax.__file__).parent / "base_policy", local_files_only=True)


def written(tokenizer, episode, action) -> SampledAction:
    """An action as a policy would write it: the ids that the template gives it after this history."""
    messages = (*episode.messages, action.message())
    ids = render(Trajectory(id="x", task_id="x", messages=messages, tools=episode.env.tools), tokenizer)
    return SampledAction(ids.turns[-1].action_ids, np.zeros(len(ids.turns[-1].action_ids), np.float32), True)


def expert(tokenizer):
    return lambda episodes: [written(tokenizer, each, each.env.demonstrations()[0]) for each in episodes]


@pytest.mark.parametrize("domain", sorted(DOMAINS))
def test_the_expert_solves_every_task_and_its_ids_equal_the_rendered_trajectory(tokenizer, domain):
    games = [(f"{domain}/{seed}", DOMAINS[domain](seed)) for seed in range(12)]
    done = list(play(games, expert(tokenizer), tokenizer, "compact", max_turns=16, batch=5))
    assert sorted(episode.name for episode in done) == sorted(name for name, _ in games)
    for episode in done:
        assert episode.env.outcome() == 1.0
        seed = int(episode.name.split("/")[1])
        recorded = render(demonstrate(DOMAINS[domain], domain, seed, style=0), tokenizer)
        assert len(recorded.turns) == episode.turns
        np.testing.assert_array_equal(episode.ids, recorded.turns[-1].state_ids)


def test_finished_episodes_make_room_for_the_next(tokenizer):
    sizes: list[int] = []
    solve = expert(tokenizer)

    def watched(episodes):
        sizes.append(len(episodes))
        return solve(episodes)

    games = [(f"retail/{seed}", DOMAINS["retail"](seed)) for seed in range(9)]
    assert len(list(play(games, watched, tokenizer, "compact", max_turns=16, batch=4))) == 9
    assert max(sizes) == 4 and sizes[:5] == [4] * 5


def test_a_policy_that_never_stops_is_cut_off_and_fails(tokenizer):
    word = int(tokenizer(" what", add_special_tokens=False)["input_ids"][0])

    def babble(episodes):
        return [SampledAction(np.full(4, word, np.int32), np.zeros(4, np.float32), False) for _ in episodes]

    games = [("copy/1", SKILLS["copy"](1)), ("terminal/1", DOMAINS["terminal"](1))]
    done = {episode.name: episode for episode in play(games, babble, tokenizer, "compact", max_turns=3, batch=2)}
    assert done["copy/1"].env.outcome() == 0 and done["copy/1"].turns == 1
    assert done["terminal/1"].turns == 3 and done["terminal/1"].env.outcome() == 0
    history = str(tokenizer.decode(done["terminal/1"].ids))
    assert history.count("what what what what<|end|>") == 3  # what it wrote stays, closed where it was cut


def test_what_the_policy_wrote_is_kept_token_by_token(tokenizer):
    """An action that the template would write otherwise (an odd order of arguments) is not rewritten in the history."""
    seen: list[np.ndarray] = []
    odd = tokenizer("<|call|> submit answer= done answer= done<|end|>", add_special_tokens=False)["input_ids"]

    def once(episodes):
        seen.extend(episode.ids for episode in episodes)
        return [SampledAction(np.asarray(odd, np.int32), np.zeros(len(odd), np.float32), True) for _ in episodes]

    class Patient:
        """The terminal, but an episode goes on after a submission."""

        def __init__(self):
            self._env = DOMAINS["terminal"](3)
            self.tools, self.done = self._env.tools, False

        def opening(self):
            return self._env.opening()

        def step(self, action):
            return (Message(role="tool", content="ok"),)

    list(play([("terminal/3", Patient())], once, tokenizer, "compact", max_turns=2, batch=1))
    first, second = seen
    np.testing.assert_array_equal(second[: len(first)], first)
    np.testing.assert_array_equal(second[len(first) : len(first) + len(odd)], odd)
