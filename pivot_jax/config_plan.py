"""What `pivot-jax plan` takes for granted about data that it does not read."""

from __future__ import annotations

from pydantic import Field

from pivot_jax.config_section import Section


class PlanSection(Section):
    """Lengths and counts of the data, for `pivot-jax plan`. Nothing else reads them."""

    state_tokens: int = Field(default=4096, ge=1)
    """Tokens of the longest state: what the trunks of a step are padded to."""
    forced_tokens: int = Field(default=8, ge=1)
    """State tokens that each branch begins with (a generation prompt)."""
    turns: int = Field(default=12, ge=1)
    """Candidates on one trajectory, all of which are profiled on one prefill."""
