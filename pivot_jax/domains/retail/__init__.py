"""Retail: a customer-service conversation over a real database, under a written policy (after tau2-bench)."""

from __future__ import annotations

from pivot_jax.domains.environment import Environment
from pivot_jax.domains.retail.progress import Progress
from pivot_jax.domains.retail.task import RetailTask
from pivot_jax.domains.retail.templates import TEMPLATES, Knobs, draw_task

__all__ = ["TEMPLATES", "Knobs", "reset"]


def reset(seed: int, knobs: Knobs = Knobs()) -> Environment:  # noqa: B008 (frozen)
    """The task of this seed: the same seed and knobs give the same task for ever."""
    goal, store = draw_task(seed, knobs)
    return RetailTask(goal, store, Progress(stated=not goal.greeting))
