"""The arms of a comparison as a config names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from pivot_jax.config_section import Section

Method = Literal["sft", "pivot_rl", "e2e_rl"]
TABLES_OF: Mapping[Method, tuple[str, ...]] = {
    "sft": ("sft", "select", "profile"),
    "pivot_rl": ("select", "loss", "train", "profile"),
    "e2e_rl": ("e2e", "loss"),
}
"""The sections that each method reads, which its arms may have of their own."""


class ArmSection(Section):
    """One arm of the comparison: a method, and tables that are merged over the config's sections for this arm alone."""

    method: Method
    select: dict[str, Any] = Field(default_factory=dict)
    loss: dict[str, Any] = Field(default_factory=dict)
    train: dict[str, Any] = Field(default_factory=dict)
    sft: dict[str, Any] = Field(default_factory=dict)
    e2e: dict[str, Any] = Field(default_factory=dict)
    profile: dict[str, Any] = Field(default_factory=dict)
    """Fewer samples or a smaller share than what the run profiles."""

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """The tables that are set."""
        return {name: table for name, table in self if name != "method" and table}

    @model_validator(mode="after")
    def _check(self) -> ArmSection:
        read = TABLES_OF[self.method]
        if unread := [name for name in self.tables if name not in read]:
            raise ValueError(f"method {self.method!r} reads {', '.join(read)}, not {', '.join(unread)}; drop the table")
        return self


def merged(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables merged key by key; where both have a value, that of `right`."""
    result = dict(left)
    for key, value in right.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result
