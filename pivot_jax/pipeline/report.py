"""The report of a run: every evaluated arm with intervals, what it cost, and how the pivots were chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pivot_jax.pipeline.artifacts import write_json, write_text
from pivot_jax.pipeline.report_episodes import episode_findings
from pivot_jax.pipeline.report_inputs import read_inputs
from pivot_jax.pipeline.report_next_action import next_action_findings
from pivot_jax.pipeline.report_page import render_page
from pivot_jax.pipeline.report_table import print_summary

__all__ = ["build_report", "print_summary"]


PIVOT_COUNTS = {"candidates", "kept", "by_reason", "mixed_fraction", "uninformative_fraction"}


def build_report(run_dir: Path) -> dict[str, Any]:
    """Write `report/report.json` and `report/index.html` of a run, and return what the former holds.

    Reads `config.json`, `manifest.json`, `ledger.json`, `evaluation/ARM.json` and, where stages have profiled and
    trained, `pivots.json` and `metrics.jsonl`. The same inputs give the same bytes. Arms that are not evaluated yet are
    left out, and `differences` to the base appear once the base is evaluated.

    Raises:
        FileNotFoundError: a required file is absent; the message names it and the stage that makes it.
        ValueError: a file that does not hold what it should, or arms that were evaluated on different suites.
    """
    inputs = read_inputs(run_dir)
    recorded = inputs.next_actions
    found = next_action_findings(recorded) if recorded else episode_findings(inputs.evaluations)
    costs = inputs.ledger.to_json()
    report = {
        "headline": found.headline,
        "arms": {arm: {**numbers, "ledger": costs.get(arm, {})} for arm, numbers in found.arms.items()},
        "differences": dict(found.differences),
        "pivots": inputs.pivots.model_dump(include=PIVOT_COUNTS) if inputs.pivots else None,
        "command": inputs.manifest.command,
        "config": inputs.config,
    }
    write_json(run_dir / "report" / "report.json", report)
    write_text(run_dir / "report" / "index.html", render_page(inputs, found))
    return report
