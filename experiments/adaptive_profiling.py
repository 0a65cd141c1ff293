"""Adaptive and screened profiling against a fixed K: which pivots they find, and for how many samples.

    python experiments/adaptive_profiling.py                    # simulated candidates

    pivot-jax run configs/profiling/mixed.toml                  # stores 32 samples a candidate
    python experiments/adaptive_profiling.py --run runs/profiling_mixed

Hardware: one CPU core, about two minutes, without the run. Replays draws in their stored order, prints a table for each
population and threshold, and writes experiments/results/adaptive_profiling.json, of a run adaptive_profiling_NAME.json.
Truths: the rule's decision on K = 32 draws and, where the pass rate p is known, p < λ with P(mixed group of 16) >= 1/2.
Expected at λ = 0.6 and doubt 0.04: the pivots of K = 32 at Jaccard 0.9 or more for less than half of the samples, where
a fixed K = 16 reaches about 0.8. A run whose profile holds likelihoods shows what screening by them finds.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from pivot_jax.config import SelectSection
from pivot_jax.objective.posterior import (
    JEFFREYS,
    below_probability,
    expected_mixed,
    expected_signal,
    fit_beta,
    top_share,
)
from pivot_jax.pipeline.adaptive import KEEP, Schedule, plan, rule_on_counts
from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.profile_store import JUDGED, ProfileStore
from pivot_jax.pipeline.screening import FILE as LIKELIHOODS

K, GROUP, SEED, RESAMPLES = 32, 16, 0, 1000
POPULATIONS = {  # share that always fails, share that always passes, and Beta(a, b) of the rest
    "30% never, 30% always, Beta(.6, .6)": (0.30, 0.30, 0.6, 0.6),
    "35% never, 25% always, uniform": (0.35, 0.25, 1.0, 1.0),
    "Beta(.3, .3)": (0.0, 0.0, 0.3, 0.3),
    "Beta(.1, .15)": (0.0, 0.0, 0.1, 0.15),
}
SCHEDULES = {
    **{f"adaptive, doubt {doubt}": Schedule(doubt=doubt) for doubt in (0.0, 0.01, 0.02, 0.04, 0.06, 0.1)},
    **{f"adaptive, rounds of 8, doubt {doubt}": Schedule(8, 8, K, doubt) for doubt in (0.02, 0.04)},
    **{f"adaptive, most 16, doubt {doubt}": Schedule(most=16, doubt=doubt) for doubt in (0.02, 0.04)},
}
LEVELS = (0.8, 0.9, 0.95, 0.99)
"""Values of `profile.screen_above`."""
TURNS, BRANCHES = 10, 32
"""Candidates of a trunk, and most branches sampled on one prefill of it: what the prefills are counted with."""


MISTAKES = ("missed", "surplus", "rare_recall")
"""Shares of the K = 32 pivots: not kept, kept beside them, and kept of those with at most 3 passes or 3 failures."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one way of sampling did: draws and whether kept, `[C]`, and how often a trunk was prefilled."""

    drawn: NDArray[np.int64]
    kept: NDArray[np.bool_]
    prefills: float


