"""Where PivotRL is cheaper than E2E RL, and where its filter pays: by episode length, routine share and base success.

    pivot-jax run configs/horizon/base.toml
    pivot-jax run configs/horizon/warm.toml
    python experiments/horizon.py configs/horizon/study.toml --seeds 0 1 2

Hardware and time: as the configs' headers say. The search domain gives episodes of a chosen length: h hops and w turns
of waiting take 3h + w turns (one more if the first document has to be searched for), of which h + w are routine. Each
cell of the grid is trained and evaluated on its own tasks; several bases are given with --bases.
Within a cell PivotRL's costs are compared with those of E2E RL and of random turns, each at the largest gain (in steps
of two points) that both reach in every seed. Crossovers are where the ratio passes 1, on straight lines between
neighbouring cells.
Several config files are merged left to right. Writes experiments/results/horizon_CONFIG.json, named after the last.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from cost_to_match import GAIN_STEP, PIVOTRL, RANDOM, e2e_arms
from horizon_tables import RATIOS, section

from pivot_jax.config import ConfigError
from pivot_jax.config_files import load
from pivot_jax.data.chat_jsonl import read_trajectories
from pivot_jax.data.turns import candidates
from pivot_jax.domains.search import Knobs, routine_share, turns
from pivot_jax.pipeline.artifacts import read_json, write_json, write_text
from pivot_jax.pipeline.candidates import TRAIN
from pivot_jax.pipeline.cost_curves import SeedCurves, cheapest, cost_ratio, gains, matched_gain, seed_curves, spent
from pivot_jax.pipeline.intervals import Estimate, across_seeds
from pivot_jax.pipeline.provenance import commit, machine_of_children
from pivot_jax.pipeline.report_inputs import read_inputs
from pivot_jax.pipeline.seed_runs import SeedRun, finish, is_finished, seed_run
from pivot_jax.pipeline.selection import LIKELY

RESULTS = Path(__file__).parent / "results"
TURNS = "rollout_turns"


@dataclass(frozen=True)
class Cell:
    """Tasks of one length and one routine share."""

    hops: int
    listed: int
    waits: int

    @property
    def knobs(self) -> Knobs:
        listed = float(self.listed)
        return Knobs(hops=(self.hops,), listed=listed, routine=1, waits=(self.waits,), hard_share=0.0)

    @property
    def turns(self) -> int:
        return turns(self.knobs)[0]

    @property
    def name(self) -> str:
        return f"turns_{self.turns:02d}_routine_{100 * routine_share(self.knobs):.0f}"

    def toml(self, base: str) -> str:
        """The config file of this cell, merged over that of the study. Half as many turns again may be played."""
        knobs = f"hops = [{self.hops}]\nlisted = {float(self.listed)}\nwaits = [{self.waits}]\nroutine = 1\n"
        most = math.ceil(1.5 * self.turns)
        return (
            f'[policy]\npath = "{base}"\n\n[data.knobs.search]\n{knobs}hard_share = 0.0\n\n'
            f"[data]\nmax_turns = {most}\n\n[evaluate]\nmax_turns = {most}\n\n[e2e]\nmax_turns = {most}\n"
        )


CELLS = (
    Cell(1, 1, 0),
    Cell(2, 1, 0), Cell(1, 0, 2), Cell(1, 1, 3),
    Cell(4, 1, 0), Cell(3, 1, 3), Cell(2, 1, 6), Cell(1, 1, 9),
    Cell(4, 1, 12), Cell(2, 1, 18),
)  # fmt: skip
"""3, 6, 12 and 24 turns, a third to five sixths of them routine; one chore everywhere, so that one base knows all.
Of 24 turns a third or a half are routine at eight and six hops only, and the base never gets to the end of so many."""


def planned(configs: Sequence[str], base: str, cell: Cell, seeds: Sequence[int]) -> list[SeedRun]:
    """The runs of one cell from one base; writes the cell's config file."""
    root = Path(load(configs).run.dir) / base_name(base) / cell.name
    file = root / "cell.toml"
    write_text(file, cell.toml(base))
    return [seed_run([*configs, str(file)], root, seed) for seed in seeds]


def base_name(base: str) -> str:
    """`runs/NAME/policy` as `NAME`."""
    path = Path(base)
    return path.parent.name if path.name == "policy" else path.name


def cell_record(cell: Cell, base: str, runs: Sequence[SeedRun]) -> dict[str, Any]:
    """What the results file says of a cell: its curves, and the ratios at the matched gain."""
    found = [seed_curves(run) for run in runs]
    rivals = e2e_arms(read_json(runs[0].dir / "config.json"))
    signals = [signal(run.dir, curves) for run, curves in zip(runs, found, strict=True)]
    return {
        "base": base_name(base),
        "turns": cell.turns,
        "hops": cell.hops,
        "routine_share": routine_share(cell.knobs),
        "base_success": sum(run.arms[PIVOTRL].points[0].rate for run in found) / len(found),
        **{name: _over_seeds(one[name] for one in signals) for name in signals[0]},
        "pivots_by_tool": _counts_over_seeds([pivots_by_tool(run.dir) for run in runs]),
        **compared(found, rivals),
        "runs": [run.model_dump(mode="json") for run in found],
    }


