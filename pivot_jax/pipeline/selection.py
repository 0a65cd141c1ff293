"""Stage `select`: which candidates are pivots (Eq. 5), with a count for every reason to drop one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pivot_jax.config import Config, ConfigError, SelectSection
from pivot_jax.objective.posterior import below_probability, expected_signal, fit_beta, top_share
from pivot_jax.objective.signal import is_mixed, is_pivot
from pivot_jax.pipeline.adaptive import OPEN, stored_plan
from pivot_jax.pipeline.arms import needs_profile
from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.candidates import load_prepared
from pivot_jax.pipeline.ledger import Ledger
from pivot_jax.pipeline.profile_store import ABSENT, ERROR, JUDGED, ProfileStore
from pivot_jax.pipeline.profiling import ProfiledPoint, open_store, profiled_points, within_share
from pivot_jax.pipeline.run import Run, complete, require
from pivot_jax.pipeline.screening import LIKELY, screened

PIVOT = "pivot"


def reasons(rewards: NDArray[np.float32], valid: NDArray[np.bool_], section: SelectSection) -> list[str]:
    """For each candidate `"pivot"`, or why it is none.

    Args:
        rewards: `[C, K]`.
        valid: `[C, K]`, False where an action could not be judged.
        section: threshold and switches.

    Raises:
        ValueError: a judged reward other than 0 and 1 under the rule "signal", which counts passes.
    """
    if section.rule in ("random", "unlikely"):
        return [PIVOT] * len(rewards)
    kept = is_pivot(
        jnp.asarray(rewards), jnp.asarray(valid), section.threshold,
        inclusive=section.inclusive, keep_all_zero=section.keep_all_zero,
    )  # fmt: skip
    mixed = is_mixed(jnp.asarray(rewards), jnp.asarray(valid))
    decided = [
        PIVOT if keep else _reason(row[ok], bool(varied))
        for row, ok, keep, varied in zip(rewards, valid, np.asarray(kept), np.asarray(mixed), strict=True)
    ]
    if section.rule == "signal":
        pivots = np.flatnonzero(kept)
        strong = top_share(_signal(rewards, valid, section)[pivots], section.signal_share)
        for index in pivots[~strong]:
            decided[index] = "low expected signal"
    return decided


def _signal(rewards: NDArray[np.float32], valid: NDArray[np.bool_], section: SelectSection) -> NDArray[np.float64]:
    """`[C]`: expected spread of a group at the candidate, times the probability that its pass rate is below λ."""
    if not np.isin(rewards[valid], (0, 1)).all():
        raise ValueError("select.rule = 'signal' counts passes: rewards must be 0 or 1")
    passed, judged = np.sum(valid & (rewards == 1), axis=1), np.sum(valid, axis=1)
    prior = fit_beta(passed, judged)
    below = below_probability(passed, judged, prior, section.threshold)
    return expected_signal(passed, judged, prior, section.signal_group) * below


def _reason(judged: NDArray[np.float32], mixed: bool) -> str:
    """Why a candidate with these judged rewards was dropped."""
    if len(judged) == 0:
        return "not judged"
    if mixed:
        return "too easy: mean not below the threshold"
    return "uniform: all failed" if judged[0] == 0 else "uniform: all passed" if judged[0] == 1 else "uniform"


def select(run: Run, console: Console) -> None:
    """Decide on every profiled candidate: `pivots.json` by the config's own section, and `selections/ARM.json` for each
    arm that selects otherwise."""
    began = time.monotonic()
    require(run, "profile", "select")
    config, prepared = run.config, load_prepared(run)
    points = profiled_points(prepared, config.profile.share)
    store = open_store(run, points)
    chosen = {"pivots.json": ("select", config)}
    for arm in config.arms:
        own = config.for_arm(arm)
        if needs_profile(config, arm) and (own.select, own.profile) != (config.select, config.profile):
            chosen[f"selections/{arm}.json"] = (f"arms.{arm}.select", own)
    kept: dict[str, int] = {}
    for file, (section, own) in chosen.items():
        members = within_share(prepared, points, own.profile.share)
        manifest = selection(store, [points[i] for i in members], members, own)
        write_json(run.dir / file, manifest)
        if not manifest["pivots"]:
            raise ConfigError(
                f"{section}: no candidate is a pivot ({manifest['by_reason']}); raise {section}.threshold, or "
                "with the rule 'signal' its signal_share"
            )
        _print_selection(manifest, section, console)
        kept[section] = manifest["kept"]
    complete(run, "select", {"candidates": len(points), "kept": kept}, Ledger(), began)


def selection(
    store: ProfileStore, points: Sequence[ProfiledPoint], rows: Sequence[int], config: Config
) -> dict[str, Any]:
    """What is kept of the candidates `points`, stored at `rows`, and why the others are not: the content of a manifest.

    Of the stored samples only those count that the config's own profile draws: the first `profile.samples`, or fewer
    where it is adaptive, and none where it screens the candidate out or its rule is `unlikely`.

    Raises:
        ValueError: an adaptive profile whose stored samples leave a candidate undecided: it is not complete.
    """
    section, samples = config.select, config.profile.samples
    likely = screened(store.path, rows, config.profile)
    drawn, prior = np.where(likely, 0, samples), None
    if config.profile.adaptive:
        found = stored_plan(store, np.asarray(rows)[~likely].tolist(), config)
        if (found.decision == OPEN).any():
            raise ValueError(f"{int((found.decision == OPEN).sum())} candidates are undecided; run the stage 'profile'")
        drawn[~likely], prior = found.drawn, found.prior._asdict()
    if section.rule == "unlikely":
        drawn = np.zeros(len(rows), np.int64)
    used = np.arange(samples) < drawn[:, None]
    rewards, status = _verdicts(store, section.reward, rows, used)
    exact, exact_status = _verdicts(store, "exact", rows, used)
    valid = used & (status == JUDGED)
    return {
        **decisions(points, rewards, valid, section, likely),
        "pass_rates_exact": _pass_rates(exact, used & (exact_status == JUDGED)),
        "threshold": section.threshold,
        "k": samples,
        "drawn": float(drawn.mean()) if len(drawn) else 0.0,
        "prior": prior,
        "not_judged_actions": int((used & (status == ERROR)).sum()),
    }


def _verdicts(
    store: ProfileStore, name: str, rows: Sequence[int], used: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Rewards and status of the stored draws `[C, K]`; of a profile that uses none there may be no arrays to read."""
    if not used.any():
        return np.zeros(used.shape, np.float32), np.full(used.shape, ABSENT, np.int8)
    rewards, status = (store.read(f"{kind}/{name}")[rows, : used.shape[1]] for kind in ("rewards", "status"))
    return rewards, status


