"""The coding domain: repair small Python functions until their tests pass (after SWE-Bench)."""

from __future__ import annotations

from pivot_jax.domains.coding.catalogue import TEMPLATES
from pivot_jax.domains.coding.episode import Coding
from pivot_jax.domains.coding.generation import draw_task
from pivot_jax.domains.coding.tasks import Knobs

__all__ = ["TEMPLATES", "Coding", "Knobs", "reset"]


_DEFAULT_KNOBS = Knobs()


def reset(seed: int, knobs: Knobs = _DEFAULT_KNOBS) -> Coding:
    """A fresh environment with the task of this seed: the same seed and knobs give the same task for ever."""
    return Coding(draw_task(seed, knobs))
