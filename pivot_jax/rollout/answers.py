"""What environments answer: openings, and the answers to actions, as token ids.

An environment is stepped by one process, which reads the action and renders the answer; the others are told the token
ids and the outcome. Games are dealt out to the processes in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from pivot_jax.data.continuation import continued_ids, opening_ids
from pivot_jax.data.parsing import ActionFormat
from pivot_jax.data.trunks import common_prefix
from pivot_jax.hosts.exchange import all_say
from pivot_jax.hosts.processes import count, index
from pivot_jax.rollout.episode import Episode, Game


@dataclass(frozen=True)
class Answer:
    """What an action led to. JSON can hold it."""

    kept: int
    """Tokens of the episode that stay as they are."""
    ids: list[int]
    """Those that come after them."""
    done: bool
    outcome: float
    errors: list[str]


class Answers:
    """The environments of one `play`.

    Args:
        tokenizer: with the policy's chat template.
        action_format: how the policy writes calls.
        max_turns: of an episode.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, action_format: ActionFormat, max_turns: int) -> None:
        self._tokenizer = tokenizer
        self._format: ActionFormat = action_format
        self._max_turns = max_turns
        self._opened = 0

    def open(self, games: Sequence[Game]) -> list[Episode]:
        """A fresh episode of each game."""
        if not games:
            return []
        owners = [(self._opened + place) % count() for place in range(len(games))]
        self._opened += len(games)
        own = {place: self._opening(game) for place, game in enumerate(games) if owners[place] == index()}
        ids = _told("openings", {place: episode.ids.tolist() for place, episode in own.items()})
        return [
            own.get(place) or Episode(game, None, [], np.array(ids[place], np.int32))
            for place, game in enumerate(games)
        ]

    def answer(self, episodes: Sequence[Episode]) -> None:
        """Step the environments of episodes whose action is complete, and add the answers to them."""
        if not episodes:
            return
        own = {place: asdict(self._answer(episode)) for place, episode in enumerate(episodes) if episode.env}
        told = _told("answers", own)
        for place, episode in enumerate(episodes):
            answer = Answer(**told[place])
            episode.done, episode.outcome = answer.done, answer.outcome
            episode.errors += answer.errors
            episode.rewritten |= answer.kept < len(episode.ids)
            episode.cached = min(episode.cached, answer.kept)
            episode.ids = np.concatenate([episode.ids[: answer.kept], np.array(answer.ids, np.int32)])

    def _opening(self, game: Game) -> Episode:
        env = game.start()
        messages = list(env.opening())
        return Episode(game, env, messages, opening_ids(self._tokenizer, messages, env.tools))

    def _answer(self, episode: Episode) -> Answer:
        env, action = episode.env, episode.actions[-1]
        assert env is not None
        said = action.completion(self._tokenizer, env.tools, self._format)
        answer = env.step(said.action)
        before, ids = [*episode.messages, said.message()], episode.ids
        episode.messages = [*before, *answer]
        if not env.done:
            ids = continued_ids(self._tokenizer, ids, before, answer, env.tools, finished=action.finished)
        kept = common_prefix(episode.ids, ids)
        over = env.done or episode.turns == self._max_turns
        return Answer(
            kept=kept,
            ids=ids[kept:].tolist(),
            done=env.done,
            outcome=float(env.outcome()) if over else 0.0,
            errors=[message.content for message in answer if message.is_error],
        )


def _told(name: str, own: dict[int, Any]) -> dict[int, Any]:
    """The values of all processes by place, each from the process that has it."""
    if count() == 1:
        return own
    return {int(place): value for said in all_say(name, own) for place, value in said.items()}
