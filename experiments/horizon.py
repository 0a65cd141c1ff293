"""Where PivotRL is cheaper than E2E RL, and where its filter pays: by episode length, routine share and base success.

    pivot-jax run configs/horizon/base.toml
    pivot-jax run configs/horizon/warm.toml
    python experiments/horizon.py configs/horizon/study.toml --seeds 0 1 2

Hardware and time: as the configs' headers say. The search domain gives episodes of a chosen length: h hops and w turns
of waiting take 3h + w turns (one more if the first document has to be searched for), of which h + w are routine. Each
cell of the grid is trained and evaluated on its own tasks; several bases are given with --bases.
Within a cell the costs are compared at the largest gain (in steps of two points) that PivotRL, random turns and E2E RL
reach in every seed. Crossovers are where the ratio passes 1, on straight lines between neighbouring cells.
Several config files are merged left to right. Writes experiments/results/horizon_CONFIG.json, named after the last.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from cost_to_match import GAIN_STEP, PIVOTRL, RANDOM, e2e_arms, ratio_cell

from pivot_jax.config import ConfigError
from pivot_jax.config_files import load
from pivot_jax.domains.search import Knobs, routine_share, turns
from pivot_jax.pipeline.artifacts import read_json, write_json, write_text
from pivot_jax.pipeline.cost_curves import SeedCurves, cheapest, cost_ratio, gains, matched_gain, seed_curves, spent
from pivot_jax.pipeline.intervals import Estimate, across_seeds
from pivot_jax.pipeline.provenance import commit, machine_of_children
from pivot_jax.pipeline.seed_runs import SeedRun, finish, is_finished, seed_run
from pivot_jax.pipeline.seed_tables import change_cell, markdown

RESULTS = Path(__file__).parent / "results"
TURNS, TIME = "rollout_turns", "seconds"
RATIOS = {
    "e2e": "E2E / PivotRL",
    "e2e_bare": "E2E / PivotRL without profiling",
    "random": "random / PivotRL",
    "random_bare": "random / PivotRL without profiling",
}
TIME_RATIO = "E2E / PivotRL in time"
AXES = (
    ("turns", ("base", "hops")),
    ("turns", ("base", "routine_share")),
    ("routine_share", ("base", "turns")),
    ("base_success", ("turns", "routine_share")),
)
"""Along what crossovers are sought, and what the cells along it have in common. At equal hops the decisions of a task
stay the same ones and waiting makes it longer, so its routine share grows with its turns."""


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
    uninformative = [read_json(run.dir / "pivots.json")["uninformative_fraction"] for run in runs]
    rivals = e2e_arms(read_json(runs[0].dir / "config.json"))
    return {
        "base": base_name(base),
        "turns": cell.turns,
        "hops": cell.hops,
        "routine_share": routine_share(cell.knobs),
        "base_success": sum(run.arms[PIVOTRL].points[0].rate for run in found) / len(found),
        "uninformative": sum(uninformative) / len(uninformative),
        **compared(found, rivals),
        "runs": [run.model_dump(mode="json") for run in found],
    }


def compared(seeds: Sequence[SeedCurves], rivals: Sequence[str]) -> dict[str, Any]:
    """Cost ratios in rollout turns at the largest matched gain, and the final accuracy of PivotRL less random turns.

    `matched_gain` is None where some contender does not get there; `not_reached` then names those without the first
    gain of the grid in every seed.
    """
    grid = gains(seeds, GAIN_STEP)
    contenders = {"PivotRL": [PIVOTRL], "random turns": [RANDOM], "E2E RL": list(rivals)}
    matched = matched_gain(seeds, list(contenders.values()), grid)
    missing = [name for name, arms in contenders.items() if matched_gain(seeds, [arms], grid[:1]) is None]
    ends = [run.arms[PIVOTRL].points[-1].rate - run.arms[RANDOM].points[-1].rate for run in seeds]
    lead = across_seeds(ends) if len(ends) > 1 else Estimate(ends[0], (ends[0], ends[0]), 1)
    ratios: dict[str, Any] = dict.fromkeys(RATIOS)
    if matched is not None:
        best = cheapest(seeds, rivals, matched, TURNS)
        for name in RATIOS:
            over = spent(seeds, RANDOM if name.startswith("random") else best, matched, TURNS)
            under = spent(seeds, PIVOTRL, matched, TURNS, profile=not name.endswith("bare"))
            ratio = cost_ratio(over, under)
            ratios[name] = ratio.to_json() if ratio else None
        in_time = cost_ratio(*(spent(seeds, arm, matched, TIME) for arm in (best, PIVOTRL)))
        ratios["e2e_seconds"] = in_time.to_json() if in_time else None
    return {
        "matched_gain": matched,
        "not_reached": missing,
        "ratios": ratios,
        "lead_over_random": lead.to_json(),
    }


def crossovers(cells: Sequence[Mapping[str, Any]], axis: str, ratio: str) -> str:
    """Where a ratio passes 1 along an axis, in words; the cells differ in that axis alone.

    The logarithm of the ratio is taken as straight between neighbours: against the logarithm of turns, and against the
    other axes as they are.
    """
    ordered = sorted(cells, key=lambda cell: cell[axis])
    known = [(cell[axis], math.log(cell["ratios"][ratio]["mean"])) for cell in ordered if cell["ratios"][ratio]]
    left_out = len(ordered) - len(known)
    note = f"; {left_out} of {len(ordered)} cells have no matched gain" if left_out else ""
    if len(known) < 2:
        return "not determined" + note
    scale, back = (math.log, math.exp) if axis == "turns" else (float, float)
    found = []
    for (x0, y0), (x1, y1) in pairwise(known):
        if (y0 < 0) != (y1 < 0):
            x = back(scale(x0) + (scale(x1) - scale(x0)) * y0 / (y0 - y1))
            found.append(f"{x:.2f}, from there {'above' if y1 >= 0 else 'below'} 1")
    if found:
        return " and ".join(found) + note
    side = "above" if known[0][1] >= 0 else "below"
    return f"none in range ({known[0][0]:.2g} to {known[-1][0]:.2g}): {side} 1 throughout{note}"


def section(record: Mapping[str, Any]) -> str:
    """The table of cells and the crossovers, in Markdown."""
    cells = record["cells"]
    rows = []
    for cell in cells:
        gain = cell["matched_gain"]
        shown = f"none: {', '.join(cell['not_reached']) or 'no common one'}" if gain is None else f"+{100 * gain:.0f}"
        rows.append([
            cell["base"], str(cell["turns"]), str(cell["hops"]), f"{cell['routine_share']:.2f}",
            f"{100 * cell['base_success']:.0f}", f"{100 * cell['uninformative']:.0f}", shown,
            *(ratio_cell(_estimate(cell["ratios"][name])) for name in RATIOS),
            change_cell(_estimate(cell["lead_over_random"]) or Estimate(0.0, (0.0, 0.0), 0)),
        ])  # fmt: skip
    headings = [
        "base",
        "turns",
        "hops",
        "routine share",
        "base success, %",
        "uninformative turns, %",
        "matched gain, points",
    ]
    grid = markdown([*headings, *RATIOS.values(), "PivotRL less random at the end, points"], rows)
    intro = (
        f"{len(record['seeds'])} seed(s). Ratios of rollout turns: geometric mean over seeds with Student's 95 %"
        " interval on its logarithm, one seed without; above 1 PivotRL is cheaper."
    )
    return "\n\n".join([intro, grid, "Where the ratio passes 1:", _crossover_table(cells)])


def _crossover_table(cells: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for axis, others in AXES:
        groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
        for cell in cells:
            groups.setdefault(tuple(cell[name] for name in others), []).append(cell)
        for key, group in groups.items():
            if len(group) > 1:
                at = ", ".join(
                    f"{name.replace('_', ' ')} {value:.2f}" if isinstance(value, float) else f"{name} {value}"
                    for name, value in zip(others, key, strict=True)
                )
                words = [crossovers(group, axis, name) for name in ("e2e", "random")]
                rows.append([f"{axis.replace('_', ' ')}, at {at}", *words])
    return markdown(["along", RATIOS["e2e"], RATIOS["random"]], rows)


def _estimate(value: Mapping[str, Any] | None) -> Estimate | None:
    if value is None:
        return None
    low, high = value["ci95"]
    return Estimate(value["mean"], (low, high), value["n"])


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
