"""Markdown tables of a comparison over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pivot_jax.pipeline.intervals import Estimate
from pivot_jax.pipeline.report_text import count, duration, flops, points, points_interval
from pivot_jax.pipeline.seed_estimates import Kind, change, rate, runs_by_seed
from pivot_jax.pipeline.seed_results import Results

KINDS: tuple[tuple[Kind, str], ...] = (("in_domain", "in domain"), ("ood", "out of domain"))
OTHERS: tuple[Kind, str] = ("other_domains", "other domains")


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, its first column to the left and the others to the right."""
    lines = [headings, ["---", *("---:" for _ in headings[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rate_cell(estimate: Estimate) -> str:
    """`28.2 [25.0, 31.6]`, percent."""
    low, high = (f"{100 * bound:z.1f}" for bound in estimate.ci95)
    return f"{100 * estimate.mean:z.1f} [{low}, {high}]"


def change_cell(estimate: Estimate) -> str:
    """`+2.2 [-1.0 to +5.1]`, points."""
    return f"{points(estimate.mean)} [{points_interval(estimate)}]"


def scores_table(results: Results, references: Sequence[str] = ("base", "sft", "pivotrl")) -> str:
    """Success of every arm in domain, out of domain, and in other domains where it played them, and its differences
    from each reference that was trained."""
    known = [name for name in references if name in results.arms]
    played = all(run.arms["base"].other_domains for run in results.runs)
    kinds = (KINDS[0], OTHERS, *KINDS[1:]) if played else KINDS
    headings = ["arm", *(f"{words}, %" for _, words in kinds)]
    headings += [f"{words} vs {reference}" for reference in known for _, words in kinds]
    rows = []
    for arm in results.arms:
        cells = [rate_cell(rate(results, arm, kind)) for kind, _ in kinds]
        for reference in known:
            same = arm == reference
            cells += ["" if same else change_cell(change(results, arm, reference, kind)) for kind, _ in kinds]
        rows.append([arm, *cells])
    return markdown(headings, rows)


def domains_table(results: Results) -> str:
    """Success of every arm in each domain, and the share of its candidate turns that carry no signal."""
    names = list(dict.fromkeys(name for run in results.runs for name in run.domains))
    rows = [
        [arm, *(rate_cell(rate(results, arm, "in_domain", name)) for name in names)]
        for arm in results.arms
    ]  # fmt: skip
    runs = [run for group in runs_by_seed(results).values() for run in group]
    shares = [[run.uninformative[name] for run in runs if name in run.uninformative] for name in names]
    rows.append(["*uninformative turns*", *map(_spread_of_shares, shares)])
    pivots = [[run.pivots[name] / run.candidates[name] for run in runs if name in run.pivots] for name in names]
    rows.append(["*kept as pivots*", *map(_spread_of_shares, pivots)])
    return markdown(["arm", *names], rows)


def other_domains_table(results: Results) -> str:
    """Changes from the base in every domain, by the domain trained on; empty if no domain was left out of training."""
    trained = list(dict.fromkeys(run.domains for run in results.runs))
    played = list(dict.fromkeys(name for run in results.runs for name in run.arms["base"].other_domains))
    if not played:
        return ""
    names = list(dict.fromkeys([*(name for domains in trained for name in domains), *played]))
    arms, rows = [arm for arm in results.arms if arm != "base"], []
    for arm in arms:
        for domains in trained:
            runs, cells = results.trained_on(domains), []
            for name in names:
                kind = "in_domain" if name in domains else "other_domains"
                cell = change_cell(change(runs, arm, "base", kind, name))
                cells.append(f"**{cell}**" if name in domains else cell)
            rows.append([arm, ", ".join(domains), *cells, change_cell(change(runs, arm, "base", "other_domains"))])
        if len(trained) > 1:
            means = [change_cell(change(results, arm, "base", "other_domains", name)) for name in names]
            rows.append([arm, "*others, mean*", *means, change_cell(change(results, arm, "base", "other_domains"))])
    headings = ["arm", "trained on", *names, "other domains, mean"]
    return f"Changes from the base, in points; in bold the domain trained on:\n\n{markdown(headings, rows)}"


def skills_table(results: Results) -> str:
    """Success of every arm on each skill."""
    names = list(next(iter(results.runs[0].arms.values())).ood)
    rows = [[name, *(rate_cell(rate(results, arm, "ood", name)) for arm in results.arms)] for name in names]
    return markdown(["skill", *results.arms], rows)


def costs_table(results: Results) -> str:
    """What every arm cost to train, means over seeds (summed over the runs of a seed), evaluation left out."""
    seeds = list(runs_by_seed(results).values())
    headings = ["arm", "rollout turns", "without profiling", "sampled tokens", "trained tokens", "compute", "time"]
    headings += ["mixed groups, first quarter", "last quarter"]
    rows = []
    for arm in results.arms:
        if arm == "base":
            continue
        every = [run.arms[arm] for runs in seeds for run in runs]
        costs = [result.cost() for result in every]
        bare = [result.cost(profile=False).rollout_turns for result in every]
        mean = len(seeds)
        mixed = [result.mixed_fraction for result in every if result.mixed_fraction]
        quarters = [f"{sum(m[q] for m in mixed) / len(mixed):.0%}" if mixed else "" for q in (0, 1)]
        rows.append([
            arm,
            count(round(sum(cost.rollout_turns for cost in costs) / mean)),
            count(round(sum(bare) / mean)),
            count(round(sum(cost.sampled_tokens for cost in costs) / mean)),
            count(round(sum(cost.trained_tokens for cost in costs) / mean)),
            flops(round(sum(cost.flops for cost in costs) / mean)),
            duration(sum(cost.seconds for cost in costs) / mean),
            *quarters,
        ])  # fmt: skip
    return markdown(headings, rows)


def basis(results: Results) -> str:
    """The sentence that says what the intervals of these tables are over."""
    seeds = list(runs_by_seed(results))
    if len(seeds) == 1:
        return f"One seed ({seeds[0]}): 95 % intervals over episodes alone; differences as of independent rates."
    shown = ", ".join(map(str, seeds))
    return f"{len(seeds)} seeds ({shown}): 95 % Student intervals over seeds; differences are paired by seed."


def _spread_of_shares(shares: Sequence[float]) -> str:
    """Mean, and least to most over seeds, in percent."""
    if not shares:
        return ""
    mean = sum(shares) / len(shares)
    return f"{100 * mean:.0f} ({100 * min(shares):.0f} to {100 * max(shares):.0f})"
