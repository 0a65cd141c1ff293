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

from pivot_jax.config import ConfigError, SelectSection
from pivot_jax.objective.signal import is_mixed, is_pivot
from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.candidates import load_prepared
from pivot_jax.pipeline.ledger import Ledger
from pivot_jax.pipeline.profile_store import JUDGED
from pivot_jax.pipeline.profiling import ProfiledPoint, open_store, profiled_points
from pivot_jax.pipeline.run import Run, complete, require

PIVOT = "pivot"


def reasons(rewards: NDArray[np.float32], valid: NDArray[np.bool_], section: SelectSection) -> list[str]:
    """For each candidate `"pivot"`, or why it is none.

    Args:
        rewards: `[C, K]`.
        valid: `[C, K]`, False where an action could not be judged.
        section: threshold and switches.
    """
    if section.rule == "random":
        return [PIVOT] * len(rewards)
    kept = is_pivot(
        jnp.asarray(rewards), jnp.asarray(valid), section.threshold,
        inclusive=section.inclusive, keep_all_zero=section.keep_all_zero,
    )  # fmt: skip
    mixed = is_mixed(jnp.asarray(rewards), jnp.asarray(valid))
    return [
        PIVOT if keep else _reason(row[ok], bool(varied))
        for row, ok, keep, varied in zip(rewards, valid, np.asarray(kept), np.asarray(mixed), strict=True)
    ]


def _reason(judged: NDArray[np.float32], mixed: bool) -> str:
    """Why a candidate with these judged rewards was dropped."""
    if len(judged) == 0:
        return "not judged"
    if mixed:
        return "too easy: mean not below the threshold"
    return "uniform: all failed" if judged[0] == 0 else "uniform: all passed" if judged[0] == 1 else "uniform"


def select(run: Run, console: Console) -> None:
    """Decide on every profiled candidate and write `pivots.json`."""
    began = time.monotonic()
    require(run, "profile", "select")
    section = run.config.select
    points = profiled_points(load_prepared(run), run.config.profile.share)
    store = open_store(run, points)
    rewards, status = store.read(f"rewards/{section.reward}"), store.read(f"status/{section.reward}")
    exact = _pass_rates(store.read("rewards/exact"), store.read("status/exact") == JUDGED)
    valid = status == JUDGED
    decided = reasons(rewards, valid, section)
    manifest = {
        **summary(rewards, valid, decided),
        "pass_rates": _pass_rates(rewards, valid),
        "pass_rates_exact": exact,
        "threshold": section.threshold,
        "k": run.config.profile.samples,
        "not_judged_actions": int((~valid).sum()),
        "by_domain": {
            domain: summary(rewards[rows], valid[rows], [decided[i] for i in rows])
            for domain, rows in _by_domain(points).items()
        },
        "pivots": [
            {"id": point.candidate.id, "pass_rate": rate}
            for point, rate, reason in zip(points, _pass_rates(rewards, valid), decided, strict=True)
            if reason == PIVOT
        ],
    }
    write_json(run.dir / "pivots.json", manifest)
    if not manifest["pivots"]:
        raise ConfigError(f"select: no candidate is a pivot ({manifest['by_reason']}); raise select.threshold")
    table = Table("pivots", "candidates", "share", title="Selection")
    for reason, number in manifest["by_reason"].items():
        table.add_row(reason, f"{number:,}", f"{number / len(points):.1%}")
    console.print(table)
    complete(run, "select", {"candidates": len(points), "kept": manifest["kept"]}, Ledger(), began)


def load_pivots(run: Run, points: Sequence[ProfiledPoint]) -> list[ProfiledPoint]:
    """The selected pivots, in store order."""
    chosen = {pivot["id"] for pivot in read_json(run.dir / "pivots.json")["pivots"]}
    return [point for point in points if point.candidate.id in chosen]


def summary(rewards: NDArray[np.float32], valid: NDArray[np.bool_], decided: Sequence[str]) -> dict[str, Any]:
    """Counts of one set of candidates; a candidate is mixed when its judged rewards differ."""
    mixed = int(np.asarray(is_mixed(jnp.asarray(rewards), jnp.asarray(valid))).sum())
    return {
        "candidates": len(rewards),
        "kept": sum(reason == PIVOT for reason in decided),
        "by_reason": dict(sorted(Counter(decided).items())),
        "mixed_fraction": mixed / max(1, len(rewards)),
        "uninformative_fraction": 1 - mixed / max(1, len(rewards)),
    }


def _pass_rates(rewards: NDArray[np.float32], valid: NDArray[np.bool_]) -> list[float | None]:
    return [float(row[ok].mean(dtype=np.float64)) if ok.any() else None for row, ok in zip(rewards, valid, strict=True)]


def _by_domain(points: Sequence[ProfiledPoint]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for index, point in enumerate(points):
        rows.setdefault(point.candidate.domain, []).append(index)
    return rows
