"""Adaptive profiling: stop sampling a candidate once more samples would hardly change whether it is a pivot.

The decision to match is the one that the pivot rule (Eq. 5) takes on `most` samples. After k passes in n judged samples
the passes still to come are beta-binomial (`more_passes`), so that the probability that the final decision differs from
the rule on the counts so far is a finite sum. A candidate stays open while that doubt exceeds `Schedule.doubt`. The
rule itself is not changed: selection applies it to the samples that were drawn, however many they are.

All open candidates have drawn equally often, and each round decides from the draws before it alone. So the whole
schedule is a function of what is stored: a resumed run repeats it, and a stored profile replays it. A fixed K is one
round of K draws at every candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from pivot_jax.config import Config, ProfileSection, SelectSection
from pivot_jax.objective.posterior import JEFFREYS, Beta, fit_beta, more_passes
from pivot_jax.objective.signal import is_pivot
from pivot_jax.pipeline.profile_store import JUDGED, ProfileStore
from pivot_jax.pipeline.screening import screened

KEEP, DROP, OPEN = "keep", "drop", "open"
"""Decisions on a candidate."""


@dataclass(frozen=True)
class Schedule:
    """How many samples a candidate gets.

    Raises:
        ValueError: unless 1 <= least <= most, round_size >= 1 and 0 <= doubt < 1.
    """

    least: int = 4
    """Samples that every candidate gets."""
    round_size: int = 4
    """Samples that an open candidate gets before the next decision; each round prefills its trunk again."""
    most: int = 32
    """K, samples after which every candidate is decided."""
    doubt: float = 0.04
    """Stop once the final decision differs with at most this probability; 0 stops only where it cannot differ."""

    def __post_init__(self) -> None:
        if not (1 <= self.least <= self.most and self.round_size >= 1 and 0 <= self.doubt < 1):
            raise ValueError(f"{self}: needs 1 <= least <= most, round_size >= 1 and 0 <= doubt < 1")


@dataclass(frozen=True, eq=False)
class Plan:
    """Where C candidates stand."""

    decision: NDArray[np.str_]
    """`[C]`: "keep", "drop" or "open"."""
    drawn: NDArray[np.int64]
    """`[C]`: samples the decision rests on, judged or not; a store may hold more."""
    draws: NDArray[np.int64]
    """`[C]`: samples to draw next; 0 where decided."""
    prior: Beta
    """Of the pass rate, as last fitted."""


def rounds(section: ProfileSection) -> list[tuple[int, int]]:
    """First draw and end of each round that the section may ask for."""
    if not section.adaptive:
        return [(0, section.samples)]
    ends = [*range(section.least, section.samples, section.round_size), section.samples]
    return list(zip([0, *ends], ends, strict=False))


def draws_asked(store: ProfileStore, rows: Sequence[int], config: Config) -> NDArray[np.int64]:
    """`[C]`: how many draws a config asks for at the candidates stored at `rows`, as far as the stored ones tell; none
    where its screening leaves the candidate out, or its rule looks at none.

    Once that many are stored, it either asks for more or is done.
    """
    if config.select.rule == "unlikely":
        return np.zeros(len(rows), np.int64)
    likely = screened(store.path, rows, config.profile)
    asked = np.where(likely, 0, config.profile.samples)
    if config.profile.adaptive:
        found = stored_plan(store, np.asarray(rows)[~likely].tolist(), config)
        asked[~likely] = found.drawn + found.draws
    return asked


def stored_plan(store: ProfileStore, rows: Sequence[int], config: Config) -> Plan:
    """`plan` of the candidates stored at `rows`, none of them screened out, by the adaptive profile and the pivot rule
    of a config."""
    profile, reward = config.profile, config.select.reward
    stored = store.stored()[rows, : profile.samples]
    rewards, judged = np.zeros(stored.shape, np.float32), np.zeros(stored.shape, np.bool_)
    if stored.any():  # before the first draw there is no array of rewards
        rewards = store.read(f"rewards/{reward}")[rows, : profile.samples]
        judged = stored & (store.read(f"status/{reward}")[rows, : profile.samples] == JUDGED)
    schedule = Schedule(profile.least, profile.round_size, profile.samples, profile.doubt)
    return plan(rewards, judged, stored, schedule, config.select)


def plan(
    rewards: NDArray[np.float32],
    valid: NDArray[np.bool_],
    stored: NDArray[np.bool_],
    schedule: Schedule,
    rule: SelectSection,
    prior: Beta | None = None,
) -> Plan:
    """Follow the schedule through the stored draws, in their order, as far as they reach.

    Call it after each round until no candidate is open. Draws that the schedule would not have made are ignored.

    Args:
        rewards: `[C, K]`, 0 or 1 where valid; K >= `schedule.most`.
        valid: `[C, K]`, False where an action could not be judged, or is not stored.
        stored: `[C, K]`, whether the draw is stored.
        schedule: how many samples a candidate gets.
        rule: the pivot rule to be matched.
        prior: of the pass rate; fitted to the counts so far before each decision if None.

    Raises:
        ValueError: fewer than `most` columns, a valid reward other than 0 and 1, or a rule that looks at no reward.
    """
    if rewards.shape[1] < schedule.most:
        raise ValueError(f"{rewards.shape[1]} draws a candidate are fewer than schedule.most={schedule.most}")
    if not np.isin(rewards[valid], (0, 1)).all():
        raise ValueError("adaptive profiling counts passes: rewards must be 0 or 1")
    passed, judged = _totals(valid & (rewards == 1)), _totals(valid)
    rows = np.arange(len(rewards))
    at, open_ = np.zeros(len(rewards), np.int64), np.ones(len(rewards), bool)
    fitted = prior or JEFFREYS
    begin, goal = 0, schedule.least
    while open_.any() and stored[open_, begin:goal].all():
        at[open_] = goal
        k, n = passed[rows, at], judged[rows, at]
        fitted = prior or fit_beta(k, n)
        open_ &= (doubts(schedule.most, rule, fitted)[k, n] > schedule.doubt) & (at < schedule.most)
        begin, goal = goal, min(goal + schedule.round_size, schedule.most)
    kept = rule_on_counts(schedule.most, rule)[passed[rows, at], judged[rows, at]]
    decision = np.where(open_, OPEN, np.where(kept, KEEP, DROP))
    return Plan(decision, at, np.where(open_, goal - begin, 0), fitted)


def doubts(most: int, rule: SelectSection, prior: Beta) -> NDArray[np.float64]:
    """Probability that the rule on `most` judged samples decides otherwise than on the first n, of which k passed.

    Returns:
        `[most + 1, most + 1]` by (k, n); NaN where k > n.
    """
    kept = rule_on_counts(most, rule)
    table = np.full(kept.shape, np.nan)
    for n in range(most + 1):
        k, more = np.arange(n + 1), np.arange(most - n + 1)
        differs = kept[k[:, None] + more, most] != kept[k, n][:, None]
        table[k, n] = np.sum(more_passes(k, np.full_like(k, n), prior, most - n), axis=-1, where=differs)
    return table


def rule_on_counts(most: int, rule: SelectSection) -> NDArray[np.bool_]:
    """`is_pivot` by counts: `[most + 1, most + 1]` by (k passes, n judged samples); entries with k > n mean nothing.

    Raises:
        ValueError: the rule is "random" or "unlikely", which look at no reward.
    """
    if rule.rule in ("random", "unlikely"):
        raise ValueError(f"select.rule = {rule.rule} keeps every candidate: there is nothing to sample for")
    samples, counts = np.arange(most), np.arange(most + 1)
    passes, judged = samples < counts[:, None, None], samples < counts[:, None]
    rewards, valid = np.broadcast_arrays(passes.astype(np.float32), judged)
    return np.asarray(
        is_pivot(
            jnp.asarray(rewards), jnp.asarray(valid), rule.threshold,
            inclusive=rule.inclusive, keep_all_zero=rule.keep_all_zero,
        )
    )  # fmt: skip


def _totals(hits: NDArray[np.bool_]) -> NDArray[Any]:
    """Number of hits in the first n draws, `[C, K + 1]` for n = 0..K."""
    return np.concatenate([np.zeros((len(hits), 1), np.int64), np.cumsum(hits, axis=1, dtype=np.int64)], axis=1)
