"""What PivotRL, random turns and E2E RL spend to reach the same in-domain accuracy.

    python experiments/cost_to_match.py configs/compare/cost.toml --seeds 0 1 2

Hardware and time: as the config's header says, for each seed. Every kept checkpoint of every arm plays the same
held-out episodes (stage `curve`); the curves are smoothed and interpolated as pipeline/cost_curves.py says, and
the cost of each gain over the base is read off, PivotRL's profile paid for and not. Of the E2E settings the one that is
cheapest at each gain is compared, chosen with hindsight. Writes experiments/results/cost_to_match_CONFIG.json and
docs/figures/cost_to_match_CONFIG.svg. A gain that an arm does not reach in some seed has no cost, and no ratio.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from pivot_jax.config import ConfigError
from pivot_jax.config_files import load
from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.cost_curves import (
    MEASURES,
    SeedCurves,
    Spent,
    cheapest,
    cost_ratio,
    gains,
    matched_gain,
    seed_curves,
    spent,
)
from pivot_jax.pipeline.intervals import Estimate
from pivot_jax.pipeline.provenance import commit, machine_of_children
from pivot_jax.pipeline.report_figures import STYLE, arm_colours
from pivot_jax.pipeline.report_text import count, duration, flops
from pivot_jax.pipeline.seed_runs import made, seed_run
from pivot_jax.pipeline.seed_tables import markdown

RESULTS = Path(__file__).parent / "results"
FIGURES = Path(__file__).parents[1] / "docs" / "figures"
PIVOTRL, RANDOM = "pivotrl", "random_functional"
GAIN_STEP = 0.02
TITLES = {"rollout_turns": "rollout turns", "sampled_tokens": "sampled tokens", "flops": "compute", "seconds": "time"}
SHOWN = {"rollout_turns": count, "sampled_tokens": count, "flops": flops, "seconds": duration}


def e2e_arms(settings: Mapping[str, Any]) -> list[str]:
    """The arms that are settings of E2E RL."""
    return [arm for arm, section in settings["arms"].items() if section["method"] == "e2e_rl"]


def table(seeds: Sequence[SeedCurves], rivals: Sequence[str], measure: str, shown: Sequence[float]) -> str:
    """Cost of each gain by arm, with the ratios to PivotRL."""
    rows = []
    for gain in shown:
        best = cheapest(seeds, rivals, gain, measure)
        paid, bare = (spent(seeds, PIVOTRL, gain, measure, profile=profile) for profile in (True, False))
        random, e2e = spent(seeds, RANDOM, gain, measure), spent(seeds, best, gain, measure)
        rows.append([
            f"+{100 * gain:.0f}", *(cost_cell(one, measure) for one in (paid, bare, random)),
            f"{cost_cell(e2e, measure)} `{best}`",
            *(ratio_cell(cost_ratio(*pair)) for pair in ((e2e, paid), (e2e, bare), (random, paid))),
        ])  # fmt: skip
    headings = ["gain, points", "PivotRL", "without profiling", "random turns", "E2E RL, best setting"]
    headings += ["E2E / PivotRL", "E2E / PivotRL without profiling", "random / PivotRL"]
    return f"In {TITLES[measure]}:\n\n{markdown(headings, rows)}"


def cost_cell(found: Spent, measure: str) -> str:
    """Mean, and least to most over seeds; or in how many seeds the gain was reached."""
    known = [cost for cost in found.costs if cost is not None]
    if found.mean is None:
        return f"reached in {len(known)} of {len(found.costs)}"
    show = SHOWN[measure]
    low, mean, high = (show(round(value)) for value in (min(known), found.mean, max(known)))
    return mean if len(known) == 1 else f"{mean} ({low} to {high})"


def ratio_cell(ratio: Estimate | None) -> str:
    """`3.1 [2.0, 4.8]`; a dash where one side does not reach the gain in every seed."""
    if ratio is None:
        return "\N{EN DASH}"
    low, high = ratio.ci95
    return f"{ratio.mean:.2f}" if ratio.n == 1 else f"{ratio.mean:.2f} [{low:.2f}, {high:.2f}]"


def section(record: Mapping[str, Any]) -> str:
    """Every table and the figure, in Markdown: turns at every gain, the other measures at the largest matched one."""
    seeds = [SeedCurves.model_validate(run) for run in record["runs"]]
    rivals = e2e_arms(record["settings"])
    grid = gains(seeds, GAIN_STEP)
    if not grid:
        return "No arm gained two points over the base in any seed."
    matched = matched_gain(seeds, [[PIVOTRL], [RANDOM], rivals], grid)
    others = grid if matched is None else [matched]
    intro = (
        f"{len(seeds)} seed(s), {seeds[0].episodes} episodes a domain at each checkpoint. Costs: mean (least to most"
        " over seeds); ratios: geometric mean over seeds with Student's 95 % interval on its logarithm, one seed"
        " without."
    )
    best = "No gain is reached by all three in every seed." if matched is None else (
        f"The largest gain that all three reach in every seed: +{100 * matched:.0f} points."
    )  # fmt: skip
    tables = [table(seeds, rivals, measure, grid if measure == MEASURES[0] else others) for measure in MEASURES]
    picture = f"![Accuracy against rollout turns](figures/{record['figure']})"
    return "\n\n".join([intro, best, picture, *tables])


def figure(seeds: Sequence[SeedCurves]) -> Figure:
    """In-domain accuracy against rollout turns: every seed thin, their mean thick; a profile shifts its arm right."""
    colours = arm_colours(seeds[0].arms)
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": "pivot_jax", "figure.facecolor": "white"}):
        drawn = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = drawn.subplots()
        for arm in seeds[0].arms:
            lines = []
            for curve in (run.arms[arm] for run in seeds):
                turns = [curve.profile["rollout_turns"] + point.cost["rollout_turns"] for point in curve.points]
                lines.append((turns, [100 * point.rate for point in curve.points]))
                axes.plot(*lines[-1], color=colours[arm], linewidth=0.6, alpha=0.35)
            x, y = np.mean(lines, axis=0)
            axes.plot(x, y, color=colours[arm], linewidth=1.8, marker="o", markersize=3, label=arm)
        axes.set_xlabel("rollout turns, profiling included")
        axes.set_ylabel("in-domain accuracy, %")
        axes.legend(loc="lower right")
    return drawn


def main() -> None:
    """Run what is missing, aggregate what is finished, write, draw, print."""
    arguments = argparse.ArgumentParser(description="Cost to reach the same accuracy.")
    arguments.add_argument("config", help="a config file whose stages include `curve`")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--aggregate-only", action="store_true", help="start no run; use those that are finished")
    arguments.add_argument("--out", type=Path, help="the results file")
    options = arguments.parse_args()
    try:
        root = Path(load([options.config]).run.dir)
        runs = [seed_run([options.config], root / "mixed", seed) for seed in options.seeds]
        finished = made([options.config], runs, aggregate_only=options.aggregate_only)
    except ConfigError as error:
        raise SystemExit(f"cost_to_match: {error}") from None
    if not finished:
        raise SystemExit("no run is finished; the same command continues them")
    found = [seed_curves(run) for run in finished]
    name = f"cost_to_match_{Path(options.config).stem}"
    record = {
        "command": shlex.join(["python", *sys.argv]),
        **commit(),
        "machine": machine_of_children(),
        "seconds": round(sum(run.seconds for run in found)),
        "config": options.config,
        "seeds": [run.seed for run in found],
        "settings": read_json(finished[0].dir / "config.json"),
        "figure": f"{name}.svg",
        "runs": [run.model_dump(mode="json") for run in found],
    }
    write_json(options.out or RESULTS / f"{name}.json", record)
    FIGURES.mkdir(exist_ok=True)
    figure(found).savefig(FIGURES / f"{name}.svg", metadata={"Date": None})
    print(section(record))
    if len(finished) < len(runs):
        raise SystemExit("some seeds are not finished; the same command continues them")


if __name__ == "__main__":
    main()
