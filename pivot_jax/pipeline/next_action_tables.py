"""Markdown tables of next-action accuracy over seeds, with intervals over tasks."""

from __future__ import annotations

from pivot_jax.pipeline.intervals import Estimate
from pivot_jax.pipeline.next_action_estimates import Tally, accuracy, difference_of, pooled
from pivot_jax.pipeline.report_next_action import REFERENCES, REWARDS
from pivot_jax.pipeline.seed_results import Results
from pivot_jax.pipeline.seed_tables import change_cell, markdown, rate_cell


def tasks_of(results: Results, arm: str, reward: str, domain: str = "") -> dict[str, Tally]:
    """The tallies of an arm, all seeds of a task together; of one domain or of all."""
    parts = [run.arms[arm].next_action[reward] for run in results.runs]
    whole = pooled(parts)
    return {task: tally for task, tally in whole.items() if task.startswith(f"{domain}/" if domain else "")}


def accuracy_table(results: Results) -> str:
    """Every arm: accuracy under each verifier, differences of the functional and the exact one, and each seed."""
    known = [name for name in REFERENCES if name in results.arms]
    headings = ["arm", *(f"{name}, %" for name in REWARDS)]
    headings += [f"{reward} vs {name}" for name in known for reward in ("functional", "exact")]
    several = len(results.runs) > 1
    rows = []
    for arm in results.arms:
        cells = [_rate(results, arm, reward) for reward in REWARDS]
        for name in known:
            cells += ["" if arm == name else _change(results, arm, name, reward) for reward in ("functional", "exact")]
        rows.append([arm, *cells, *([_by_seed(results, arm)] if several else [])])
    return markdown([*headings, *(["functional, by seed"] if several else [])], rows)


def domains_table(results: Results) -> str:
    """Functional accuracy of every arm by domain, and how many held-out tasks; nothing where there is one domain."""
    names = sorted({name for run in results.runs for name in run.domains})
    if len(names) < 2:
        return ""
    rows = [[arm, *(_rate(results, arm, "functional", name) for name in names)] for arm in results.arms]
    tasks = [str(len(tasks_of(results, "base", "functional", name))) for name in names]
    rows.append(["*held-out tasks*", *tasks])
    return markdown(["arm", *names], rows)


def profile_table(results: Results) -> str:
    """What profiling found, seed by seed: candidates, those without signal or without any verdict, pivots."""
    rows = []
    for run in results.runs:
        candidates = sum(run.candidates.values())
        flat = sum(run.uninformative[name] * run.candidates[name] for name in run.candidates)
        base = run.arms["base"]
        judged = sum(tally.judged for tally in base.next_action["functional"].values())
        all_actions = base.turns * results.settings["evaluate"]["actions"]
        rows.append([
            str(run.seed),
            str(candidates),
            f"{flat / candidates:.0%}",
            str(sum(run.pivots.values())),
            f"{base.turns} of {len(base.next_action['tool_name'])} tasks",
            f"{1 - judged / all_actions:.0%}",
        ])  # fmt: skip
    return markdown(
        ["seed", "candidate turns", "uninformative", "pivots", "held-out turns", "not judged"], rows
    )  # fmt: skip


def basis(results: Results) -> str:
    """The sentence that says what the intervals of these tables are over."""
    seeds = ", ".join(str(run.seed) for run in results.runs)
    count = f"{len(results.runs)} seeds ({seeds})" if len(results.runs) > 1 else f"One seed ({seeds})"
    return (
        f"{count}: 95 % bootstrap intervals over held-out tasks, differences paired by task, all seeds of a task drawn "
        "together. They hold the choice of tasks; of the training nothing but what the seeds' own values show."
    )


def _rate(results: Results, arm: str, reward: str, domain: str = "") -> str:
    tasks = tasks_of(results, arm, reward, domain)
    return rate_cell(accuracy(tasks)) if tasks else ""


def _change(results: Results, arm: str, reference: str, reward: str) -> str:
    change: Estimate = difference_of(tasks_of(results, arm, reward), tasks_of(results, reference, reward))
    return change_cell(change)


def _by_seed(results: Results, arm: str) -> str:
    means = [accuracy(run.arms[arm].next_action["functional"]).mean for run in results.runs]
    return ", ".join(f"{100 * mean:.1f}" for mean in means)
