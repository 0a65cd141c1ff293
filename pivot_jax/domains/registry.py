"""Every domain by name."""

from __future__ import annotations

from pivot_jax.domains.environment import Reset
from pivot_jax.domains.retail import reset as reset_retail
from pivot_jax.domains.skills import SKILLS
from pivot_jax.domains.terminal import reset as reset_terminal

__all__ = ["DOMAINS", "SKILLS"]

DOMAINS: dict[str, Reset] = {"retail": reset_retail, "terminal": reset_terminal}
"""The agentic domains: what a policy is post-trained on. The skills are kept apart, for they never are."""
