"""What policies do wrong: how often the tools of held-out episodes answered with an error, arm by arm.

    python experiments/tool_errors.py NAME LABEL=RUN_DIRS [LABEL=RUN_DIRS ...] --errors "error verify first"

Seconds on one CPU core. RUN_DIRS may be a pattern, such as 'runs/horizon/cell/seed_[0-2]'. Run directories of one label
are seeds of one thing: their means stand in one row, with 95 % Student intervals over them; one run has none. Reads
`evaluation/ARM.json` of the arms that all of them have, writes experiments/results/tool_errors_NAME.json with every
error that occurred, and prints the table of those named.
"""

from __future__ import annotations

import argparse
import glob
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.intervals import Estimate, across_seeds
from pivot_jax.pipeline.provenance import commit, machine_of_children
from pivot_jax.pipeline.seed_runs import read_starts
from pivot_jax.pipeline.seed_tables import markdown, rate_cell

RESULTS = Path(__file__).parent / "results"


def counted(run_dir: Path) -> dict[str, dict[str, Any]]:
    """arm → domain → episodes, successes, turns and errors of one run.

    Raises:
        FileNotFoundError: the run has evaluated no arm.
    """
    files = sorted((run_dir / "evaluation").glob("*.json"))
    if not files:
        raise FileNotFoundError(f"{run_dir / 'evaluation'} holds no ARM.json; run the stage 'evaluate'")
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        suites = read_json(file)["in_domain"]
        found[file.stem] = {
            domain: {
                "episodes": len(suite["outcomes"]),
                "successes": sum(suite["outcomes"]),
                "turns": sum(suite["turns"]),
                "errors": suite["tool_errors"],
            }
            for domain, suite in suites.items()
        }
    return found


def matching(labelled: Sequence[str]) -> list[tuple[str, Path]]:
    """Each label with each of the directories that its pattern matches, in order.

    Raises:
        ValueError: a word is not LABEL=RUN_DIRS.
        FileNotFoundError: nothing matches.
    """
    found = []
    for word in labelled:
        label, separator, pattern = word.partition("=")
        if not separator:
            raise ValueError(f"{word}: give it a label, LABEL={word}")
        directories = sorted(glob.glob(pattern))
        if not directories:
            raise FileNotFoundError(f"{pattern}: there is no such directory")
        found += [(label, Path(directory)) for directory in directories]
    return found


def record(labelled: Sequence[tuple[str, Path]], arms: Sequence[str], domains: Sequence[str]) -> dict[str, Any]:
    """label → runs, each with its directory's name, its starts and `counted`; of these arms and domains alone, in this
    order, if any are named.

    Raises:
        FileNotFoundError, ValueError: a run that has not evaluated one of the arms, or any.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for label, run_dir in labelled:
        every = counted(run_dir)
        if missing := [arm for arm in arms if arm not in every]:
            raise ValueError(f"{run_dir}: {missing[0]} is not evaluated; it has {', '.join(every)}")
        kept = {
            arm: {name: suite for name, suite in every[arm].items() if not domains or name in domains}
            for arm in (arms or sorted(every, key=lambda arm: (arm != "base", arm)))
        }
        groups.setdefault(label, []).append({"run": run_dir.name, "starts": read_starts(run_dir), "arms": kept})
    return {"groups": groups}


def section(record: Mapping[str, Any]) -> str:
    """A row for each label, arm and domain: success, turns an episode, and the errors named per hundred episodes."""
    rows = []
    for label, runs in record["groups"].items():
        for arm in (arm for arm in runs[0]["arms"] if all(arm in run["arms"] for run in runs)):
            for domain in runs[0]["arms"][arm]:
                suites = [run["arms"][arm][domain] for run in runs]
                success, turns = (_mean(suites, lambda suite, k=key: suite[k]) for key in ("successes", "turns"))
                errors = [_mean(suites, lambda suite, k=name: suite["errors"].get(k, 0)) for name in record["shown"]]
                cells = [_success(success), f"{turns.mean:.1f}", *map(_hundreds, errors)]
                rows.append([label, arm, domain, str(sum(suite["episodes"] for suite in suites)), *cells])
    named = [f"`{name}`, a hundred episodes" for name in record["shown"]]
    return markdown(["runs", "arm", "domain", "episodes", "success, %", "turns", *named], rows)


def _mean(suites: Sequence[Mapping[str, Any]], total: Any) -> Estimate:
    """Of a total an episode, over runs; one run has no width."""
    values = [total(suite) / suite["episodes"] for suite in suites]
    return across_seeds(values) if len(values) > 1 else Estimate(values[0], (values[0], values[0]), 1)


def _success(estimate: Estimate) -> str:
    low, high = estimate.ci95
    cut = Estimate(estimate.mean, (max(0.0, low), min(1.0, high)), estimate.n)
    return rate_cell(cut) if estimate.n > 1 else f"{100 * estimate.mean:.1f}"


def _hundreds(estimate: Estimate) -> str:
    low, high = (100 * bound for bound in estimate.ci95)
    mean = f"{100 * estimate.mean:.0f}"
    return f"{mean} [{max(0.0, low):.0f}, {high:.0f}]" if estimate.n > 1 else mean


def main() -> None:
    """Count, write, print."""
    arguments = argparse.ArgumentParser(description="Errors that tools answered with, by arm and domain.")
    arguments.add_argument("name", help="of the results file")
    arguments.add_argument("runs", nargs="+", help="LABEL=RUN_DIRS")
    arguments.add_argument("--arms", nargs="+", default=[])
    arguments.add_argument("--domains", nargs="+", default=[])
    arguments.add_argument("--errors", nargs="+", required=True, help="errors to show, as the tools write them")
    arguments.add_argument("--out", type=Path, help="the results file")
    options = arguments.parse_args()
    began = time.monotonic()
    try:
        found = record(matching(options.runs), options.arms, options.domains)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"tool_errors: {error}") from None
    written = {
        "command": shlex.join(["python", *sys.argv]),
        **commit(),
        "machine": machine_of_children(),
        "seconds": time.monotonic() - began,
        "shown": options.errors,
        **found,
    }
    write_json(options.out or RESULTS / f"tool_errors_{options.name}.json", written)
    print(section(written))


if __name__ == "__main__":
    main()
