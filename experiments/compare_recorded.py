"""Recorded trajectories: next-action accuracy of every arm at held-out turns, under several seeds from one base.

    python experiments/compare_recorded.py configs/intercode_sql_small.toml --seeds 0 1
    python experiments/compare_recorded.py configs/tau2_small.toml --seeds 0 1
    python experiments/compare_recorded.py configs/tau2_small.toml --aggregate-only     # from the run directories

Hardware and time: as the config's header says, for the base and each seed. The base is made once, of tasks that no seed
sees again; a seed has its own split of the other tasks into training and held-out ones, and its own random keys. The
same command continues what was interrupted. Writes experiments/results/recorded_CONFIG.json and prints the
tables that docs/results.md holds.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import compare_arms

from pivot_jax.config import ConfigError
from pivot_jax.config_files import load
from pivot_jax.pipeline.artifacts import write_json
from pivot_jax.pipeline.next_action_tables import accuracy_table, basis, domains_table, profile_table
from pivot_jax.pipeline.seed_results import Results
from pivot_jax.pipeline.seed_runs import SeedRun, made, seed_run
from pivot_jax.pipeline.seed_tables import costs_table

TABLES = (accuracy_table, domains_table, profile_table, costs_table)


def planned(config: str, seeds: list[int]) -> list[SeedRun]:
    """One run a seed.

    Raises:
        ConfigError: a config without recorded trajectories.
    """
    loaded = load([config])
    if not loaded.data.path:
        raise ConfigError(f"{config}: data.path is empty; experiments/compare_arms.py compares on generated tasks")
    return [seed_run([config], Path(loaded.run.dir), seed) for seed in seeds]


def results_file(config: str) -> Path:
    """Where the results are kept."""
    return compare_arms.RESULTS / f"recorded_{Path(config).stem}.json"


def section(record: dict[str, Any]) -> str:
    """Every table, in Markdown."""
    results = Results.model_validate(record)
    return "\n\n".join([basis(results), *(table for make in TABLES if (table := make(results)))])


def main() -> None:
    """Run what is missing, aggregate what is finished, write, print; exit 1 if a run did not get to its end."""
    arguments = argparse.ArgumentParser(description="All arms of a config on recorded trajectories, over seeds.")
    arguments.add_argument("config", help="a config file, such as configs/tau2_small.toml")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    arguments.add_argument("--aggregate-only", action="store_true", help="start no run; use those that are finished")
    options = arguments.parse_args()
    try:
        runs = planned(options.config, options.seeds)
        finished = made([options.config], runs, aggregate_only=options.aggregate_only)
    except ConfigError as error:
        raise SystemExit(f"compare_recorded: {error}") from None
    missing = [str(run.dir) for run in runs if run not in finished]
    if finished:
        written = compare_arms.record(options.config, "recorded", finished, shlex.join(["python", *sys.argv]))
        write_json(results_file(options.config), written)
        print(f"{section(written)}\n\nwritten: {results_file(options.config)}")
    if missing:
        raise SystemExit(f"not finished: {', '.join(missing)}; the same command continues them")


if __name__ == "__main__":
    main()
