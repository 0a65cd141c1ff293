"""The sentence a report opens with, and the orderings the method promises, judged by the numbers of this run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pivot_jax.pipeline.intervals import Estimate
from pivot_jax.pipeline.report_estimates import compare, success_rates
from pivot_jax.pipeline.report_inputs import ARM_ORDER, Evaluation
from pivot_jax.pipeline.report_text import arm_label, percent, points, points_interval


@dataclass(frozen=True)
class Ordering:
    """One promise of the method, `claim`, and the difference that has to be positive for it to hold."""

    claim: str
    difference: Estimate

    @property
    def verdict(self) -> str:
        """One of "holds" (the whole interval is above zero), "not resolved" and "does not hold"."""
        if self.difference.ci95[0] > 0:
            return "holds"
        return "not resolved" if self.difference.mean > 0 else "does not hold"

    @property
    def sentence(self) -> str:
        """The verdict in words, with the difference behind it."""
        numbers = f"{points(self.difference.mean)} points, 95% interval {points_interval(self.difference)}"
        ending = {
            "holds": "holds",
            "not resolved": "holds in the mean only, as the interval includes zero",
            "does not hold": "does not hold",
        }[self.verdict]
        return f"{self.claim}: {ending} ({numbers})."


def orderings(evaluations: Mapping[str, Evaluation]) -> tuple[Ordering, ...]:
    """The promises that the evaluated arms allow to judge; none before PivotRL is evaluated."""
    if "pivotrl" not in evaluations:
        return ()
    judged = []
    if "base" in evaluations:
        gain = compare(evaluations["pivotrl"], evaluations["base"]).estimates
        judged.append(Ordering("PivotRL is better in domain than the base", gain.in_domain_mean))
    if "sft" in evaluations:
        lead = compare(evaluations["pivotrl"], evaluations["sft"]).estimates
        judged.append(Ordering("PivotRL is better in domain than SFT", lead.in_domain_mean))
        judged.append(Ordering("PivotRL keeps more out of domain than SFT", lead.ood_mean))
    return tuple(judged)


def headline(evaluations: Mapping[str, Evaluation]) -> str:
    """What this run found on the base, SFT and PivotRL, in a few sentences. An ordering that does not hold is named."""
    told = [arm for arm in ARM_ORDER if arm in evaluations]
    return " ".join([*(_arm_sentence(arm, evaluations) for arm in told), _verdict(evaluations)])


def _arm_sentence(arm: str, evaluations: Mapping[str, Evaluation]) -> str:
    rates = success_rates(evaluations[arm])
    in_domain, ood = percent(rates.in_domain_mean.mean), percent(rates.ood_mean.mean)
    if arm == "base" or "base" not in evaluations:
        return f"{arm_label(arm)} succeeds on {in_domain} in domain and {ood} out of domain."
    change = compare(evaluations[arm], evaluations["base"]).estimates
    return (
        f"{arm_label(arm)} reaches {in_domain} in domain ({points(change.in_domain_mean.mean)} points) "
        f"and {ood} out of domain ({points(change.ood_mean.mean)})."
    )


def _verdict(evaluations: Mapping[str, Evaluation]) -> str:
    if "pivotrl" not in evaluations:
        return "PivotRL has not been evaluated yet."
    judged = orderings(evaluations)
    if not judged:
        return "There is no arm to compare PivotRL with yet."
    open_ones = [f"{ordering.claim} ({ordering.verdict})" for ordering in judged if ordering.verdict != "holds"]
    if not open_ones:
        return "Every ordering that the method promises holds, with its 95% interval."
    shown = len(judged) - len(open_ones)
    return (
        f"Of {len(judged)} promised orderings {shown} hold with their 95% interval; not these: {'; '.join(open_ones)}."
    )
