"""The policy as a sampler of episodes: rows on the host, keys and values on the devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from pivot_jax.config import Architecture, SamplingSection
from pivot_jax.hosts.arrays import on_host
from pivot_jax.policy.decoder import KeyValues
from pivot_jax.policy.mesh import Rules, batch_multiple, to_mesh
from pivot_jax.policy.spec import Parameters
from pivot_jax.rollout.episode import Episode, Fragment
from pivot_jax.rollout.growing import Burst, BurstPoints, empty_trunks, lengthen, sample_burst, take_rows
from pivot_jax.rollout.layout import round_up, state_uid, trunk_length

BURST = 8
"""Most tokens sampled before the host looks at the actions again."""
FIRST_ROOM = 256
"""Tokens that an empty cache has room for; it doubles when an episode needs more."""
FEWEST_ROWS = 16
"""A cohort's rows are quartered as its episodes end, down to this: few shapes are ever compiled."""


@dataclass(frozen=True, eq=False)
class BurstSampler:
    """Samples episodes from `params` (see `episodes.Sampler`)."""

    params: Parameters[jax.Array]
    key: jax.Array
    settings: SamplingSection
    stop: tuple[int, ...]
    arch: Architecture
    mesh: jax.sharding.Mesh
    rules: Rules

    @property
    def longest_action(self) -> int:
        return self.settings.max_new_tokens

    def start(self, rows: int) -> KeyValues:
        """An empty cache; it has as many rows more as the mesh asks for."""
        room = trunk_length(FIRST_ROOM, self.mesh, self.rules)
        return empty_trunks(self._whole(rows), room, self.mesh, self.arch, self.rules)

    def begin(
        self, state: KeyValues, episodes: Sequence[Episode | None], *, last: bool
    ) -> tuple[list[Episode | None], KeyValues, Burst]:
        """Feed what each episode does not hold yet, and sample a burst."""
        rows = list(episodes)
        if last:
            rows, state = self._shrink(rows, state)
        present = [episode for episode in rows if episode is not None]
        F = _fed_bucket(max(len(episode.ids) - episode.cached for episode in present))
        need = max(episode.cached for episode in present) + F + BURST
        while state.key.shape[2] < need:
            state = lengthen(state, 2 * state.key.shape[2], self.rules)
        burst, state = sample_burst(
            self.params, state, self._points(rows, state.key.shape[1], F), self.key,
            settings=self.settings, burst=min(BURST, self.settings.max_new_tokens), stop=self.stop,
            arch=self.arch, rules=self.rules,
        )  # fmt: skip
        return rows, state, burst

    def finish(self, pending: Burst, episodes: Sequence[Episode | None]) -> list[Fragment | None]:
        """The one transfer to the host of a burst."""
        tokens, mask, logprobs, stopped = on_host(
            (pending.tokens, pending.mask, pending.behavior_logprobs, pending.stopped)
        )
        return [
            None if episode is None else Fragment(tokens[n][mask[n]], logprobs[n][mask[n]], bool(stopped[n]))
            for n, episode in enumerate(episodes)
        ]

    def _whole(self, rows: int) -> int:
        return round_up(rows, batch_multiple(self.mesh, self.rules))

    def _shrink(self, rows: list[Episode | None], state: KeyValues) -> tuple[list[Episode | None], KeyValues]:
        """A quarter of the rows (again and again) while that leaves room for all that are still played."""
        present = [n for n, episode in enumerate(rows) if episode is not None]
        size = len(rows)
        while size // 4 >= max(len(present), FEWEST_ROWS):
            size //= 4
        if self._whole(size) >= state.key.shape[1]:
            return rows, state
        index = np.resize(np.array(present, np.int32), self._whole(size))
        state = take_rows(state, to_mesh(index, self.mesh, self.rules, "token"), self.rules)
        return [*(rows[n] for n in present), *[None] * (size - len(present))], state

    def _points(self, rows: Sequence[Episode | None], count: int, F: int) -> BurstPoints:
        cached, fed_length, written = (np.zeros(count, np.int32) for _ in range(3))
        uid, draw = (np.zeros(count, np.uint32) for _ in range(2))
        fed = np.zeros((count, F), np.int32)
        for n, episode in enumerate(rows):
            if episode is None:
                continue
            new = episode.ids[episode.cached :]
            cached[n], fed_length[n], written[n] = episode.cached, len(new), episode.written
            fed[n, F - len(new) :] = new
            uid[n], draw[n] = state_uid(episode.name), episode.game.draw
        return BurstPoints(
            cached=to_mesh(cached, self.mesh, self.rules, "batch"),
            fed=to_mesh(fed, self.mesh, self.rules, "batch", "token"),
            fed_length=to_mesh(fed_length, self.mesh, self.rules, "batch"),
            written=to_mesh(written, self.mesh, self.rules, "batch"),
            uid=to_mesh(uid, self.mesh, self.rules, "batch"),
            draw=to_mesh(draw, self.mesh, self.rules, "batch"),
        )


def _fed_bucket(tokens: int) -> int:
    """16 tokens, or that times a power of four: few shapes are ever compiled."""
    bucket = 16
    while bucket < tokens:
        bucket *= 4
    return bucket
