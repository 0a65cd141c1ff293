"""The report in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from pivot_jax.pipeline.intervals import Estimate
from pivot_jax.pipeline.ledger import Cost, Ledger
from pivot_jax.pipeline.report_text import (
    LEDGER_COLUMNS,
    arm_label,
    cost_cells,
    percent,
    percent_interval,
    points,
    points_interval,
)


def print_summary(report: dict[str, Any], console: Console) -> None:
    """Print a report as `build_report` returns it: arms side by side, the uninformative share, and the ledger."""
    console.print(_results(report))
    pivots = report["pivots"]
    console.print(
        f"{percent(pivots['uninformative_fraction'])} of {pivots['candidates']} candidate turns are uninformative: "
        f"all sampled actions get the same reward. {pivots['kept']} are kept as pivots."
    )
    console.print(_ledger(report))
    console.print(report["headline"])


def _results(report: dict[str, Any]) -> Table:
    """One row a suite, one column an arm, with the change from the base below the rate."""
    arms, differences = report["arms"], report["differences"]
    table = Table(title="Success rates, 95% intervals", title_justify="left")
    table.add_column("suite")
    for arm in arms:
        table.add_column(arm_label(arm), justify="right")
    for part, mean in (("in_domain", "in_domain_mean"), ("ood", "ood_mean")):
        for suite in dict.fromkeys(name for arm in arms.values() for name in arm[part]):
            table.add_row(suite, *(_rate(arms[arm][part].get(suite)) for arm in arms))
        changes = [_change(differences[arm][mean]) if arm in differences else "" for arm in arms]
        title = "in-domain mean" if part == "in_domain" else "out-of-domain mean"
        table.add_row(title, *(_rate(arms[arm][mean]) for arm in arms), style="bold")
        table.add_row("  vs base (points)", *changes, end_section=True)
    return table


def _ledger(report: dict[str, Any]) -> Table:
    """Cost by kind of work, one column an arm; kinds that no arm spent anything on are left out."""
    ledger = Ledger.from_json({arm: entry["ledger"] for arm, entry in report["arms"].items()})
    totals = {arm: ledger.total(arm) for arm in report["arms"]}
    table = Table(title="Ledger, all phases (profiling: PivotRL)", title_justify="left")
    table.add_column("cost")
    for arm in totals:
        table.add_column(arm_label(arm), justify="right")
    unspent = cost_cells(Cost.zero())
    for index, heading in enumerate(LEDGER_COLUMNS.values()):
        row = [cost_cells(cost)[index] for cost in totals.values()]
        if any(cell != unspent[index] for cell in row):
            table.add_row(heading, *row)
    return table


def _estimate(value: dict[str, Any]) -> Estimate:
    low, high = value["ci95"]
    return Estimate(value["mean"], (low, high), value["n"])


def _rate(value: dict[str, Any] | None) -> str:
    if value is None:
        return "\N{EN DASH}"
    return f"{percent(value['mean'])}  [{percent_interval(_estimate(value))}]"


def _change(value: dict[str, Any]) -> str:
    return f"{points(value['mean'])}  [{points_interval(_estimate(value))}]"