def signal(run_dir: Path, curves: SeedCurves) -> dict[str, float]:
    """How a finished run came by its mixed groups: of the profile the share of turns that screening left, that of
    uninformative turns, and the pivots kept; of training how often each pivot was used, and the rollout turns that a
    mixed group took."""
    inputs = read_inputs(run_dir)
    assert inputs.pivots
    screened_out = inputs.pivots.by_reason.get(LIKELY, 0) / inputs.pivots.candidates
    found = {"pivots": float(inputs.pivots.kept), "left": 1 - screened_out}
    if inputs.pivots.uninformative_fraction is not None:
        found["uninformative"] = inputs.pivots.uninformative_fraction
    for arm in (PIVOTRL, RANDOM):
        train = inputs.config["train"] | inputs.config["arms"][arm].get("train", {})
        shares = [line.metrics["pivot/mixed_fraction"] for line in inputs.metrics if line.stage == arm]
        groups, mixed = train["pivots_per_step"] * len(shares), train["pivots_per_step"] * math.fsum(shares)
        sampled, profiled = groups * train["group_size"], curves.arms[arm].profile[TURNS]
        found |= {f"{arm}_mixed": mixed / groups, f"{arm}_turns_a_group": (sampled + profiled) / mixed}
        if arm == PIVOTRL:
            found |= {"uses": groups / inputs.pivots.kept, "bare_turns_a_group": sampled / mixed}
    return found


def pivots_by_tool(run_dir: Path) -> Counter[str]:
    """How many of a finished run's pivots have a call of each tool as their demonstrated action."""
    kept = {pivot["id"] for pivot in read_json(run_dir / "pivots.json")["pivots"]}
    demonstrated = chain.from_iterable(candidates(one) for one in read_trajectories(run_dir / TRAIN))
    return Counter(call.name for one in demonstrated if one.id in kept for call in one.expert.tool_calls)


def compared(seeds: Sequence[SeedCurves], rivals: Sequence[str]) -> dict[str, Any]:
    """Cost ratios, each arm's gain at its last checkpoint, and there PivotRL's less that of random turns.

    Costs are compared pair by pair, at the largest gain that PivotRL and the other reach in every seed:
    `matched_gain` of the pair, None where there is none; `not_reached` names those without the first gain of the grid
    in every seed.
    """
    grid = gains(seeds, GAIN_STEP)
    others = {"e2e": list(rivals), "random": [RANDOM]}
    matched = {name: matched_gain(seeds, [[PIVOTRL], arms], grid) for name, arms in others.items()}
    contenders = {"PivotRL": [PIVOTRL], "random turns": [RANDOM], "E2E RL": list(rivals)}
    missing = [name for name, arms in contenders.items() if matched_gain(seeds, [arms], grid[:1]) is None]
    ratios: dict[str, Any] = dict.fromkeys(RATIOS)
    for name in RATIOS:
        pair = name.split("_")[0]
        if (gain := matched[pair]) is not None:
            measure = "seconds" if name.endswith("seconds") else TURNS
            over = spent(seeds, cheapest(seeds, others[pair], gain, TURNS), gain, measure)
            under = spent(seeds, PIVOTRL, gain, measure, profile=not name.endswith("bare"))
            ratio = cost_ratio(over, under)
            ratios[name] = ratio.to_json() if ratio else None
    return {
        "matched_gain": matched,
        "not_reached": missing,
        "ratios": ratios,
        "end_gains": {arm: _over_seeds(_end_gain(run, arm) for run in seeds) for arm in seeds[0].arms},
        "lead_over_random": _over_seeds(_end_gain(run, PIVOTRL) - _end_gain(run, RANDOM) for run in seeds),
    }


def _end_gain(run: SeedCurves, arm: str) -> float:
    points = run.arms[arm].points
    return points[-1].rate - points[0].rate


def _over_seeds(values: Iterable[float]) -> dict[str, Any]:
    found = list(values)
    return (across_seeds(found) if len(found) > 1 else Estimate(found[0], (found[0], found[0]), 1)).to_json()


def _counts_over_seeds(counts: Sequence[Counter[str]]) -> dict[str, Any]:
    names = sorted(set().union(*counts))
    return {name: _over_seeds(float(one[name]) for one in counts) for name in names}


def main() -> None:
    """Run what is missing cell by cell, aggregate the cells whose seeds are all finished, write, print."""
    arguments = argparse.ArgumentParser(description="The cost ratios over episode length, routine share and base.")
    arguments.add_argument("configs", nargs="+", help="config files on the search domain, their stages include `curve`")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--bases", nargs="+", help="policies to start from, best first (default: the config's)")
    arguments.add_argument("--cells", nargs="+", help=f"some of {', '.join(cell.name for cell in CELLS)}")
    arguments.add_argument("--aggregate-only", action="store_true", help="start no run; use those that are finished")
    arguments.add_argument("--out", type=Path, help="the results file")
    options = arguments.parse_args()
    try:
        bases = options.bases or [load(options.configs).policy.path]
        plan = [
            (cell, base, planned(options.configs, base, cell, options.seeds))
            for base in bases
            for cell in CELLS
            if not options.cells or cell.name in options.cells
        ]
        for _, _, runs in plan:
            if not options.aggregate_only and finish(runs):
                print("some runs of this cell did not get to their end; the same command continues them")
        finished = [entry for entry in plan if all(is_finished(run) for run in entry[2])]
    except ConfigError as error:
        raise SystemExit(f"horizon: {error}") from None
    if not finished:
        raise SystemExit("no cell is finished; the same command continues them")
    cells = [cell_record(*entry) for entry in finished]
    record = {
        "command": shlex.join(["python", *sys.argv]),
        **commit(),
        "machine": machine_of_children(),
        "seconds": round(sum(run["seconds"] for cell in cells for run in cell["runs"])),
        "config": " ".join(options.configs),
        "seeds": options.seeds,
        "settings": read_json(finished[0][2][0].dir / "config.json"),
        "cells": cells,
    }
    write_json(options.out or RESULTS / f"horizon_{Path(options.configs[-1]).stem}.json", record)
    print(section(record))
    if len(finished) < len(plan):
        raise SystemExit(f"{len(plan) - len(finished)} cells are not finished; the same command continues them")


if __name__ == "__main__":
    main()
