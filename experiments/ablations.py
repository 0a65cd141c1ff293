"""The controls of the paper, K and λ: one table each, and whether the paper's order holds.

    python experiments/compare_arms.py configs/compare/small.toml
    python experiments/compare_arms.py configs/compare/ablations.toml
    python experiments/ablations.py

The first two commands take hours (see the configs), this one seconds. Reads their results files and writes
experiments/results/ablations.json. The paper, on its conversational domain: pivots with the functional reward 63.81,
random turns 59.68, SFT 58.44, random turns with the strict reward 57.34. An ordering holds when the whole 95 % interval
of its difference is above zero.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.intervals import Estimate
from pivot_jax.pipeline.report_headline import Ordering
from pivot_jax.pipeline.report_text import count
from pivot_jax.pipeline.seed_estimates import change, rate, runs_by_seed
from pivot_jax.pipeline.seed_results import Results, read_results
from pivot_jax.pipeline.seed_tables import KINDS, basis, change_cell, markdown, rate_cell

RESULTS = Path(__file__).parent / "results"
CONTROLS = (
    "base",
    "sft",
    "sft_pivots",
    "pivotrl",
    "random_functional",
    "pivots_strict",
    "random_strict",
    "pivotrl_no_kl",
)
CLAIMS = (
    ("Pivots beat random turns, functional reward", "pivotrl", "random_functional"),
    ("Random turns: the functional reward beats the strict one", "random_functional", "random_strict"),
    ("Pivots: the functional reward beats the strict one", "pivotrl", "pivots_strict"),
    ("PivotRL beats SFT", "pivotrl", "sft"),
    ("Random turns with the functional reward beat SFT", "random_functional", "sft"),
    ("SFT beats random turns with the strict reward", "sft", "random_strict"),
)
REFERENCE = "k8"
"""K = 8 and λ = 0.8: what the others of the second config are compared with."""


def controls(results: Results) -> dict[str, Any]:
    """Rates of the controls, and every ordering of the paper with its verdict."""
    known = [arm for arm in CONTROLS if arm in results.arms]
    judged = [
        (claim, better, worse, Ordering(claim, change(results, better, worse, "in_domain")))
        for claim, better, worse in CLAIMS
        if better in known and worse in known
    ]
    return {
        "basis": basis(results),
        "rows": {arm: _row(results, arm, "pivotrl") for arm in known},
        "orderings": [
            {"claim": claim, "better": better, "worse": worse, "verdict": ordering.verdict}
            | {"difference": ordering.difference.to_json()}
            for claim, better, worse, ordering in judged
        ],
    }


def settings(results: Results) -> dict[str, Any]:
    """Rates by K and by λ, with what each K costs and how many pivots each λ keeps."""
    arms = [arm for arm in results.arms if arm != "base"]
    rows = {}
    for arm in arms:
        tables = results.settings["arms"][arm]
        own = {name: {**results.settings[name], **tables[name]} for name in ("profile", "select")}
        rows[arm] = {
            **_row(results, arm, REFERENCE),
            "k": own["profile"]["samples"],
            "threshold": own["select"]["threshold"],
        }
    return {"basis": basis(results), "rows": rows}


def _row(results: Results, arm: str, reference: str) -> dict[str, Any]:
    runs = [run for group in runs_by_seed(results).values() for run in group]
    seeds = len(runs_by_seed(results))
    row: dict[str, Any] = {kind: rate(results, arm, kind).to_json() for kind, _ in KINDS}
    if arm != reference:
        row |= {f"{kind}_change": change(results, arm, reference, kind).to_json() for kind, _ in KINDS}
    row["rollout_turns"] = sum(run.arms[arm].cost().rollout_turns for run in runs) / seeds
    if all("profile" in run.arms[arm].ledger for run in runs):
        row["pivots"] = sum(run.selections.get(arm, sum(run.pivots.values())) for run in runs) / seeds
    return row


def section(record: Mapping[str, Any]) -> str:
    """The tables in Markdown."""
    parts = []
    if found := record["controls"]:
        parts += ["Controls, differences from `pivotrl`.", found["basis"], _table(found["rows"], {})]
        lines = [
            [one["claim"], change_cell(Estimate.from_json(one["difference"])), one["verdict"]]
            for one in found["orderings"]
        ]
        parts.append(markdown(["the paper's order, in domain", "difference, points", "here"], lines))
    if found := record["settings"]:
        rows = found["rows"]
        parts += [f"K and λ, differences from `{REFERENCE}`.", found["basis"]]
        parts.append(_table(rows, {"K": "k", "λ": "threshold"}))
    return "\n\n".join(parts)


def _table(rows: Mapping[str, Mapping[str, Any]], extra: Mapping[str, str]) -> str:
    headings = ["arm", *extra, *(f"{words}, %" for _, words in KINDS), *(f"{words}, difference" for _, words in KINDS)]
    body: list[Sequence[str]] = []
    for arm, row in rows.items():
        changes = [row.get(f"{kind}_change") for kind, _ in KINDS]
        body.append([
            arm, *(str(row[key]) for key in extra.values()),
            *(rate_cell(Estimate.from_json(row[kind])) for kind, _ in KINDS),
            *("" if one is None else change_cell(Estimate.from_json(one)) for one in changes),
            count(round(row["rollout_turns"])), count(round(row["pivots"])) if "pivots" in row else "",
        ])  # fmt: skip
    return markdown([*headings, "rollout turns", "pivots kept"], body)


def main() -> None:
    """Read both comparisons, write, print."""
    arguments = argparse.ArgumentParser(description="Controls, K and λ from the comparisons' results.")
    arguments.add_argument("--controls", type=Path, default=RESULTS / "compare_small_mixed.json")
    arguments.add_argument("--settings", type=Path, default=RESULTS / "compare_ablations_mixed.json")
    arguments.add_argument("--out", type=Path, default=RESULTS / "ablations.json")
    options = arguments.parse_args()
    paths = {"controls": options.controls, "settings": options.settings}
    made = {"controls": controls, "settings": settings}
    present = {name: path for name, path in paths.items() if path.exists()}
    if not present:
        raise SystemExit(f"neither {options.controls} nor {options.settings} exists; run compare_arms.py first")
    inputs = [read_json(path) for path in present.values()]
    record = {
        "command": shlex.join(["python", *sys.argv]),
        **{name: inputs[0][name] for name in ("commit", "machine")},
        "dirty": any(one["dirty"] for one in inputs),
        "seconds": sum(one["seconds"] for one in inputs),
        "made_from": [path.name for path in present.values()],
        **{name: made[name](read_results(path)) if (path := present.get(name)) else None for name in paths},
    }
    write_json(options.out, record)
    print(section(record))


if __name__ == "__main__":
    main()
