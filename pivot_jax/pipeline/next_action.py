"""Evaluation on recorded trajectories: next-action accuracy at held-out turns.

Nothing can be played on where only a recording is at hand. So each policy samples actions at states that a recorded
episode of a held-out task went through, and every verifier says how many of them would do in place of the recorded one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
from rich.console import Console

from pivot_jax.config import ConfigError
from pivot_jax.data.chat_jsonl import read_trajectories
from pivot_jax.pipeline.candidates import HELD_OUT, prepare
from pivot_jax.pipeline.flops import sampling_cost
from pivot_jax.pipeline.ledger import Cost
from pivot_jax.pipeline.profiling import ProfiledPoint, branch_rows, profiled_points, sample_points
from pivot_jax.pipeline.progress import progress
from pivot_jax.pipeline.run import Run
from pivot_jax.pipeline.scoring import REWARDS, score_sampled, verifiers
from pivot_jax.policy.spec import Parameters


def held_out_points(run: Run) -> list[ProfiledPoint]:
    """The held-out turns that are looked at: all, or `evaluate.turns` spread evenly over them.

    Raises:
        ConfigError: there are none.
    """
    prepared = [prepare(run, trajectory) for trajectory in read_trajectories(run.dir / HELD_OUT)]
    points = profiled_points(prepared, 1.0)
    if not points:
        raise ConfigError("data.held_out: no task is held out, so there is nothing to evaluate on; set a larger share")
    most = run.config.evaluate.turns or len(points)
    if len(points) <= most:
        return points
    return [points[i * len(points) // most] for i in range(most)]


def evaluate_next_actions(run: Run, arm: str, params: Parameters[jax.Array], console: Console) -> dict[str, Any]:
    """What `evaluation/ARM.json` holds: for every held-out turn the rewards of the sampled actions under each verifier,
    None for an action that could not be judged; and what it cost."""
    began, section = time.monotonic(), run.config.evaluate
    points, judges = held_out_points(run), verifiers(run.config.verifier, run.domains)
    sampling = run.config.sampling.model_copy(update={"temperature": section.temperature})
    own = replace(run, config=run.config.model_copy(update={"sampling": sampling}))
    size, draws, key = run.config.profile.chunk, range(section.actions), run.key("evaluate")
    chunks = [points[i : i + size] for i in range(0, len(points), size)]
    turns: list[dict[str, Any]] = []
    cost = Cost.zero()
    for chunk in progress(chunks, f"evaluate {arm}", console, unit="turns", each=size, total=len(points)):
        groups = sample_points(own, params, chunk, draws, key)
        for point, group in zip(chunk, groups, strict=True):
            scores = score_sampled(own, judges, point.candidate, group)
            rewards = {name: _rewards(scores[name].rewards, scores[name].valid) for name in REWARDS}
            found = point.candidate
            turns.append({"turn": found.id, "domain": found.domain, "task": found.task_id, "rewards": rewards})
        cost += _cost(own, chunk, [[len(action.ids) for action in group] for group in groups])
    return {
        "arm": arm,
        "checkpoint": str(run.policy_dir.name if arm == "base" else f"checkpoints/{arm}"),
        "temperature": section.temperature,
        "turns": turns,
        "cost": vars(replace(cost, seconds=time.monotonic() - began)),
    }


def mean_rewards(turns: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Verifier → mean reward of all judged actions, for the manifest; nothing for a verifier that judged none."""
    judged = {name: [r for turn in turns for r in turn["rewards"][name] if r is not None] for name in REWARDS}
    return {name: sum(rewards) / len(rewards) for name, rewards in judged.items() if rewards}


def _rewards(rewards: Any, valid: Any) -> list[float | None]:
    return [float(reward) if ok else None for reward, ok in zip(rewards, valid, strict=True)]


def _cost(run: Run, points: Sequence[ProfiledPoint], lengths: Sequence[Sequence[int]]) -> Cost:
    draws = range(run.config.evaluate.actions)
    rows = [row for row, _ in branch_rows(points, draws, run.config.profile.branches_per_trunk)]
    flat = [length for group in lengths for length in group]
    return replace(sampling_cost(run.arch, rows, flat), verifier_calls=len(flat))
