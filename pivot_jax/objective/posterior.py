"""What k passes in n judged samples say of a candidate's pass rate p, and of the groups that training would draw there.

p has a Beta(a, b) prior that all candidates share, so that after k of n it is Beta(a + k, b + n - k), and the passes in
G further samples are beta-binomial. Every expectation here is a finite sum or a special function, in float64 on the
host: the counts are small integers, and the tails matter (most candidates pass always or never).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from scipy.special import betainc, betaln, digamma, gammaln


class Beta(NamedTuple):
    """A Beta(a, b) distribution of pass rates; both parameters are positive."""

    a: float
    b: float


JEFFREYS = Beta(0.5, 0.5)
"""The prior that assumes least about a rate."""


def fit_beta(successes: Int[np.ndarray, " C"], judged: Int[np.ndarray, " C"]) -> Beta:
    """The Beta prior that makes the counts of C candidates most likely (empirical Bayes).

    Maximises `Σ_c log B(a + k_c, b + n_c - k_c) - log B(a, b)` less `(log 2a)²/2 + (log 2b)²/2`, which weighs about as
    much as one candidate: no counts give Jeffreys' prior, and a few uniform ones do not give point masses. The
    likelihood does not ask why sampling stopped, so that n may depend on what was seen.

    Args:
        successes: k, judged samples that passed.
        judged: n, judged samples; candidates with none have no say.
    """
    pairs, weight = np.unique(np.stack([successes, judged]), axis=1, return_counts=True)
    passed, failed = pairs[0], pairs[1] - pairs[0]

    def loss(logs: Float[np.ndarray, "2"]) -> tuple[float, Float[np.ndarray, "2"]]:
        a, b = np.exp(logs)
        likelihood = np.sum(weight * (betaln(a + passed, b + failed) - betaln(a, b)))
        total = digamma(a + b + passed + failed) - digamma(a + b)
        slope = np.stack([
            a * np.sum(weight * (digamma(a + passed) - digamma(a) - total)),
            b * np.sum(weight * (digamma(b + failed) - digamma(b) - total)),
        ])  # fmt: skip
        away = logs - np.log(JEFFREYS)
        return float(np.sum(np.square(away)) / 2 - likelihood), away - slope

    # Beyond these bounds the prior is two point masses, or one, to every digit that matters.
    found = minimize(loss, np.log(JEFFREYS), jac=True, method="L-BFGS-B", bounds=[(-7.0, 7.0)] * 2)
    a, b = np.exp(found.x)
    return Beta(float(a), float(b))


def more_passes(
    successes: Int[np.ndarray, "*batch"], judged: Int[np.ndarray, "*batch"], prior: Beta, draws: int
) -> Float[np.ndarray, "*batch N"]:
    """Probability of j = 0..G passes in G further samples (N = G + 1): beta-binomial.

    `P(j) = C(G, j) B(a + k + j, b + n - k + G - j) / B(a + k, b + n - k)`.

    Args:
        successes: k, judged samples that passed.
        judged: n, judged samples.
        prior: of the pass rate, before any sample.
        draws: G, further samples; 0 gives the certain j = 0.
    """
    a = (prior.a + successes)[..., None]
    b = (prior.b + judged - successes)[..., None]
    j = np.arange(draws + 1)
    choose = gammaln(draws + 1) - gammaln(j + 1) - gammaln(draws - j + 1)
    return np.exp(choose + betaln(a + j, b + draws - j) - betaln(a, b))


def expected_signal(
    successes: Int[np.ndarray, "*batch"], judged: Int[np.ndarray, "*batch"], prior: Beta, group_size: int
) -> Float[np.ndarray, "*batch"]:
    """Expected standard deviation of the rewards of a group of G samples.

    `E[std] = Σ_j P(j) sqrt(j/G (1 - j/G))`, j ~ `more_passes`. The standard deviation is the size of the natural
    gradient at the state up to 1/β² (Theorem 3.2), and 0 where the group agrees (Proposition 3.1).

    Returns:
        In [0, 1/2]. Positive for uniform counts too: few samples leave room for doubt.
    """
    rate = np.arange(group_size + 1) / group_size
    return np.asarray(more_passes(successes, judged, prior, group_size) @ np.sqrt(rate * (1 - rate)))


def expected_mixed(
    successes: Int[np.ndarray, "*batch"], judged: Int[np.ndarray, "*batch"], prior: Beta, group_size: int
) -> Float[np.ndarray, "*batch"]:
    """Probability that a group of G samples is mixed: `E[1 - p^G - (1 - p)^G]` over the posterior of p."""
    return np.asarray(np.sum(more_passes(successes, judged, prior, group_size)[..., 1:-1], axis=-1))


def below_probability(
    successes: Int[np.ndarray, "*batch"], judged: Int[np.ndarray, "*batch"], prior: Beta, threshold: float
) -> Float[np.ndarray, "*batch"]:
    """Posterior probability that p < λ: the regularised incomplete beta function `I_λ(a + k, b + n - k)`."""
    return np.asarray(betainc(prior.a + successes, prior.b + judged - successes, threshold))


def top_share(scores: Float[np.ndarray, " C"], share: float) -> Bool[np.ndarray, " C"]:
    """True at the `floor(share · C)` highest scores; of equal ones the earlier candidate goes first."""
    kept = np.zeros(len(scores), bool)
    kept[np.argsort(-scores, kind="stable")[: int(share * len(scores) + 1e-9)]] = True
    return kept
