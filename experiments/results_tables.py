"""The tables of docs/results.md, from the JSON that the experiments wrote.

    python experiments/results_tables.py             # say whether the page is up to date
    python experiments/results_tables.py --write     # refresh it

Seconds on one CPU core. The page has blocks `<!-- table: NAME -->` ... `<!-- end -->`; what stands between is made from
experiments/results/NAME.json: heading, command, basis of the intervals, tables. A block without results stays empty.
Expected: the second command leaves the page as it is, which a test checks too.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ablations
import compare_arms
import compare_recorded
import cost_to_match
import horizon_tables
import tool_errors

from pivot_jax.pipeline.artifacts import read_json, write_text
from pivot_jax.pipeline.intervals import Estimate
from pivot_jax.pipeline.report_text import duration
from pivot_jax.pipeline.seed_tables import markdown, rate_cell

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "results.md"
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

SHOWN = (
    "fixed 8", "fixed 16", "adaptive, doubt 0.02", "adaptive, doubt 0.04",
    *(f"{way}, screened at {level}" for way in ("fixed 32", "adaptive, doubt 0.04") for level in (0.8, 0.9, 0.95)),
)  # fmt: skip
"""Ways of profiling that the page shows; the others are in the JSON."""


def adaptive_profiling(record: Mapping[str, Any]) -> str:
    """Samples and agreement with K = 32, each way of profiling in each population."""
    rows = []
    for population, study in record["results"].items():
        for name in (name for name in SHOWN if name in study["arms"]):
            row = study["arms"][name]
            samples, jaccard, missed = (Estimate.from_json(row[key]) for key in ("samples", "jaccard_k32", "missed"))
            low, high = samples.ci95
            rows.append([
                population, name, f"{samples.mean:.1f} [{low:.1f}, {high:.1f}]", rate_cell(jaccard), rate_cell(missed),
            ])  # fmt: skip
    return markdown(["population", "profiling", "samples", "Jaccard with K = 32, %", "pivots missed, %"], rows)


SECTIONS: Mapping[str, Callable[[Any], str]] = {
    "adaptive_profiling": adaptive_profiling,
    "compare": compare_arms.section,
    "recorded": compare_recorded.section,
    "ablations": ablations.section,
    "cost_to_match": cost_to_match.section,
    "horizon": horizon_tables.section,
    "tool_errors": tool_errors.section,
}
"""Beginning of a results file's name → what makes its tables."""


def section(name: str) -> str:
    """What stands in the block `NAME`: nothing if there are no results.

    Raises:
        ValueError: no experiment writes results of that name.
    """
    makers = [maker for start, maker in SECTIONS.items() if name == start or name.startswith(f"{start}_")]
    if len(makers) != 1:
        raise ValueError(f"table {name}: no experiment writes {name}.json; names begin with {', '.join(SECTIONS)}")
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return ""
    record = read_json(path)
    return f"\n{source(record, path)}\n\n{makers[0](record)}\n\n"


def source(record: Mapping[str, Any], path: Path) -> str:
    """Command, commit, machine and time of a results file, and of those that were joined with it before."""
    told = [_made_from(part) for part in (*record.get("joined", []), record)]
    return f"{'; then '.join(told)}; [{path.name}](../experiments/results/{path.name})."


def _made_from(record: Mapping[str, Any]) -> str:
    commit = record["commit"][:7] + (" with changes" if record["dirty"] else "")
    machine = record["machine"]
    if isinstance(machine, dict):
        machine = f"{machine['platform']}, {machine['cpus']} CPUs, {machine['devices']}, jax {machine['jax']}"
    return f"`{record['command']}`, commit {commit}; {machine}; {duration(record['seconds'])}"


def refreshed(page: str) -> str:
    """The page with every block made anew."""
    return BLOCK.sub(lambda block: block[1] + section(block[2]) + block[4], page)


def main() -> None:
    """Refresh the page, or exit 1 if it is not what the results say."""
    arguments = argparse.ArgumentParser(description="Tables of docs/results.md from experiments/results.")
    arguments.add_argument("--write", action="store_true", help="refresh the page")
    old = PAGE.read_text(encoding="utf-8")
    new = refreshed(old)
    if arguments.parse_args().write:
        write_text(PAGE, new)
    elif new != old:
        sys.exit(f"{PAGE.name} differs from the results; refresh it with --write")


if __name__ == "__main__":
    main()
