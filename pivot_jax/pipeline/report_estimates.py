"""Estimates of a report: each arm alone, and each arm against another on the same suites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pivot_jax.pipeline.intervals import Estimate, difference, mean_of_estimates, paired_difference, proportion
from pivot_jax.pipeline.report_inputs import Evaluation, Suite


@dataclass(frozen=True)
class SuiteEstimates:
    """One estimate for each in-domain domain, each other domain and each out-of-domain skill, and means over suites."""

    in_domain: Mapping[str, Estimate]
    other_domains: Mapping[str, Estimate]
    ood: Mapping[str, Estimate]

    @property
    def in_domain_mean(self) -> Estimate:
        return mean_of_estimates(list(self.in_domain.values()))

    @property
    def ood_mean(self) -> Estimate:
        return mean_of_estimates(list(self.ood.values()))

    def to_json(self) -> dict[str, Any]:
        """As `report.json` holds them."""
        return {
            "in_domain": {name: estimate.to_json() for name, estimate in self.in_domain.items()},
            "other_domains": {name: estimate.to_json() for name, estimate in self.other_domains.items()},
            "ood": {name: estimate.to_json() for name, estimate in self.ood.items()},
            "in_domain_mean": self.in_domain_mean.to_json(),
            "ood_mean": self.ood_mean.to_json(),
        }


@dataclass(frozen=True)
class Comparison:
    """Differences of success rates, arm minus reference. `paired`: both played the same seeds in every suite."""

    estimates: SuiteEstimates
    paired: bool

    def to_json(self) -> dict[str, Any]:
        """As `report.json` holds it."""
        return {**self.estimates.to_json(), "paired": self.paired}


def success_rates(evaluation: Evaluation) -> SuiteEstimates:
    """The success rate of one arm on every suite."""
    return SuiteEstimates(
        in_domain={name: _rate(suite) for name, suite in evaluation.in_domain.items()},
        other_domains={name: _rate(suite) for name, suite in evaluation.other_domains.items()},
        ood={name: _rate(suite) for name, suite in evaluation.ood.items()},
    )


def compare(arm: Evaluation, reference: Evaluation) -> Comparison:
    """Differences arm - reference: over pairs where both played the same seeds, of independent rates elsewhere.

    Raises:
        ValueError: the two were evaluated on different suites, whose means cannot be compared.
    """
    pairs: list[tuple[Suite, Suite]] = []
    parts: list[dict[str, Estimate]] = []
    for suites, others in (
        (arm.in_domain, reference.in_domain),
        (arm.other_domains, reference.other_domains),
        (arm.ood, reference.ood),
    ):
        if different := sorted(suites.keys() ^ others.keys()):
            raise ValueError(f"only one of {arm.arm} and {reference.arm} was evaluated on {', '.join(different)}")
        pairs += [(suite, others[name]) for name, suite in suites.items()]
        parts.append({name: _suite_difference(suite, others[name]) for name, suite in suites.items()})
    return Comparison(SuiteEstimates(*parts), paired=all(_same_seeds(*pair) for pair in pairs))


def _rate(suite: Suite) -> Estimate:
    return proportion(sum(suite.outcomes), len(suite.outcomes))


def _same_seeds(a: Suite, b: Suite) -> bool:
    return sorted(a.seeds) == sorted(b.seeds)


def _suite_difference(a: Suite, b: Suite) -> Estimate:
    return paired_difference(a.by_seed(), b.by_seed()) if _same_seeds(a, b) else difference(_rate(a), _rate(b))
