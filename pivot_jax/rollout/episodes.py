"""Whole episodes: environments are stepped on the host while the policy samples for the others.

The episodes are dealt to two cohorts. While the devices sample a burst for one cohort, the host reads the other's
actions and steps its environments. Each cohort keeps its episodes' keys and values on the devices (`growing`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from pivot_jax.data.continuation import continued_ids, opening_ids
from pivot_jax.data.parsing import ActionFormat
from pivot_jax.data.rendered import TokenIds
from pivot_jax.data.trunks import common_prefix
from pivot_jax.domains.environment import Environment
from pivot_jax.records import Message
from pivot_jax.rollout.actions import SampledAction

COHORTS = 2


@dataclass(frozen=True)
class Game:
    """An episode to be played: `name` and `draw` seed its random keys, so episodes of a group differ in `draw`."""

    name: str
    start: Callable[[], Environment]
    """Makes the fresh environment, when there is room for it."""
    draw: int = 0


@dataclass(frozen=True, eq=False)
class Fragment:
    """What one burst sampled of an action; `stopped` when its stop token is in it."""

    ids: TokenIds
    behavior_logprobs: NDArray[np.float32]
    stopped: bool


@dataclass(frozen=True)
class Feed:
    """One pass over `tokens` tokens of an episode that continue from `start` cached ones."""

    start: int
    tokens: int


@dataclass(eq=False)
class Episode:
    """One environment being played. `ids` is the whole history; what the policy wrote stays in it token by token."""

    game: Game
    env: Environment
    messages: list[Message]
    ids: TokenIds
    cached: int = 0
    """Tokens whose keys and values are on the devices."""
    fragments: list[Fragment] = field(default_factory=list)
    """Of the action that is being sampled."""
    actions: list[SampledAction] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    """Where in `ids` each action begins."""
    feeds: list[Feed] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """Error messages that tools answered with, in order."""
    rewritten: bool = False
    """The chat template rewrote earlier turns, so `ids` is not what every action was sampled after."""

    @property
    def name(self) -> str:
        return self.game.name

    @property
    def turns(self) -> int:
        return len(self.actions)

    @property
    def written(self) -> int:
        """Tokens sampled so far of the unfinished action."""
        return sum(len(fragment.ids) for fragment in self.fragments)


StateT = TypeVar("StateT")
"""What a sampler keeps for a cohort, one row an episode."""
PendingT = TypeVar("PendingT")
"""A burst that is being sampled."""


class Sampler(Protocol, Generic[StateT, PendingT]):
    """Samples bursts for a cohort of rows; a row without an episode is None."""

    @property
    def longest_action(self) -> int:
        """Tokens at which an action is cut off."""
        ...

    def start(self, rows: int) -> StateT:
        """State for this many rows, all empty."""
        ...

    def begin(
        self, state: StateT, episodes: Sequence[Episode | None], *, last: bool
    ) -> tuple[list[Episode | None], StateT, PendingT]:
        """Start a burst for every episode and return without waiting for it.

        With `last`, no more episodes will join, and rows may be dropped: the first result is the rows of the burst.
        """
        ...

    def finish(self, pending: PendingT, episodes: Sequence[Episode | None]) -> list[Fragment | None]:
        """Wait for a burst: what it sampled for each row."""
        ...


def play(
    games: Sequence[Game],
    sampler: Sampler[StateT, PendingT],
    tokenizer: PreTrainedTokenizerBase,
    action_format: ActionFormat,
    *,
    max_turns: int,
    batch: int,
) -> Iterator[Episode]:
    """Play every game to its end (or `max_turns`), at most `batch` at a time; yields episodes as they finish.

    Args:
        games: what to play.
        sampler: samples the actions.
        tokenizer: with the policy's chat template.
        action_format: how the policy writes calls.
        max_turns: an episode that is not done by then ends with the outcome it has.
        batch: episodes decoded together, over both cohorts.
    """
    waiting = list(reversed(games))
    rows = max(1, min(-(-batch // COHORTS), -(-len(games) // COHORTS)))
    states = [sampler.start(rows) for _ in range(COHORTS)]
    tables: list[list[Episode | None]] = [[None] * rows for _ in range(COHORTS)]
    pending: list[PendingT | None] = [None] * COHORTS
    while waiting or any(episode for table in tables for episode in table):
        for c in range(COHORTS):
            burst = pending[c]
            if burst is not None:
                for episode, fragment in zip(tables[c], sampler.finish(burst, tables[c]), strict=True):
                    if episode is not None and fragment is not None:
                        _add(episode, fragment, sampler.longest_action, tokenizer, action_format)
                pending[c] = None
            for n, episode in enumerate(tables[c]):
                if episode is not None and (episode.env.done or episode.turns == max_turns):
                    tables[c][n] = None
                    yield episode
            _seat(tables[c], waiting, tokenizer)
            if any(tables[c]):
                tables[c], states[c], pending[c] = sampler.begin(states[c], tables[c], last=not waiting)


def _seat(table: list[Episode | None], waiting: list[Game], tokenizer: PreTrainedTokenizerBase) -> None:
    """Give empty rows to waiting games, once a quarter of the rows is empty: openings are long and cost a wide pass."""
    empty = [n for n, episode in enumerate(table) if episode is None]
    if 4 * len(empty) < len(table):
        return
    for n in empty[: len(waiting)]:
        game = waiting.pop()
        env = game.start()
        messages = list(env.opening())
        table[n] = Episode(game, env, messages, opening_ids(tokenizer, messages, env.tools))


def _add(
    episode: Episode,
    fragment: Fragment,
    longest_action: int,
    tokenizer: PreTrainedTokenizerBase,
    action_format: ActionFormat,
) -> None:
    """Add what a burst sampled; when that ends the action, the environment's answer too."""
    # the last sampled token is fed in the next burst
    fed = len(episode.ids) - episode.cached + len(fragment.ids) - 1
    episode.feeds.append(Feed(episode.cached, fed))
    episode.cached += fed
    episode.ids = np.concatenate([episode.ids, fragment.ids])
    episode.fragments.append(fragment)
    if not fragment.stopped and episode.written < longest_action:
        return
    parts, episode.fragments = episode.fragments, []
    sampled = SampledAction(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.behavior_logprobs for part in parts]),
        fragment.stopped,
    )
    episode.places.append(len(episode.ids) - len(sampled.ids))
    episode.actions.append(sampled)
    said = sampled.completion(tokenizer, episode.env.tools, action_format)
    answer = episode.env.step(said.action)
    episode.errors += [message.content for message in answer if message.is_error]
    before = [*episode.messages, said.message()]
    episode.messages = [*before, *answer]
    if not episode.env.done:
        ids = continued_ids(tokenizer, episode.ids, before, answer, episode.env.tools, finished=sampled.finished)
        kept = common_prefix(episode.ids, ids)
        episode.rewritten |= kept < len(episode.ids)
        episode.ids, episode.cached = ids, min(episode.cached, kept)
