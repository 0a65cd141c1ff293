"""Audit of verifiers: on the same stored actions, how often they agree, where they do not, and which pivots each makes.

An action counts as accepted by a verifier if its reward is above 0. Pairs are compared on the actions that both judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pivot_jax.config import SelectSection
from pivot_jax.pipeline.profile_store import ERROR, ProfileStore
from pivot_jax.pipeline.profiling import ProfiledPoint
from pivot_jax.pipeline.rescoring import stored_arrays
from pivot_jax.pipeline.run import Run
from pivot_jax.pipeline.scoring import Scores
from pivot_jax.pipeline.selection import PIVOT, reasons
from pivot_jax.verify.judge_prompt import action_text


@dataclass(frozen=True)
class Judged:
    """What one verifier says of all stored actions; the mean is over those that it judged, None if there is none."""

    verifier: str
    judged: int
    errors: int
    mean_reward: float | None


@dataclass(frozen=True)
class Agreement:
    """Two verifiers on the actions that both judged: `equal` is the share with one reward, None if there is none."""

    first: str
    second: str
    judged: int
    equal: float | None
    both_accept: int
    only_first: int
    only_second: int
    neither: int


@dataclass(frozen=True)
class Disagreement:
    """A stored action that two verifiers reward differently."""

    first: str
    second: str
    candidate: str
    expert: str
    sampled: str
    rewards: tuple[float, float]


@dataclass(frozen=True)
class Switch:
    """The pivots under another reward, against those under the one that the run selects by.

    `jaccard` is the share of those in both sets among those in either, and 1 if there are none at all.
    """

    reward: str
    pivots: int
    kept: int
    lost: int
    gained: int
    jaccard: float


@dataclass(frozen=True)
class Audit:
    """All of it. `selected_by` is the run's own reward; pivots are those of Eq. 5 at the run's threshold."""

    candidates: int
    actions: int
    selected_by: str
    threshold: float
    verifiers: tuple[Judged, ...]
    agreements: tuple[Agreement, ...]
    disagreements: tuple[Disagreement, ...]
    switches: tuple[Switch, ...]


def audit(run: Run, points: Sequence[ProfiledPoint], store: ProfileStore, examples: int = 3) -> Audit:
    """The audit of every verifier whose verdicts are stored, with `examples` disagreements of each pair."""
    scores = {name: Scores(store.read(f"rewards/{name}"), store.read(f"status/{name}")) for name in _names(store)}
    select = run.config.select
    return Audit(
        candidates=len(points),
        actions=int(store.stored().sum()),
        selected_by=select.reward,
        threshold=select.threshold,
        verifiers=tuple(judged(name, one) for name, one in scores.items()),
        agreements=tuple(agreement(pair, scores) for pair in combinations(scores, 2)),
        disagreements=tuple(_disagreements(run, points, store, scores, examples)),
        switches=switches(scores, select),
    )


def judged(name: str, scores: Scores) -> Judged:
    """Counts of one verifier."""
    rewards = scores.rewards[scores.valid]
    mean = float(rewards.mean(dtype=np.float64)) if len(rewards) else None
    return Judged(name, len(rewards), int((scores.status == ERROR).sum()), mean)


def agreement(pair: tuple[str, str], scores: Mapping[str, Scores]) -> Agreement:
    """How far two verifiers agree."""
    first, second = (scores[name] for name in pair)
    both = first.valid & second.valid
    one, other = first.rewards[both], second.rewards[both]
    yes, too = one > 0, other > 0
    return Agreement(
        *pair,
        judged=len(one),
        equal=float(np.mean(one == other)) if len(one) else None,
        both_accept=int((yes & too).sum()),
        only_first=int((yes & ~too).sum()),
        only_second=int((~yes & too).sum()),
        neither=int((~yes & ~too).sum()),
    )


def switches(scores: Mapping[str, Scores], select: SelectSection) -> tuple[Switch, ...]:
    """What selecting by each of the other rewards would change; the rule is that of Eq. 5, whatever the run's own is,
    on all stored draws."""
    section = select.model_copy(update={"rule": "pivots"})
    sets = {name: _pivots(one, section) for name, one in scores.items()}
    now = sets[select.reward]
    return tuple(
        Switch(
            reward=name,
            pivots=len(then),
            kept=len(now & then),
            lost=len(now - then),
            gained=len(then - now),
            jaccard=len(now & then) / len(now | then) if now | then else 1.0,
        )
        for name, then in sets.items()
        if name != select.reward
    )


def _pivots(scores: Scores, section: SelectSection) -> set[int]:
    decided = reasons(scores.rewards, scores.valid, section)
    return {row for row, reason in enumerate(decided) if reason == PIVOT}


def _disagreements(
    run: Run, points: Sequence[ProfiledPoint], store: ProfileStore, scores: Mapping[str, Scores], examples: int
) -> list[Disagreement]:
    """For each pair a few actions, of candidates spread over the store."""
    arrays, found = stored_arrays(store), []
    for pair in combinations(scores, 2):
        first, second = (scores[name] for name in pair)
        differ = first.valid & second.valid & (first.rewards != second.rewards)
        for row in _spread(np.flatnonzero(differ.any(axis=1)), examples):
            draw = int(np.argmax(differ[row]))
            ids = arrays["tokens"][row, draw][: arrays["lengths"][row, draw]]
            found.append(
                Disagreement(
                    *pair,
                    candidate=points[row].candidate.id,
                    expert=action_text(points[row].candidate.expert),
                    sampled=str(run.tokenizer.decode(ids, skip_special_tokens=False)),
                    rewards=(float(first.rewards[row, draw]), float(second.rewards[row, draw])),
                )
            )
    return found


def _spread(rows: NDArray[np.int64], count: int) -> list[int]:
    """At most `count` of the rows, evenly."""
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return rows[places].tolist()


def _names(store: ProfileStore) -> list[str]:
    """Those of profiling first."""
    names = store.verdict_names()
    return sorted(names, key=lambda name: (store.settings_of(name) is not None, name))
