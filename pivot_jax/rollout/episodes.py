"""Whole episodes: environments are stepped on the host while the policy samples for the others.

The episodes are dealt to two cohorts. While the devices sample a burst for one cohort, the host reads the other's
actions and steps its environments. Each cohort keeps its episodes' keys and values on the devices (`growing`).

Of several processes each steps its own share of the environments (`answers`); all of them hold every episode's tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
from transformers import PreTrainedTokenizerBase

from pivot_jax.data.parsing import ActionFormat
from pivot_jax.rollout.actions import SampledAction
from pivot_jax.rollout.answers import Answers
from pivot_jax.rollout.episode import Episode, Feed, Fragment, Game

COHORTS = 2


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
    host = Answers(tokenizer, action_format, max_turns)
    waiting = list(reversed(games))
    rows = max(1, min(-(-batch // COHORTS), -(-len(games) // COHORTS)))
    states = [sampler.start(rows) for _ in range(COHORTS)]
    tables: list[list[Episode | None]] = [[None] * rows for _ in range(COHORTS)]
    pending: list[PendingT | None] = [None] * COHORTS
    while waiting or any(episode for table in tables for episode in table):
        for c in range(COHORTS):
            burst = pending[c]
            if burst is not None:
                ended = []
                for episode, fragment in zip(tables[c], sampler.finish(burst, tables[c]), strict=True):
                    if episode is not None and fragment is not None:
                        ended += [episode] if _extend(episode, fragment, sampler.longest_action) else []
                host.answer(ended)
                pending[c] = None
            for n, episode in enumerate(tables[c]):
                if episode is not None and (episode.done or episode.turns == max_turns):
                    tables[c][n] = None
                    yield episode
            _seat(tables[c], waiting, host)
            if any(tables[c]):
                tables[c], states[c], pending[c] = sampler.begin(states[c], tables[c], last=not waiting)


def _seat(table: list[Episode | None], waiting: list[Game], host: Answers) -> None:
    """Give empty rows to waiting games, once a quarter of the rows is empty: openings are long and cost a wide pass."""
    empty = [n for n, episode in enumerate(table) if episode is None]
    if 4 * len(empty) < len(table):
        return
    games = [waiting.pop() for _ in empty[: len(waiting)]]
    for n, episode in zip(empty, host.open(games), strict=False):
        table[n] = episode


def _extend(episode: Episode, fragment: Fragment, longest_action: int) -> bool:
    """Add what a burst sampled; True when that ends the action."""
    # the last sampled token is fed in the next burst
    fed = len(episode.ids) - episode.cached + len(fragment.ids) - 1
    episode.feeds.append(Feed(episode.cached, fed))
    episode.cached += fed
    episode.ids = np.concatenate([episode.ids, fragment.ids])
    episode.fragments.append(fragment)
    if not fragment.stopped and episode.written < longest_action:
        return False
    parts, episode.fragments = episode.fragments, []
    sampled = SampledAction(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.behavior_logprobs for part in parts]),
        fragment.stopped,
    )
    episode.places.append(len(episode.ids) - len(sampled.ids))
    episode.actions.append(sampled)
    return True
