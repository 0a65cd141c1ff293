"""The report in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from pivot_jax.pipeline.intervals import Estimate
from pivot_jax.pipeline.ledger import Cost, Ledger
from pivot_jax.pipeline.report_next_action import REFERENCES, REWARDS
from pivot_jax.pipeline.report_text import (
    LEDGER_COLUMNS,
    arm_label,
    cost_cells,
    percent,
    percent_interval,
    points,
    points_interval,
)
from pivot_jax.pipeline.screening import LIKELY

MEANS = ("in_domain_mean", "ood_mean")


def print_summary(report: dict[str, Any], console: Console) -> None:
    """Print a report as `build_report` returns it: every arm, the uninformative share, and the ledger."""
    recorded = any("next_action" in arm for arm in report["arms"].values())
    console.print(_next_actions(report) if recorded else _results(report))
    if pivots := report["pivots"]:
        console.print(_selection(pivots))
    console.print(_ledger(report))
    console.print(report["headline"])


def _selection(pivots: dict[str, Any]) -> str:
    """What profiling found, in a sentence or two."""
    candidates, kept = pivots["candidates"], pivots["kept"]
    likely = pivots["by_reason"].get(LIKELY, 0)
    left_out = f" {likely} were not sampled: the demonstrated action is likely." if likely else ""
    if pivots["uninformative_fraction"] is None:
        return f"No action was sampled at the {candidates} candidate turns.{left_out} {kept} are kept."
    same = "all sampled actions get the same reward" + (", or none was sampled" if likely else "")
    share = percent(pivots["uninformative_fraction"])
    return f"{share} of {candidates} candidate turns are uninformative: {same}.{left_out} {kept} are kept as pivots."


def _results(report: dict[str, Any]) -> Table:
    """One row an arm: the two means with their changes from the base, and every domain; skills are on the page."""
    arms, differences = report["arms"], report["differences"]
    domains = list(dict.fromkeys(name for arm in arms.values() for name in arm["in_domain"]))
    table = Table(title="Success rates, 95% intervals", title_justify="left", show_lines=True)
    table.add_column("arm")
    for heading in ("in-domain mean", "vs base (points)", "out-of-domain mean", "vs base (points)", *domains):
        table.add_column(heading, justify="right")
    for arm, rates in arms.items():
        changes = [_change(differences[arm][mean]) if arm in differences else "" for mean in MEANS]
        table.add_row(
            arm_label(arm),
            _rate(rates["in_domain_mean"]), changes[0], _rate(rates["ood_mean"]), changes[1],
            *(_rate(rates["in_domain"].get(domain)) for domain in domains),
        )  # fmt: skip
    return table


def _next_actions(report: dict[str, Any]) -> Table:
    """One row an arm: accuracy under each verifier, and the functional one's changes from the base and from SFT."""
    table = Table(title="Next-action accuracy at held-out turns, 95% intervals", title_justify="left", show_lines=True)
    table.add_column("arm")
    for heading in (*REWARDS, *(f"functional vs {name} (points)" for name in REFERENCES), "turns", "tasks"):
        table.add_column(heading, justify="right")
    for arm, found in report["arms"].items():
        changes = report["differences"].get(arm, {})
        functional = [changes.get(name, {}).get("functional") for name in REFERENCES]
        table.add_row(
            arm_label(arm),
            *(_rate(found["next_action"].get(name)) for name in REWARDS),
            *(_change(change) if change else "" for change in functional),
            str(found["turns"]), str(found["tasks"]),
        )  # fmt: skip
    return table


def _ledger(report: dict[str, Any]) -> Table:
    """One row an arm, one column a kind of work; kinds that no arm spent anything on are left out."""
    ledger = Ledger.from_json({arm: entry["ledger"] for arm, entry in report["arms"].items()})
    rows = {arm: cost_cells(ledger.total(arm)) for arm in report["arms"]}
    unspent = cost_cells(Cost.zero())
    spent = [i for i in range(len(unspent)) if any(cells[i] != unspent[i] for cells in rows.values())]
    table = Table(title="Ledger, all phases (profiling is charged to each arm that uses it)", title_justify="left")
    table.add_column("arm")
    for index in spent:
        table.add_column(list(LEDGER_COLUMNS.values())[index], justify="right")
    for arm, cells in rows.items():
        table.add_row(arm_label(arm), *(cells[index] for index in spent))
    return table


def _rate(value: dict[str, Any] | None) -> str:
    if value is None:
        return "\N{EN DASH}"
    return f"{percent(value['mean'])}\n{percent_interval(Estimate.from_json(value))}"


def _change(value: dict[str, Any]) -> str:
    return f"{points(value['mean'])}\n{points_interval(Estimate.from_json(value))}"