def simulate(shares: tuple[float, float, float, float], candidates: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pass rates `[C]` and rewards `[C, K]` of a mixture."""
    never, always, a, b = shares
    rng = np.random.default_rng(SEED)
    which = rng.random(candidates)
    rates = np.where(which < never, 0.0, np.where(which < never + always, 1.0, rng.beta(a, b, candidates)))
    return rates, (rng.random((candidates, K)) < rates[:, None]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Stored:
    """The profile of a run: rewards and whether judged, `[C, K]`, the pivot rule, and the probabilities `[C]` of the
    demonstrated actions if some arm screens by them."""

    rewards: NDArray[np.float32]
    valid: NDArray[np.bool_]
    rule: SelectSection
    probability: NDArray[np.float64] | None


def load(run: Path) -> Stored:
    """The profile of a run of at least K samples a candidate."""
    header, config = read_json(run / "profile" / "store.json"), read_json(run / "config.json")
    sizes = {name: header.pop(name) for name in ("candidates", "tokens", "chunk")}
    if config["profile"]["samples"] < K:
        raise SystemExit(f"{run}: {config['profile']['samples']} samples a candidate; the replay needs {K}")
    store = ProfileStore(run / "profile", header, draws=K, **sizes)
    if (store.read("lengths") < 0).any():
        raise SystemExit(f"{run}: its profile is not complete")
    section, likelihoods = SelectSection(**config["select"]), run / "profile" / LIKELIHOODS
    probability = np.exp(read_json(likelihoods)["logprobs"]) if likelihoods.exists() else None
    rewards, status = (store.read(f"{kind}/{section.reward}") for kind in ("rewards", "status"))
    return Stored(rewards, status == JUDGED, section, probability)


def prefills(drawn: NDArray[np.int64], least: int, step: int) -> float:
    """Mean prefills of a trunk of `TURNS` consecutive candidates, `BRANCHES` branches at most on each."""
    total, begin, goal = 0, 0, least
    while begin < drawn.max():
        wanting = np.add.reduceat(drawn > begin, np.arange(0, len(drawn), TURNS))
        total += np.sum(-(-wanting // max(1, BRANCHES // (goal - begin))))
        begin, goal = goal, min(goal + step, int(drawn.max()))
    return float(total) / -(-len(drawn) // TURNS)


def outcomes(
    rewards: NDArray[np.float32],
    valid: NDArray[np.bool_],
    rule: SelectSection,
    probability: NDArray[np.float64] | None = None,
) -> dict[str, Outcome]:
    """Every way of sampling, on the same draws; screened ones where the probabilities of the demonstrated actions are
    known."""
    found = {}
    for fixed in (4, 8, 16, K):
        drawn = np.full(len(rewards), fixed)
        found[f"fixed {fixed}"] = Outcome(drawn, decide(rewards, valid, drawn, rule), prefills(drawn, fixed, fixed))
    everything = np.ones_like(valid)
    for name, schedule in SCHEDULES.items():
        done = plan(rewards, valid, everything, schedule, rule)
        calls = prefills(done.drawn, schedule.least, schedule.round_size)
        found[name] = Outcome(done.drawn, done.decision == KEEP, calls)
    done = plan(rewards, valid, everything, Schedule(), rule, JEFFREYS)
    found["adaptive, doubt 0.04, Jeffreys' prior"] = Outcome(
        done.drawn, done.decision == KEEP, prefills(done.drawn, 4, 4)
    )
    for floor in (0.1, 0.2, 0.3):
        drawn = posterior_test(rewards, valid, rule, floor)
        name = f"posterior test, mixed floor {floor}"
        found[name] = Outcome(drawn, decide(rewards, valid, drawn, rule), prefills(drawn, 4, 4))
    if probability is not None:
        for level in LEVELS:
            asked, schedule = probability < level, Schedule()
            drawn = np.where(asked, K, 0)
            found[f"fixed {K}, screened at {level}"] = Outcome(
                drawn, decide(rewards, valid, drawn, rule), prefills(drawn, K, K)
            )
            drawn = np.zeros_like(drawn)
            drawn[asked] = plan(rewards[asked], valid[asked], everything[asked], schedule, rule).drawn
            found[f"adaptive, doubt 0.04, screened at {level}"] = Outcome(
                drawn, decide(rewards, valid, drawn, rule), prefills(drawn, schedule.least, schedule.round_size)
            )
    return found


def decide(
    rewards: NDArray[np.float32], valid: NDArray[np.bool_], drawn: NDArray[np.int64], rule: SelectSection
) -> NDArray[np.bool_]:
    """The pivot rule on the first draws of each candidate."""
    k, n = counts(rewards, valid, drawn)
    return rule_on_counts(K, rule)[k, n]


def counts(
    rewards: NDArray[np.float32], valid: NDArray[np.bool_], drawn: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Passes and judged samples among the first draws of each candidate."""
    used = valid & (np.arange(rewards.shape[1]) < drawn[:, None])
    return np.sum(used & (rewards == 1), axis=1), np.sum(used, axis=1)


def posterior_test(
    rewards: NDArray[np.float32], valid: NDArray[np.bool_], rule: SelectSection, floor: float
) -> NDArray[np.int64]:
    """The rival: draws until p is at 95% on one side of λ, or P(mixed group) of training is below `floor`."""
    drawn, open_ = np.full(len(rewards), 4), np.ones(len(rewards), bool)
    while open_.any():
        k, n = counts(rewards, valid, drawn)
        prior = fit_beta(k, n)
        below, mixed = below_probability(k, n, prior, rule.threshold), expected_mixed(k, n, prior, GROUP)
        clear = (below < 0.05) | (mixed < floor) | ((below > 0.95) & (k > 0) & (k < n))
        open_ &= ~clear & (drawn < K)
        drawn[open_] += 4
    return drawn


def measure(found: dict[str, Outcome], passes: NDArray[np.int64], true: NDArray[np.bool_] | None) -> dict[str, Any]:
    """Samples, agreement and what was missed, with 95% bootstrap intervals over candidates (decisions as they are)."""
    weights = np.random.default_rng(SEED).multinomial(len(passes), np.full(len(passes), 1 / len(passes)), RESAMPLES)
    weights = np.concatenate([np.ones((1, len(passes))), weights]).astype(np.float64)

    def ratio(top: NDArray[Any], bottom: NDArray[Any]) -> dict[str, Any]:
        whole, *resampled = (weights @ top) / np.maximum(weights @ bottom, 1e-12)
        return {"mean": float(whole), "ci95": [float(x) for x in np.percentile(resampled, (2.5, 97.5))]}

    final, all_ = found[f"fixed {K}"].kept, np.ones(len(passes))
    rare = final & (np.minimum(passes, K - passes) <= 3)
    table = {}
    for name, one in found.items():
        table[name] = {
            "samples": ratio(one.drawn, all_),
            "prefills_per_trunk": one.prefills,
            "jaccard_k32": ratio(one.kept & final, one.kept | final),
            "missed": ratio(final & ~one.kept, final),
            "surplus": ratio(one.kept & ~final, final),
            "rare_recall": ratio(one.kept & rare, rare),
            "jaccard_true": None if true is None else ratio(one.kept & true, one.kept | true),
        }
    return table


def captured(
    found: dict[str, Outcome], rates: NDArray[Any], rewards: NDArray[np.float32], rule: SelectSection
) -> dict[str, Any]:
    """Share of the best possible signal (true E[std] of a group, p < λ) that a selection of the same size holds: the
    pivot rule's, and the top by expected signal times P(p < λ). Also at half that size, where the rule can only choose
    at random among its pivots."""
    j = np.arange(GROUP + 1)
    signal = binom.pmf(j, GROUP, rates[:, None]) @ np.sqrt(j / GROUP * (1 - j / GROUP)) * (rates < rule.threshold)
    table = {}
    for name in ("fixed 4", "fixed 8", "fixed 16", "fixed 32", "adaptive, doubt 0.04"):
        one = found[name]
        k, n = counts(rewards, np.ones(rewards.shape, bool), one.drawn)
        prior = fit_beta(k, n)
        score = expected_signal(k, n, prior, GROUP) * below_probability(k, n, prior, rule.threshold)
        table[name] = {"kept": float(one.kept.mean())}
        for size, part in (("", 1.0), ("_half", 0.5)):
            share = one.kept.mean() * part
            best = signal[top_share(signal, share)].sum()
            table[name][f"pivot_rule{size}"] = float(signal[one.kept].sum() * part / best)
            table[name][f"expected_signal{size}"] = float(signal[top_share(score, share)].sum() / best)
    return table


def study(
    name: str,
    rewards: NDArray[np.float32],
    valid: NDArray[np.bool_],
    rates: NDArray[Any] | None,
    rule: SelectSection,
    probability: NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    """One population under one rule: measure and print."""
    true = None if rates is None else (rates < rule.threshold) & (1 - rates**GROUP - (1 - rates) ** GROUP >= 0.5)
    found = outcomes(rewards, valid, rule, probability)
    passes, judged = counts(rewards, valid, np.full(len(rewards), K))
    table = measure(found, passes, true)
    print(f"\n{name}, λ = {rule.threshold}, {len(rewards)} candidates, prior {fit_beta(passes, judged)}")
    print(f"{'':42}samples         prefills  Jaccard K=32       missed  surplus  rare kept  Jaccard true")
    for arm, row in table.items():
        low, high = row["jaccard_k32"]["ci95"]
        truth = f"{row['jaccard_true']['mean']:.3f}" if row["jaccard_true"] else "-"
        samples, (missed, surplus, rare) = row["samples"]["mean"], (row[x]["mean"] for x in MISTAKES)
        print(
            f"{arm:42}{samples:5.1f} ({samples / K:4.0%})    {row['prefills_per_trunk']:6.1f}"
            f"    {row['jaccard_k32']['mean']:.3f} [{low:.3f}, {high:.3f}]"
            f"  {missed:5.1%}   {surplus:5.1%}   {rare:6.1%}   {truth}"
        )
    uniform = {}
    for n in (4, 8, 16, K):
        k, seen = counts(rewards, valid, np.full(len(rewards), n))
        uniform[str(n)] = float(np.mean((k == 0) | (k == seen)))
    result = {"threshold": rule.threshold, "candidates": len(rewards), "uniform_at": uniform, "arms": table}
    if rates is not None:
        result["signal_captured"] = captured(found, rates, rewards, rule)
        for arm, row in result["signal_captured"].items():
            print(f"signal of {row['kept']:5.1%} kept, {arm:24}"
                  f" pivot rule {row['pivot_rule']:.3f}   expected signal {row['expected_signal']:.3f}"
                  f"   half of them: {row['pivot_rule_half']:.3f}  {row['expected_signal_half']:.3f}")  # fmt: skip
    return {name: result}


def main() -> None:
    """Study every population, or the run; print, write."""
    arguments = argparse.ArgumentParser(description="Adaptive profiling against a fixed K.")
    arguments.add_argument("--run", type=Path, help="run directory; without it the populations are simulated")
    arguments.add_argument("--candidates", type=int, default=10_000, help="of each simulated population")
    arguments.add_argument("--out", type=Path, help="the results file")
    options, began = arguments.parse_args(), time.time()
    results: dict[str, Any] = {}
    file = "adaptive_profiling.json"
    if options.run:
        stored, name = load(options.run), options.run.name.removeprefix("profiling_")
        file = f"adaptive_profiling_{name}.json"
        results |= study(name, stored.rewards, stored.valid, None, stored.rule, stored.probability)
    else:
        for threshold in (0.6, 1.0):
            for name, shares in POPULATIONS.items():
                rates, rewards = simulate(shares, options.candidates)
                rule = SelectSection(threshold=threshold)
                results |= study(f"{name}, threshold {threshold}", rewards, np.ones(rewards.shape, bool), rates, rule)

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()

    record = {
        "command": " ".join(["python", *sys.argv]),
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain")),
        "machine": f"{platform.machine()}, {os.cpu_count()} cpu, python {platform.python_version()}",
        "seconds": round(time.time() - began),
        "seeds": [SEED],
        "settings": {"k": K, "group_size": GROUP, "resamples": RESAMPLES, "turns": TURNS, "branches": BRANCHES},
        "populations": "run" if options.run else POPULATIONS,
        "results": results,
    }
    out = options.out or Path(__file__).parent / "results" / file
    write_json(out, record)
    print(f"written: {out.name}, {record['seconds']} s")


if __name__ == "__main__":
    main()
