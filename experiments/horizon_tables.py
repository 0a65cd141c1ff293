"""The tables of the horizon study, from its results file: what was gained, what it cost, and where costs cross."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from cost_to_match import PIVOTRL, RANDOM, ratio_cell

from pivot_jax.pipeline.intervals import Estimate
from pivot_jax.pipeline.report_text import points
from pivot_jax.pipeline.seed_tables import change_cell, markdown

RATIOS = {
    "e2e": "E2E / PivotRL",
    "e2e_bare": "E2E / PivotRL without profiling",
    "e2e_seconds": "E2E / PivotRL in time",
    "random": "random / PivotRL",
    "random_bare": "random / PivotRL without profiling",
}
"""Of rollout turns but where another measure is named."""
PAIRS = {pair: [name for name in RATIOS if name.split("_")[0] == pair] for pair in ("e2e", "random")}
CONTENDERS = {"e2e": ("PivotRL", "E2E RL"), "random": ("PivotRL", "random turns")}
AXES = (
    ("turns", ("base", "hops")),
    ("turns", ("base", "routine_share")),
    ("routine_share", ("base", "turns")),
    ("base_success", ("turns", "routine_share")),
)
"""Along what crossovers are sought, and what the cells along it have in common. At equal hops the decisions of a task
stay the same ones and waiting makes it longer, so its routine share grows with its turns."""
CROSSING = ("e2e", "e2e_seconds", "random")
"""The ratios whose crossovers are shown."""


def section(record: Mapping[str, Any]) -> str:
    """What each cell is and gains, what it costs, and the crossovers, in Markdown."""
    cells = record["cells"]
    episodes = cells[0]["runs"][0]["episodes"]
    intro = (
        f"{len(record['seeds'])} seed(s), {episodes} episodes at each checkpoint; 95 % Student intervals over seeds,"
        " one seed without. Gains are those of the last checkpoint over the base."
    )
    ratios = (
        "Costs, each pair at its matched gain, the largest that both reach in every seed: ratios of rollout turns, or"
        " of time where it says so, with the interval of their logarithm; above 1 PivotRL is cheaper."
    )
    signal = (
        "Where the signal comes from: the share of turns that screening left, how often training came back to each"
        " pivot, the share of its groups whose rewards were mixed, and the rollout turns that each of these cost."
    )
    tools = "Pivots by the tool that the demonstrated action calls:"
    parts = [intro, _gains(cells), signal, _signal(cells), tools, _pivots(cells), ratios, _costs(cells)]
    crossed = _crossings(cells)
    return "\n\n".join([*parts, *(["Where a ratio passes 1:", crossed] if crossed else [])])


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


def _name(cell: Mapping[str, Any]) -> list[str]:
    return [cell["base"], str(cell["turns"]), str(cell["hops"]), f"{cell['routine_share']:.2f}"]


NAME = ("base", "turns", "hops", "routine share")


def _gains(cells: Sequence[Mapping[str, Any]]) -> str:
    arms = list(cells[0]["end_gains"])
    rows = []
    for cell in cells:
        measured = [cell["end_gains"][arm] for arm in arms] + [cell["lead_over_random"]]
        rows.append([*_name(cell), f"{100 * cell['base_success']:.0f}", *map(_change_cell, measured)])
    gained = [f"`{arm}`, points" for arm in arms]
    return markdown([*NAME, "base success, %", *gained, "PivotRL less random"], rows)


def _signal(cells: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for cell in cells:
        left, share, mixed, at_random = (
            f"{100 * cell[name]['mean']:.0f}" if name in cell else ""
            for name in ("left", "uninformative", f"{PIVOTRL}_mixed", f"{RANDOM}_mixed")
        )
        counted = (f"{PIVOTRL}_turns_a_group", "bare_turns_a_group", f"{RANDOM}_turns_a_group")
        pivots, uses = f"{cell['pivots']['mean']:.0f}", f"{cell['uses']['mean']:.1f}"
        turns = [_amount_cell(cell[name]) for name in counted]
        rows.append([*_name(cell), left, share, pivots, uses, mixed, at_random, *turns])
    headings = [
        "turns left, %",
        "uninformative turns, %",
        "pivots",
        "uses of each",
        "mixed groups, %",
        "of random turns, %",
    ]
    return markdown([*NAME, *headings, "turns a mixed group", "without profiling", "random turns"], rows)


def _pivots(cells: Sequence[Mapping[str, Any]]) -> str:
    tools = sorted({tool for cell in cells for tool in cell["pivots_by_tool"]})
    none = Estimate(0.0, (0.0, 0.0), 1).to_json()
    rows = [[*_name(cell), *(_amount_cell(cell["pivots_by_tool"].get(tool, none)) for tool in tools)] for cell in cells]
    return markdown([*NAME, *(f"`{tool}`" for tool in tools)], rows)


def _costs(cells: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for cell in cells:
        row = _name(cell)
        for pair, ratios in PAIRS.items():
            gain = cell["matched_gain"][pair]
            none = (
                f"none: {', '.join(one for one in cell['not_reached'] if one in CONTENDERS[pair]) or 'no common one'}"
            )
            row += [
                none if gain is None else f"+{100 * gain:.0f}",
                *(_ratio_cell(cell["ratios"][name]) for name in ratios),
            ]
        rows.append(row)
    headings = [
        words for ratios in PAIRS.values() for words in ("matched gain, points", *(RATIOS[name] for name in ratios))
    ]
    return markdown([*NAME, *headings], rows)


def _crossings(cells: Sequence[Mapping[str, Any]]) -> str:
    """Nothing where no two cells lie along an axis."""
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
                words = [crossovers(group, axis, name) for name in CROSSING]
                rows.append([f"{axis.replace('_', ' ')}, at {at}", *words])
    return markdown(["along", *(RATIOS[name] for name in CROSSING)], rows) if rows else ""


def _amount_cell(value: Mapping[str, Any]) -> str:
    estimate = Estimate.from_json(value)
    low, high = max(0.0, estimate.ci95[0]), estimate.ci95[1]
    return f"{estimate.mean:.0f}" if estimate.n == 1 else f"{estimate.mean:.0f} [{low:.0f}, {high:.0f}]"


def _ratio_cell(value: Mapping[str, Any] | None) -> str:
    return ratio_cell(None if value is None else Estimate.from_json(value))


def _change_cell(value: Mapping[str, Any]) -> str:
    estimate = Estimate.from_json(value)
    return points(estimate.mean) if estimate.n == 1 else change_cell(estimate)
