"""Whole episodes with a scripted policy: an expert that writes token ids solves every task."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

import pivot_jax
from pivot_jax.data.rendering import render
from pivot_jax.domains.environment import demonstrate
from pivot_jax.domains.registry import DOMAINS, SKILLS
from pivot_jax.records import Message, Trajectory
from pivot_jax.rollout.episode import Episode, Fragment, Game
from pivot_jax.rollout.episodes import play


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(Path(pivot_jax.__file__).parent / "base_policy", local_files_only=True)


class Scripted:
    """A sampler that asks `choose` for each episode's next action and hands it out in bursts of `burst` tokens."""

    longest_action = 16

    def __init__(self, choose: Callable[[Episode], tuple[np.ndarray, bool]], burst: int = 16):
        self.choose, self.burst = choose, burst
        self.sizes: list[int] = []

    def start(self, rows):
        return rows

    def begin(self, state, episodes, *, last):
        self.sizes.append(sum(episode is not None for episode in episodes))
        fragments: list[Fragment | None] = []
        for episode in episodes:
            if episode is None:
                fragments.append(None)
                continue
            ids, finished = self.choose(episode)
            now = ids[episode.written : episode.written + self.burst]
            whole = episode.written + len(now) == len(ids)
            fragments.append(Fragment(now, np.zeros(len(now), np.float32), whole and finished))
        return list(episodes), state, fragments

    def finish(self, pending, episodes):
        return pending


def expert(tokenizer, burst: int = 16) -> Scripted:
    """Writes the demonstrated action: the ids that the template gives it after this history."""

    def choose(episode: Episode) -> tuple[np.ndarray, bool]:
        messages = (*episode.messages, episode.env.demonstrations()[0].message())
        rendered = render(Trajectory(id="x", task_id="x", messages=messages, tools=episode.env.tools), tokenizer)
        return rendered.turns[-1].action_ids, True

    return Scripted(choose, burst)


@pytest.mark.parametrize("burst", [3, 16])
@pytest.mark.parametrize("domain", sorted(DOMAINS))
def test_the_expert_solves_every_task_and_its_ids_equal_the_rendered_trajectory(tokenizer, domain, burst):
    games = [Game(f"{domain}/{seed}", partial(DOMAINS[domain], seed)) for seed in range(12)]
    done = list(play(games, expert(tokenizer, burst), tokenizer, "compact", max_turns=16, batch=5))
    assert sorted(episode.name for episode in done) == sorted(game.name for game in games)
    for episode in done:
        assert episode.env.outcome() == 1.0
        seed = int(episode.name.split("/")[1])
        recorded = render(demonstrate(DOMAINS[domain], domain, seed, style=0), tokenizer)
        assert len(recorded.turns) == episode.turns
        np.testing.assert_array_equal(episode.ids[: episode.places[-1]], recorded.turns[-1].state_ids)
        for place, action, turn in zip(episode.places, episode.actions, recorded.turns, strict=True):
            np.testing.assert_array_equal(episode.ids[place : place + len(action.ids)], action.ids)
            np.testing.assert_array_equal(action.ids, turn.action_ids)
        assert not episode.rewritten and not episode.errors
        assert sum(feed.tokens for feed in episode.feeds) == len(episode.ids) - 1  # every token is fed once


def test_finished_episodes_make_room_for_the_next(tokenizer):
    solve = expert(tokenizer)
    games = [Game(f"retail/{seed}", partial(DOMAINS["retail"], seed)) for seed in range(9)]
    assert len(list(play(games, solve, tokenizer, "compact", max_turns=16, batch=4))) == 9
    assert max(solve.sizes) == 2 and solve.sizes[:6] == [2] * 6  # two cohorts of two


def test_a_policy_that_never_stops_is_cut_off_and_fails(tokenizer):
    word = int(tokenizer(" what", add_special_tokens=False)["input_ids"][0])
    babble = Scripted(lambda episode: (np.full(16, word, np.int32), False), burst=5)
    games = [Game("copy/1", partial(SKILLS["copy"], 1)), Game("terminal/1", partial(DOMAINS["terminal"], 1))]
    done = {episode.name: episode for episode in play(games, babble, tokenizer, "compact", max_turns=3, batch=2)}
    assert done["copy/1"].env.outcome() == 0 and done["copy/1"].turns == 1
    assert done["terminal/1"].turns == 3 and done["terminal/1"].env.outcome() == 0
    history = str(tokenizer.decode(done["terminal/1"].ids))
    assert history.count(" ".join(["what"] * 16) + "<|end|>") == 3  # what it wrote stays, closed where it was cut


def test_tool_errors_are_kept(tokenizer):
    nonsense = np.asarray(tokenizer("<|call|> submit<|end|>", add_special_tokens=False)["input_ids"], np.int32)
    games, sampler = [Game("terminal/1", partial(DOMAINS["terminal"], 1))], Scripted(lambda _: (nonsense, True))
    (episode,) = play(games, sampler, tokenizer, "compact", max_turns=2, batch=1)
    assert episode.errors == ["error missing operand"] * 2


def test_what_the_policy_wrote_is_kept_token_by_token(tokenizer):
    """An action that the template would write otherwise (an odd order of arguments) is not rewritten in the history."""
    seen: list[np.ndarray] = []
    odd = tokenizer("<|call|> submit answer= done answer= done<|end|>", add_special_tokens=False)["input_ids"]

    def once(episode: Episode) -> tuple[np.ndarray, bool]:
        seen.append(episode.ids)
        return np.asarray(odd, np.int32), True

    class Patient:
        """The terminal, but an episode goes on after a submission."""

        def __init__(self):
            self._env = DOMAINS["terminal"](3)
            self.tools, self.done = self._env.tools, False

        def opening(self):
            return self._env.opening()

        def step(self, action):
            return (Message(role="tool", content="ok"),)

        def outcome(self):
            return 0.0

    list(play([Game("terminal/3", Patient)], Scripted(once), tokenizer, "compact", max_turns=2, batch=1))
    first, second = seen
    np.testing.assert_array_equal(second[: len(first)], first)
    np.testing.assert_array_equal(second[len(first) : len(first) + len(odd)], odd)
