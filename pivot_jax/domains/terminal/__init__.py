"""The terminal domain: find, filter, sort, move and count small files with shell commands."""

from __future__ import annotations

from pivot_jax.domains.terminal.episode import Terminal
from pivot_jax.domains.terminal.generation import draw_task
from pivot_jax.domains.terminal.goals import TEMPLATES
from pivot_jax.domains.terminal.tasks import Knobs

__all__ = ["TEMPLATES", "Knobs", "Terminal", "reset"]


_DEFAULT_KNOBS = Knobs()


def reset(seed: int, knobs: Knobs = _DEFAULT_KNOBS) -> Terminal:
    """A fresh environment with the task of this seed: the same for ever."""
    return Terminal(draw_task(seed, knobs))
