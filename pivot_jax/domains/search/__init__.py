"""The search domain: multi-hop questions over a collection of short documents in a real search engine."""

from __future__ import annotations

from pivot_jax.domains.search.episode import Search
from pivot_jax.domains.search.generation import draw_task
from pivot_jax.domains.search.knobs import TEMPLATES, Knobs, routine_share, turns

__all__ = ["TEMPLATES", "Knobs", "Search", "reset", "routine_share", "turns"]


_DEFAULT_KNOBS = Knobs()


def reset(seed: int, knobs: Knobs = _DEFAULT_KNOBS) -> Search:
    """A fresh environment with the task of this seed: the same for ever."""
    return Search(draw_task(seed, knobs))
