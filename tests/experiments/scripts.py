"""The scripts of experiments/ as modules, and run directories as the stages leave them, with outcomes of choice."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pivot_jax.pipeline.artifacts import write_json
from pivot_jax.pipeline.ledger import Cost, Ledger
from pivot_jax.pipeline.seed_runs import SeedRun

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"


def script(name: str) -> ModuleType:
    """The module of `experiments/NAME.py`; they import one another by name, as when they are run."""
    if str(EXPERIMENTS) not in sys.path:
        sys.path.insert(0, str(EXPERIMENTS))
    return importlib.import_module(name)


def suite(successes: int, episodes: int, first_seed: int) -> dict[str, Any]:
    """A suite of an evaluation: the first episodes succeed."""
    outcomes = [1] * successes + [0] * (episodes - successes)
    return {"outcomes": outcomes, "seeds": list(range(first_seed, first_seed + episodes))}


def write_run(
    run: SeedRun, successes: Mapping[str, int], *, episodes: int = 20, skill: int = 18, other: int = 5
) -> None:
    """A finished run: each arm succeeds in `successes[arm]` of the episodes of every domain, and in `skill` of 20; in
    domains that it was not trained on in `other`, the base in 5."""
    config, stages = run.config, {}
    first = config.evaluate.first_seed
    ledger = Ledger()
    for arm, number in successes.items():
        evaluation = {
            "arm": arm,
            "checkpoint": f"checkpoints/{arm}",
            "temperature": 1.0,
            "in_domain": {name: suite(number, episodes, first) for name in config.data.domains},
            "other_domains": {
                name: suite(5 if arm == "base" else other, episodes, first) for name in config.evaluate.other_domains
            },
            "ood": {"sort": suite(skill, 20, first)},
        }
        write_json(run.dir / "evaluation" / f"{arm}.json", evaluation)
        ledger = ledger.charge(arm, "evaluation", Cost(rollout_turns=999))
        if arm == "pivotrl":
            ledger = ledger.charge(arm, "profile", Cost(rollout_turns=400, seconds=4.0))
        if arm != "base":
            ledger = ledger.charge(arm, "rollout", Cost(rollout_turns=100, sampled_tokens=50, seconds=1.0))
    part = {"candidates": 50, "kept": 20, "by_reason": {}, "mixed_fraction": 0.5, "uninformative_fraction": 0.5}
    by_domain = dict.fromkeys(config.data.domains, part)
    rates = {"pass_rates": [], "pass_rates_exact": [], "threshold": 0.8, "k": 4}
    write_json(run.dir / "pivots.json", {**part, **rates, "by_domain": by_domain})
    write_json(run.dir / "ledger.json", ledger.to_json())
    for stage in config.run.stages:
        stages[stage] = {"counts": {arm: {} for arm in successes}, "seconds": 10.0}
    write_json(run.dir / "manifest.json", {"command": "test", "stages": stages})
    write_json(run.dir / "config.json", config.model_dump(mode="json"))
