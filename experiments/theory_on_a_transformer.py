"""Theorems 3.2 and 3.3 on a small transformer: how far shared parameters depart from the tabular statement.

    python experiments/theory_on_a_transformer.py

Hardware: one CPU core, about four minutes. Prints a table for each seed's world and writes
experiments/results/theory_on_a_transformer.json. Expected: the gradient's Fisher norm at a state equals the reward's
standard deviation to 1e-5; PivotRL distorts the order of unrelated actions less than SFT at the same in-domain score,
and more than the theorem's zero; at its minimiser the order is kept at trained states, and not at others.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pivot_jax.objective import theory
from pivot_jax.pipeline.one_token_actions import STATES, World, acceptable_mass, make_world
from pivot_jax.pipeline.theory_measured import kept, random_rewards, signal_norms, train_long, train_to
from pivot_jax.policy.mesh import make_mesh

SEEDS = (0, 1, 2)
TARGET, BETA, LEARNING_RATE = 0.6, 0.2, 1e-3
MINIMISER_BETA = 0.5
OUT = Path(__file__).parent / "results" / "theory_on_a_transformer.json"


def signal(world: World, seed: int) -> dict[str, float]:
    """Theorem 3.2: correlation with the standard deviation, and the ratio to it, for each norm of the gradient."""
    norms = signal_norms(world, random_rewards(seed, STATES))
    spread = norms.std > 1e-3
    numbers = {
        "states": STATES,
        "uniform_states": int((~spread).sum()),
        "residual": float(norms.residual[spread].max()),
    }
    for name in ("own", "shared", "plain"):
        ratio = dataclasses.asdict(norms)[name][spread] / norms.std[spread]
        numbers[f"{name}_correlation"] = norms.correlation(name)
        numbers[f"{name}_ratio_median"] = float(np.median(ratio))
        numbers[f"{name}_ratio_min"], numbers[f"{name}_ratio_max"] = float(ratio.min()), float(ratio.max())
    return numbers


def order(world: World) -> dict[str, dict[str, float]]:
    """Theorem 3.3: what both arms keep at the same in-domain score, and after long training."""
    reference = acceptable_mass(world, world.params)
    policies = {
        f"{arm}_at_{TARGET}": train_to(world, arm, TARGET, beta=BETA, learning_rate=LEARNING_RATE)
        for arm in ("pivotrl", "sft")
    } | {f"{arm}_long": train_long(world, arm, beta=MINIMISER_BETA) for arm in ("pivotrl", "sft")}
    predicted = jnp.mean(theory.acceptable_mass(reference, jnp.float32(MINIMISER_BETA)))
    return {
        "before": {"mass": float(jnp.mean(reference)), "predicted_mass_of_pivotrl_long": float(predicted)},
        **{name: dataclasses.asdict(kept(world, params)) for name, params in policies.items()},
    }


def main() -> None:
    """Measure every seed, print, write."""
    began = time.time()
    mesh = make_mesh()
    results: dict[str, Any] = {}
    with jax.set_mesh(mesh):
        for seed in SEEDS:
            world = make_world(mesh, seed)
            results[str(seed)] = {"signal": signal(world, seed), "order": order(world)}
            print(f"seed {seed}\n{json.dumps(results[str(seed)], indent=2)}", flush=True)
    devices = f"{jax.device_count()} {jax.default_backend()} device(s)"
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    record = {
        "command": " ".join(["python", *sys.argv]),
        "commit": commit,
        "machine": f"{platform.machine()}, {devices}, jax {jax.__version__}",
        "seconds": round(time.time() - began),
        "seeds": SEEDS,
        "settings": {
            "target": TARGET,
            "beta": BETA,
            "learning_rate": LEARNING_RATE,
            "minimiser_beta": MINIMISER_BETA,
        },
        "results": results,
    }
    OUT.write_text(json.dumps(record, indent=2) + "\n")
    print(f"written: {OUT.name}, {record['seconds']} s")


if __name__ == "__main__":
    main()
