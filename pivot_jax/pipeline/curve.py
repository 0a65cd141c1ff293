"""Stage `curve`: in-domain success of every kept checkpoint of every arm, with what the arm had cost by then."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import jax
from rich.console import Console

from pivot_jax.config import ConfigError
from pivot_jax.pipeline.arms import trained_arms, training_section
from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.checkpoint import Checkpoints
from pivot_jax.pipeline.evaluate import in_domain, play_suites, suite_games
from pivot_jax.pipeline.ledger import Cost, Ledger
from pivot_jax.pipeline.run import Run, complete
from pivot_jax.pipeline.sampling_mesh import sampling_run


def curve(run: Run, console: Console) -> None:
    """Evaluate the checkpoints that have not been yet, and write `curves/ARM.json`: one point a checkpoint.

    The cost of a point is that of training up to it; `reprofiling` is the part of it that re-profiling took. The
    profile made before training is in the run's ledger alone, for whoever nets it in; evaluation is in neither.
    """
    began, run = time.monotonic(), sampling_run(run)
    if not run.config.run.keep_checkpoints:
        raise ConfigError("curve: only the last checkpoints are kept; set run.keep_checkpoints before training")
    counts = {}
    for arm in (arm for arm in trained_arms(run) if arm != "base"):
        file = run.dir / "curves" / f"{arm}.json"
        points: list[dict[str, Any]] = read_json(file) if file.exists() else []
        with Checkpoints(run, arm) as checkpoints:
            steps = checkpoints.steps
        for step in steps[len(points) :]:
            points.append(_point(run, arm, step, console))
            write_json(file, points)
        counts[arm] = len(points)
    complete(run, "curve", counts, Ledger(), began)


def _point(run: Run, arm: str, step: int, console: Console) -> dict[str, Any]:
    section = run.config.evaluate
    with jax.set_mesh(run.mesh):
        # closed before the episodes are played: open checkpoints keep SIGTERM for a training loop to see
        with Checkpoints(run, arm) as checkpoints:
            state, resumed = checkpoints.restore(run, training_section(run.config, arm).optimizer, step)
        games = suite_games(in_domain(run), section.curve_episodes, section.first_seed)
        suites, _ = play_suites(run, state.params, games, f"curve {arm} step {step}", console)
    ledger = Ledger.from_json(resumed.ledger)
    return {
        "step": step,
        "successes": {name: sum(suite.outcomes) for name, suite in suites.items()},
        "episodes": section.curve_episodes,
        "cost": asdict(ledger.total(arm)),
        "reprofiling": asdict(ledger.phases(arm).get("profile", Cost.zero())),
    }
