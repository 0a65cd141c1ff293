"""Episodes on several processes: each environment is stepped by one of them, and all end with the same episodes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

import pivot_jax
from pivot_jax.domains.registry import DOMAINS
from pivot_jax.rollout.episode import Episode, Game
from pivot_jax.rollout.episodes import play
from tests.hosts.conftest import COUNT
from tests.rollout.test_episodes import Scripted, expert

TURNS = 7


def test_each_environment_is_stepped_by_one_process_and_all_hold_the_same_episodes(together):
    tokenizer = AutoTokenizer.from_pretrained(Path(pivot_jax.__file__).parent / "base_policy", local_files_only=True)
    started: list[str] = []

    def fresh(seed: int):
        started.append(f"terminal/{seed}")
        return DOMAINS["terminal"](seed)

    def played(sampler: Scripted) -> dict[str, Episode]:
        games = [Game(f"terminal/{seed}", partial(fresh, seed)) for seed in range(8)]
        return {each.name: each for each in play(games, sampler, tokenizer, "compact", max_turns=TURNS, batch=5)}

    alone = played(expert(tokenizer))
    assert {episode.outcome for episode in alone.values()} == {0.0, 1.0}  # some tasks take more turns than these
    nonsense = np.asarray(tokenizer("<|call|> submit<|end|>", add_special_tokens=False)["input_ids"], np.int32)

    def again(episode: Episode) -> tuple[np.ndarray, bool]:
        """What the expert wrote in this episode; and nonsense first in one of them."""
        if episode.name == "terminal/3" and not episode.turns:
            return nonsense, True
        return alone[episode.name].actions[episode.turns].ids, True

    one = played(Scripted(again, burst=5))
    assert one["terminal/3"].errors
    started.clear()
    several = together(lambda process: played(Scripted(again, burst=5)))
    assert sorted(started) == sorted(one)
    owners = [sorted(name for name, episode in episodes.items() if episode.env) for episodes in several]
    assert sorted(name for names in owners for name in names) == sorted(one)
    assert {len(names) for names in owners} <= {len(one) // COUNT, len(one) // COUNT + 1}
    for episodes in several:
        assert episodes.keys() == one.keys()
        for name, episode in episodes.items():
            expected = one[name]
            np.testing.assert_array_equal(episode.ids, expected.ids)
            for what in ("outcome", "done", "errors", "places", "feeds", "rewritten"):
                assert getattr(episode, what) == getattr(expected, what), what
