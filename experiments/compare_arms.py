"""Every arm of a config from one base policy, under several seeds: success, retention and cost, with intervals.

    python experiments/compare_arms.py configs/compare/small.toml --seeds 0 1 2 3 4
    python experiments/compare_arms.py configs/compare/small.toml --domains each       # each domain alone, as the paper
    python experiments/compare_arms.py configs/compare/small.toml --aggregate-only     # from the run directories
    python experiments/compare_arms.py configs/compare/small.toml --arms nemo pivotrl --join EARLIER.json

Hardware and time: as the config's header says, for each seed (and, with `each`, for each domain). Seed s has its own
random keys, demonstrations (from task 10,000 s) and evaluation tasks (from 1,000,000 + 10,000 s). The same command
continues what was interrupted and leaves finished seeds alone. Writes experiments/results/compare_CONFIG_DOMAINS.json
and prints the tables that docs/results.md holds.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from joined_results import joined

from pivot_jax.config import ConfigError
from pivot_jax.config_files import load
from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.provenance import commit, machine_of_children
from pivot_jax.pipeline.seed_results import Results, run_result
from pivot_jax.pipeline.seed_runs import SeedRun, made, seed_run
from pivot_jax.pipeline.seed_tables import (
    basis,
    costs_table,
    domains_table,
    other_domains_table,
    scores_table,
    skills_table,
)

RESULTS = Path(__file__).parent / "results"
TABLES = (scores_table, domains_table, other_domains_table, costs_table, skills_table)


def planned(config: str, domains: str, seeds: list[int], arms: Sequence[str] = ()) -> list[SeedRun]:
    """The runs of a comparison, seed by seed: one of all domains mixed, one of each domain alone, or one of one domain;
    with all arms of the config or some.

    Raises:
        ConfigError: a domain that the config does not have.
    """
    loaded = load([config])
    known = loaded.data.domains
    if domains not in ("mixed", "each", *known):
        raise ConfigError(f"--domains {domains}: one of mixed, each, {', '.join(known)}")
    groups = {"mixed": {"mixed": ()}, "each": {name: (name,) for name in known}}.get(domains, {domains: (domains,)})
    root = Path(loaded.run.dir)
    return [seed_run([config], root / name, seed, chosen, arms) for seed in seeds for name, chosen in groups.items()]


def results_file(config: str, domains: str) -> Path:
    """Where the results of a comparison are kept."""
    return RESULTS / f"compare_{Path(config).stem}_{domains}.json"


def record(config: str, domains: str, runs: list[SeedRun], command: str) -> dict[str, Any]:
    """The results file of these finished runs."""
    found = [run_result(run) for run in runs]
    return {
        "command": command,
        **commit(),
        "machine": machine_of_children(),
        "seconds": round(sum(run.seconds for run in found)),
        "config": config,
        "domains": domains,
        "seeds": sorted({run.seed for run in found}),
        "settings": read_json(runs[0].dir / "config.json"),
        "runs": [run.model_dump(mode="json") for run in found],
    }


def section(record: dict[str, Any]) -> str:
    """Every table of a comparison, in Markdown."""
    results = Results.model_validate(record)
    return "\n\n".join([basis(results), *filter(None, (table(results) for table in TABLES))])


def main() -> None:
    """Run what is missing, aggregate what is finished, write, print; exit 1 if a run did not get to its end."""
    arguments = argparse.ArgumentParser(description="All arms of a config, over seeds.")
    arguments.add_argument("config", help="a config file, such as configs/compare/small.toml")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    arguments.add_argument("--domains", default="mixed", help="mixed, each, or one domain of the config")
    arguments.add_argument("--arms", nargs="+", default=[], help="some of the config's arms; the others may follow")
    arguments.add_argument("--aggregate-only", action="store_true", help="start no run; use those that are finished")
    arguments.add_argument("--join", type=Path, help="results of other arms of these seeds, and at least one of these")
    arguments.add_argument("--out", type=Path, help="the results file")
    options = arguments.parse_args()
    try:
        runs = planned(options.config, options.domains, options.seeds, options.arms)
        finished = made([options.config], runs, aggregate_only=options.aggregate_only)
    except ConfigError as error:
        raise SystemExit(f"compare_arms: {error}") from None
    missing = [str(run.dir) for run in runs if run not in finished]
    if finished:
        out = options.out or results_file(options.config, options.domains)
        written = record(options.config, options.domains, finished, shlex.join(["python", *sys.argv]))
        if options.join:
            try:
                written = joined(written, read_json(options.join))
            except ValueError as error:
                raise SystemExit(f"compare_arms: {options.join} cannot be joined: {error}") from None
        write_json(out, written)
        print(f"{section(written)}\n\nwritten: {out}")
    if missing:
        raise SystemExit(f"not finished: {', '.join(missing)}; the same command continues them")


if __name__ == "__main__":
    main()
