"""Likelihood screening: no action is sampled where the frozen policy would nearly always take the demonstrated one.

Let p be the probability of the demonstrated action under the frozen policy. That action passes, so the pass rate is at
least p, and all K samples pass with probability p^K or more: the candidate is a pivot with probability 1 - p^K at most.
One forward pass over the trajectories gives p at every turn; it samples nothing and steps no environment. Candidates
with p of `profile.screen_above` and more are not sampled, and selection drops them as likely.

p is taken at temperature 1, whatever `sampling` says. Where the demonstrated action fails its own verifier, the bound
does not hold.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray

from pivot_jax.config import ConfigError, ProfileSection
from pivot_jax.hosts.arrays import on_host
from pivot_jax.hosts.exchange import first_says
from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.candidates import Prepared
from pivot_jax.pipeline.flops import sequence_flops
from pivot_jax.pipeline.ledger import Cost
from pivot_jax.pipeline.run import Run
from pivot_jax.pipeline.sequence_batches import SequenceShape, sequence_batch
from pivot_jax.policy.logprobs import logprobs_at
from pivot_jax.policy.spec import Parameters
from pivot_jax.rollout.layout import TRUNK_BUCKET

FILE = "demonstrated.json"
"""In the profile's folder: log-probs of the demonstrated actions, in the order of the store, and what they cost."""

LIKELY = "likely: not sampled"
"""Why selection drops a candidate that is screened out."""

_logprobs_at = partial(jax.jit, static_argnames=("arch", "rules"))(logprobs_at)


def write_likelihoods(
    run: Run, params: Parameters[jax.Array], prepared: Sequence[Prepared], candidates: Sequence[str], folder: Path
) -> None:
    """Write `FILE`, unless it is there.

    Args:
        run: its policy is `params`, on its mesh.
        params: the frozen policy.
        prepared: the trajectories of the candidates.
        candidates: ids, in the order of the store.
        folder: of the profile.
    """
    if first_says("likelihoods of the demonstrated actions", (folder / FILE).exists()):
        return
    began, wanted = time.monotonic(), set(candidates)
    items = [item for item in prepared if any(candidate.id in wanted for candidate in item.candidates)]
    found, flops = demonstrated_logprobs(run, params, items)
    cost = Cost(flops=flops, seconds=time.monotonic() - began)
    write_json(folder / FILE, {"logprobs": [found[name] for name in candidates], "cost": asdict(cost)})


def demonstrated_logprobs(
    run: Run, params: Parameters[jax.Array], prepared: Sequence[Prepared]
) -> tuple[Mapping[str, float], int]:
    """log π_0(a*|s) of every turn of these trajectories by candidate id, and the FLOPs that they took."""
    sequences = [(n, sequence) for n, item in enumerate(prepared) for sequence in item.rendered.sequences()]
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i][1].ids))
    shape = SequenceShape.holding([sequence for _, sequence in sequences], run, TRUNK_BUCKET)
    size, of_sequence = max(1, run.config.profile.chunk // 4), {}
    for begin in range(0, len(order), size):
        members = order[begin : begin + size]
        chosen = [sequences[i][1] for i in members]
        # a last batch of fewer rows is filled up, so that it compiles nothing of its own
        filled = chosen + [chosen[-1]] * (size - len(chosen))
        batch = sequence_batch(run, filled, shape.halved(filled, run, TRUNK_BUCKET))
        logprobs = on_host(_logprobs_at(params, batch.tokens, batch.places, run.arch, run.rules))
        for row, (i, sequence) in enumerate(zip(members, chosen, strict=True)):
            of_sequence[i] = logprobs[row, : int(sequence.action_mask.sum())]
    of_item: dict[int, list[NDArray[np.float32]]] = {}
    for i, (n, _) in enumerate(sequences):
        of_item.setdefault(n, []).append(of_sequence[i])
    found: dict[str, float] = {}
    for n, item in enumerate(prepared):
        # every action is in exactly one sequence, in order
        ends = np.cumsum([len(turn.action_ids) for turn in item.rendered.turns])
        parts = np.split(np.concatenate(of_item[n]).astype(np.float64), ends[:-1])
        found |= {candidate.id: float(part.sum()) for candidate, part in zip(item.candidates, parts, strict=True)}
    lengths = [len(sequence.ids) for _, sequence in sequences]
    return found, sequence_flops(run.arch, lengths, sum(int(sequence.action_mask.sum()) for _, sequence in sequences))


def screened(folder: Path, rows: Sequence[int], section: ProfileSection) -> NDArray[np.bool_]:
    """`[C]`: whether the candidate stored at each of these rows is likely enough not to be sampled.

    Raises:
        FileNotFoundError: the section screens, and the profile has no likelihoods.
    """
    if section.screen_above == 1:
        return np.zeros(len(rows), np.bool_)
    logprobs = np.array(read_json(folder / FILE)["logprobs"])[list(rows)]
    return np.exp(logprobs) >= section.screen_above


def check_screening(folder: Path, rows: Sequence[int], section: ProfileSection) -> None:
    """ConfigError if the section leaves none of these candidates to sample."""
    if screened(folder, rows, section).all():
        raise ConfigError(
            f"profile.screen_above: the policy takes every demonstrated action with probability {section.screen_above} "
            "or more, so nothing is left to sample; raise it"
        )


def screening_cost(folder: Path, candidates: int, section: ProfileSection) -> Cost:
    """What screening these many candidates cost, in proportion to all; nothing for a section that does not screen."""
    if section.screen_above == 1:
        return Cost.zero()
    read = read_json(folder / FILE)
    cost, share = Cost(**read["cost"]), candidates / len(read["logprobs"])
    return Cost(flops=round(cost.flops * share), seconds=cost.seconds * share)