def decisions(
    points: Sequence[ProfiledPoint],
    rewards: NDArray[np.float32],
    valid: NDArray[np.bool_],
    section: SelectSection,
    likely: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """The part of a manifest that follows from rewards `[C, K]` alone, and from what was screened out, `likely` `[C]`:
    counts, pass rates, and the pivots."""
    decided, pass_rates = reasons(rewards, valid, section), _pass_rates(rewards, valid)
    sampled = section.rule != "unlikely"
    if likely is not None:
        decided = [LIKELY if out else reason for out, reason in zip(likely, decided, strict=True)]
    return {
        **summary(rewards, valid, decided, sampled=sampled),
        "pass_rates": pass_rates,
        "by_domain": {
            domain: summary(rewards[places], valid[places], [decided[i] for i in places], sampled=sampled)
            for domain, places in _by_domain(points).items()
        },
        "pivots": [
            {"id": point.candidate.id, "pass_rate": rate}
            for point, rate, reason in zip(points, pass_rates, decided, strict=True)
            if reason == PIVOT
        ],
    }


def _print_selection(manifest: dict[str, Any], title: str, console: Console) -> None:
    table = Table("pivots", "candidates", "share", title=f"Selection: {title}")
    for reason, number in manifest["by_reason"].items():
        table.add_row(reason, f"{number:,}", f"{number / manifest['candidates']:.1%}")
    console.print(table)


def load_pivots(run: Run, arm: str) -> list[ProfiledPoint]:
    """The candidates that an arm trains on, in store order: its selection, or every one if its rule is `random`.

    Args:
        run: the arm's own run.
        arm: its name.
    """
    points = profiled_points(load_prepared(run), 1.0)
    if run.config.select.rule == "random":
        return points
    own = run.dir / "selections" / f"{arm}.json"
    manifest = read_json(own if own.exists() else run.dir / "pivots.json")
    chosen = {pivot["id"] for pivot in manifest["pivots"]}
    return [point for point in points if point.candidate.id in chosen]


def summary(
    rewards: NDArray[np.float32], valid: NDArray[np.bool_], decided: Sequence[str], *, sampled: bool = True
) -> dict[str, Any]:
    """Counts of one set of candidates; a candidate is mixed when its judged rewards differ. Where nothing was sampled,
    the fractions are None."""
    mixed = np.asarray(is_mixed(jnp.asarray(rewards), jnp.asarray(valid)))
    share = float(mixed.mean(dtype=np.float64)) if sampled and len(rewards) else None
    return {
        "candidates": len(rewards),
        "kept": sum(reason == PIVOT for reason in decided),
        "by_reason": dict(sorted(Counter(decided).items())),
        "mixed_fraction": share,
        "uninformative_fraction": None if share is None else 1 - share,
    }


def _pass_rates(rewards: NDArray[np.float32], valid: NDArray[np.bool_]) -> list[float | None]:
    return [float(row[ok].mean(dtype=np.float64)) if ok.any() else None for row, ok in zip(rewards, valid, strict=True)]


def _by_domain(points: Sequence[ProfiledPoint]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for index, point in enumerate(points):
        rows.setdefault(point.candidate.domain, []).append(index)
    return rows
