"""Re-profiling: new pivots for an arm in training, chosen with the policy that it has by then.

A policy that learns makes its pivots uniform: their groups agree, and carry no gradient (Proposition 3.1). So the share
of mixed groups since the last checkpoint is looked at, and when it is low the current policy is sampled at candidates
drawn from all of the arm's. The pivots among them, by the arm's own rule, are what the next steps train on; the
reference policy stays pi_0, and likelihood screening (`screening`) leaves no candidate out. Everything follows from the
checkpoint, the metrics up to it and (seed, step), so that a resumed run decides and samples alike.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from pivot_jax.config import TrainSection
from pivot_jax.hosts.exchange import each_its_own, first_says
from pivot_jax.hosts.processes import is_first
from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.candidates import load_prepared
from pivot_jax.pipeline.checkpoint import final_policy
from pivot_jax.pipeline.flops import sampling_cost
from pivot_jax.pipeline.ledger import Cost
from pivot_jax.pipeline.loop import OUTSET, Start
from pivot_jax.pipeline.metrics import read_metrics
from pivot_jax.pipeline.profiling import ProfiledPoint, branch_rows, profiled_points, sample_points
from pivot_jax.pipeline.progress import progress
from pivot_jax.pipeline.run import Run
from pivot_jax.pipeline.sampling_mesh import sampling_run
from pivot_jax.pipeline.scoring import Scores, score_sampled, verifiers
from pivot_jax.pipeline.selection import decisions
from pivot_jax.policy.spec import Parameters
from pivot_jax.rollout.actions import SampledAction
from pivot_jax.verify.verifier import Verifier


def checks(section: TrainSection) -> list[int]:
    """Steps after which the share of mixed groups is looked at: every checkpoint but the last one."""
    if not section.reprofile_below:
        return []
    return list(range(section.checkpoint_every, section.steps, section.checkpoint_every))


def mixed_before(run: Run, arm: str, step: int) -> float:
    """Mean `pivot/mixed_fraction` of the steps since the check before `step`.

    Raises:
        ValueError: metrics.jsonl does not hold all of these steps.
    """
    every = run.config.train.checkpoint_every
    lines = [line for line in read_metrics(run.dir) if line.stage == arm and step - every < line.step <= step]
    if len(lines) != every:
        raise ValueError(f"{run.dir}: metrics of {arm} hold {len(lines)} of the {every} steps up to {step}")
    return float(np.mean([line.metrics["pivot/mixed_fraction"] for line in lines]))


def reprofile_if_due(run: Run, arm: str, step: int, console: Console) -> None:
    """Look at the groups since the last check, and re-profile with the policy of the newest checkpoint, which is that
    of `step`, if too few were mixed; what an earlier, interrupted call has written stays."""
    section = run.config.train
    mixed = first_says(f"{arm}: mixed before {step}", mixed_before(run, arm, step) if is_first() else None)
    made = first_says(f"{arm}: re-profiled at {step}", reprofile_file(run, arm, step).exists())
    if mixed < section.reprofile_below and not made:
        there = sampling_run(run)
        with jax.set_mesh(there.mesh):
            reprofile(there, arm, step, mixed, final_policy(there, arm, section.optimizer), console)


def reprofile(
    run: Run, arm: str, step: int, mixed: float, params: Parameters[jax.Array], console: Console
) -> dict[str, Any]:
    """Sample the policy of this step at candidates drawn from the arm's, choose the pivots among them, and write
    `reprofiles/ARM/STEP.json`, whose content is returned.

    Args:
        run: the arm's own run.
        arm: its name.
        step: of the checkpoint that holds `params`.
        mixed: the share of mixed groups that led to this.
        params: the current policy.
        console: for progress and the outcome.
    """
    began, section, config = time.monotonic(), run.config.train, run.config
    every = profiled_points(load_prepared(run), config.profile.share)
    count = min(section.reprofile_candidates, len(every))
    drawn = np.random.default_rng((config.run.seed, step)).choice(len(every), count, replace=False)
    points = [every[i] for i in np.sort(drawn)]  # in the order of the store: candidates of one trunk stay together
    scores, cost = _sample(run, points, step, params, f"{arm}: re-profile", console)
    rewards, valid = np.stack([one.rewards for one in scores]), np.stack([one.valid for one in scores])
    result = {
        "step": step,
        "mixed_fraction_before": mixed,
        **decisions(points, rewards, valid, config.select),
        "k": section.reprofile_samples,
        "not_judged_actions": int((~valid).sum()),
        "cost": asdict(replace(cost, seconds=time.monotonic() - began)),
    }
    write_json(reprofile_file(run, arm, step), result)
    outcome = f"{result['kept']} pivots in {count} candidates" if result["pivots"] else "no pivot, the old ones stay"
    console.print(f"{arm}: step {step}, {mixed:.0%} of the groups mixed; re-profiled: {outcome}")
    return result


def _sample(
    run: Run, points: Sequence[ProfiledPoint], step: int, params: Parameters[jax.Array], title: str, console: Console
) -> tuple[list[Scores], Cost]:
    """The arm's scores of `reprofile_samples` actions at each point, and what they cost but for the time."""
    chunk, draws = run.config.profile.chunk, range(run.config.train.reprofile_samples)
    judges, key = verifiers(run.config.verifier, run.domains), run.key("profile", step)
    scores, cost = [], Cost.zero()
    begins = range(0, len(points), chunk)
    for begin in progress(begins, title, console, unit="candidates", each=chunk, total=len(points)):
        part = points[begin : begin + chunk]
        groups = sample_points(run, params, part, draws, key)
        rows = [row for row, _ in branch_rows(part, draws, run.config.profile.branches_per_trunk)]
        cost += sampling_cost(run.arch, rows, [len(action.ids) for group in groups for action in group])
        sampled = list(zip(part, groups, strict=True))
        judged = each_its_own(f"{title}: verdicts", sampled, lambda one: _verdicts(run, judges, *one))
        scores += [Scores(verdicts["rewards"], verdicts["status"]) for verdicts in judged]
    return scores, replace(cost, verifier_calls=cost.rollout_turns)


def _verdicts(
    run: Run, judges: Sequence[Verifier], point: ProfiledPoint, actions: Sequence[SampledAction]
) -> dict[str, NDArray[Any]]:
    """The arm's `Scores` of these actions as arrays."""
    scores = score_sampled(run, judges, point.candidate, actions)[run.config.select.reward]
    return {"rewards": scores.rewards, "status": scores.status}


def pivots_from(
    run: Run, arm: str, step: int, original: Sequence[ProfiledPoint]
) -> tuple[Sequence[ProfiledPoint], Start]:
    """What an arm trains on after `step`, and since when: the pivots of its newest re-profiling by then that found any,
    or the `original` ones. A re-profiling that found none begins a new pass over the pivots that stay, too."""
    made = [at for at in checks(run.config.train) if at <= step and reprofile_file(run, arm, at).exists()]
    if not made:
        return original, OUTSET
    found = [read_json(reprofile_file(run, arm, at)) for at in made]
    start = Start(made[-1], {"profile": Cost(**found[-1]["cost"])})
    chosen = next(({pivot["id"] for pivot in one["pivots"]} for one in reversed(found) if one["pivots"]), None)
    if chosen is None:
        return original, start
    points = profiled_points(load_prepared(run), run.config.profile.share)
    return [point for point in points if point.candidate.id in chosen], start


def reprofile_file(run: Run, arm: str, step: int) -> Path:
    """Where a re-profiling is recorded."""
    return run.dir / "reprofiles" / arm / f"{step}.json"
