"""What keeping an episode's keys and values saves: whole episodes with a growing cache, against a prefill every turn.

    JAX_NUM_CPU_DEVICES=2 python benchmarks/growing_trunk.py [--episodes 200]

Both ways play the same held-out tasks with the shipped base policy at temperature 1, in one process. Printed: seconds
of the second round (the first one compiles), tokens computed an episode, success rate with its 95 % interval.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer

import pivot_jax
from pivot_jax.config import Config, DataSection, RunSection, SamplingSection
from pivot_jax.domains.registry import DOMAINS
from pivot_jax.pipeline.intervals import proportion
from pivot_jax.pipeline.run import Run, open_mesh
from pivot_jax.policy.weights import read_architecture, read_weights
from pivot_jax.rollout.actions import fetch
from pivot_jax.rollout.burst_sampler import BurstSampler
from pivot_jax.rollout.decode import Sampled, sample_branches
from pivot_jax.rollout.episode import Episode, Fragment, Game
from pivot_jax.rollout.episodes import play
from pivot_jax.rollout.layout import BranchSlot, Row, lay_out, state_uid

BASE = Path(pivot_jax.__file__).parent / "base_policy"


class Reprefill(BurstSampler):
    """Samples whole actions after a prefill of the whole history: nothing is kept between turns."""

    def begin(self, state, episodes: Sequence[Episode | None], *, last: bool):
        present = [n for n, episode in enumerate(episodes) if episode is not None]
        rows = []
        for n in present:
            episode = episodes[n]
            assert episode is not None
            start = len(episode.ids) - 1
            slot = BranchSlot(start, episode.ids[start:], state_uid(episode.name), episode.turns)
            rows.append(Row(episode.ids[:start], (slot,)))
        points = lay_out(rows, self.mesh, self.rules, row_count=len(episodes), branch_count=1)
        sampled = sample_branches(
            self.params, points, self.key,
            settings=self.settings, stop=self.stop, arch=self.arch, rules=self.rules,
        )  # fmt: skip
        return list(episodes), state, (present, sampled)

    def finish(self, pending: tuple[list[int], Sampled], episodes: Sequence[Episode | None]):
        present, sampled = pending
        fragments: list[Fragment | None] = [None] * len(episodes)
        for n, (action,) in zip(present, fetch(sampled), strict=False):
            fragments[n] = Fragment(action.ids, action.behavior_logprobs, action.finished)
        return fragments


def measure(sampler: BurstSampler, run: Run, episodes: int) -> tuple[float, float, list[int]]:
    """(seconds, tokens computed an episode, outcomes) of a warm round."""
    games = [(name, seed) for name in run.config.data.domains for seed in range(1_000_000, 1_000_000 + episodes)]
    for _ in range(2):
        began = time.monotonic()
        fresh = [Game(f"{name}/{seed}", partial(DOMAINS[name], seed)) for name, seed in games]
        done = list(play(fresh, sampler, run.tokenizer, "compact", max_turns=14, batch=128))
        seconds = time.monotonic() - began
    if isinstance(sampler, Reprefill):
        computed = [sum(place + len(action.ids) for place, action in zip(each.places, each.actions, strict=True))
                    for each in done]  # fmt: skip
    else:
        computed = [sum(feed.tokens for feed in each.feeds) for each in done]
    return seconds, float(np.mean(computed)), [int(each.env.outcome()) for each in done]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--episodes", type=int, default=200, help="a domain")
    episodes = parser.parse_args().episodes
    config = Config(
        run=RunSection(dir="none"), data=DataSection(domains=("retail", "terminal")),
        sampling=SamplingSection(max_new_tokens=16),
    )  # fmt: skip
    mesh, rules = open_mesh(config.mesh)
    arch = read_architecture(BASE, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(BASE, local_files_only=True)
    run = Run(config, Path("none"), BASE, arch, tokenizer, mesh, rules, DOMAINS)
    table = Table(
        "", "seconds", "tokens an episode", "success", title=f"{2 * episodes} episodes, {jax.device_count()} devices"
    )
    times = []
    with jax.set_mesh(mesh):
        params = read_weights(BASE, arch, mesh, rules)
        for name, kind in (("prefill every turn", Reprefill), ("growing cache", BurstSampler)):
            sampler = kind(params, jax.random.key(0), config.sampling, run.stop_ids, arch, mesh, rules)
            seconds, tokens, outcomes = measure(sampler, run, episodes)
            rate = proportion(sum(outcomes), len(outcomes))
            times.append(seconds)
            table.add_row(
                name, f"{seconds:.1f}", f"{tokens:.0f}", f"{rate.mean:.1%} [{rate.ci95[0]:.1%}, {rate.ci95[1]:.1%}]"
            )
    Console().print(table)
    print(f"growing cache: {times[0] / times[1]:.1f} times faster")


if __name__ == "__main__":
    main()
