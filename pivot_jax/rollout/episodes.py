"""Whole episodes: many environments in lockstep, one sampled action for each at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from pivot_jax.data.continuation import continued_ids, opening_ids
from pivot_jax.data.parsing import ActionFormat
from pivot_jax.domains.environment import Environment
from pivot_jax.records import Message
from pivot_jax.rollout.actions import SampledAction

Sample = Callable[[Sequence["Episode"]], list[SampledAction]]
"""Samples the next action of each of these episodes."""


@dataclass
class Episode:
    """One environment being played. `ids` is the whole history with the generation prompt; what the policy wrote
    stays in it token by token."""

    name: str
    env: Environment
    messages: list[Message]
    ids: NDArray[np.int32]
    turns: int = 0
    actions: list[SampledAction] = field(default_factory=list)


def play(
    environments: Sequence[tuple[str, Environment]],
    sample: Sample,
    tokenizer: PreTrainedTokenizerBase,
    action_format: ActionFormat,
    *,
    max_turns: int,
    batch: int,
) -> Iterator[Episode]:
    """Play every environment to its end (or `max_turns`), at most `batch` at a time; yields them as they finish.

    A finished episode's place is taken by the next at once, so short episodes do not wait for long ones.

    Args:
        environments: (name, fresh environment); the name seeds the episode's random keys.
        sample: one action for each episode it is given.
        tokenizer: with the policy's chat template.
        action_format: how the policy writes calls.
        max_turns: an episode that is not done by then ends with the outcome it has.
        batch: episodes decoded together.
    """
    waiting = list(reversed(environments))
    playing: list[Episode] = []
    while waiting or playing:
        while waiting and len(playing) < batch:
            name, env = waiting.pop()
            messages = list(env.opening())
            playing.append(Episode(name, env, messages, opening_ids(tokenizer, messages, env.tools)))
        for episode, action in zip(playing, sample(playing), strict=True):
            _advance(episode, action, tokenizer, action_format)
        finished = [episode for episode in playing if episode.env.done or episode.turns == max_turns]
        playing = [episode for episode in playing if not (episode.env.done or episode.turns == max_turns)]
        yield from finished


def _advance(
    episode: Episode, sampled: SampledAction, tokenizer: PreTrainedTokenizerBase, action_format: ActionFormat
) -> None:
    action = sampled.read(tokenizer, episode.env.tools, action_format)
    episode.actions.append(sampled)
    episode.turns += 1
    answer = episode.env.step(action)
    before = [*episode.messages, action.message()]
    episode.messages = [*before, *answer]
    if not episode.env.done:
        written = np.concatenate([episode.ids, sampled.ids])
        episode.ids = continued_ids(tokenizer, written, before, answer, episode.env.tools, finished=sampled.finished)
