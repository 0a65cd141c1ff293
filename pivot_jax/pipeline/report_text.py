"""Numbers of a report as people read them. Rates are shown in percent, differences of rates in points."""

from __future__ import annotations

from pivot_jax.pipeline.intervals import Estimate
from pivot_jax.pipeline.ledger import Cost

ARM_LABELS = {"base": "Base", "sft": "SFT", "pivotrl": "PivotRL"}

LEDGER_COLUMNS: dict[str, str] = {
    "rollout_turns": "rollout turns",
    "episodes": "episodes",
    "prompt_tokens_logical": "prompt tokens (logical)",
    "prompt_tokens_computed": "prompt tokens (computed)",
    "sampled_tokens": "sampled tokens",
    "trained_tokens": "trained tokens",
    "flops": "model FLOPs",
    "verifier_calls": "verifier calls",
    "environment_steps": "environment steps",
    "seconds": "time",
}
"""Fields of `Cost` and their headings."""


def arm_label(arm: str) -> str:
    """The name of an arm in tables; arms that the package does not know keep their own."""
    return ARM_LABELS.get(arm, arm)


def percent(rate: float) -> str:
    """0.581 as `58.1%`."""
    return f"{100 * rate:z.1f}%"


def percent_interval(estimate: Estimate) -> str:
    """The interval of a rate, `54.2 to 61.9`, in percent."""
    low, high = estimate.ci95
    return f"{100 * low:z.1f} to {100 * high:z.1f}"


def points(change: float) -> str:
    """0.268 as `+26.8`, with a sign unless it rounds to zero."""
    text = f"{100 * change:+z.1f}"
    return "0.0" if text == "+0.0" else text.replace("-", "\N{MINUS SIGN}")


def points_interval(estimate: Estimate) -> str:
    """The interval of a difference, `+20.1 to +33.2`, in points."""
    low, high = estimate.ci95
    return f"{points(low)} to {points(high)}"


def count(value: int) -> str:
    """12345 as `12.3k`; three digits at least, and exact below a thousand."""
    return str(value) if value < 1000 else _scaled(value, ("", "k", "M", "G", "T"))


def flops(value: int) -> str:
    """3.2e9 as `3.20 GFLOP`."""
    return f"{_scaled(value, (' ', ' k', ' M', ' G', ' T', ' P', ' E', ' Z'))}FLOP"


def duration(seconds: float) -> str:
    """7500 as `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def cost_cells(cost: Cost) -> list[str]:
    """One cell for each of `LEDGER_COLUMNS`; a dash where nothing was spent."""
    shown = {"flops": flops(cost.flops), "seconds": duration(cost.seconds)}
    cells = []
    for name in LEDGER_COLUMNS:
        value = getattr(cost, name)
        cells.append((shown[name] if name in shown else count(value)) if value else "\N{EN DASH}")
    return cells


def _scaled(value: float, units: tuple[str, ...]) -> str:
    scaled, index = float(value), 0
    # 999.5 would be rounded to 1000 of the smaller unit.
    while scaled >= 999.5 and index < len(units) - 1:
        scaled, index = scaled / 1000, index + 1
    digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
    return f"{scaled:.{digits if index else 0}f}{units[index]}"
