"""The section that says which trajectories a run is made of."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pivot_jax.config_section import Section

ALL_STYLES = (0, 1, 2, 3, 4, 5, 6)


class DataSection(Section):
    """Trajectories: read from `path`, or else demonstrated in `domains`."""

    path: str = ""
    """A file or a folder of recorded trajectories (docs/data.md)."""
    format: Literal[
        "auto", "chat", "tau2", "responses", "pivot_rows", "atif", "swe_agent", "parquet", "datasets"
    ] = "auto"  # fmt: skip
    """What its rows are; `auto` tells by what they hold."""
    on_bad_row: Literal["fail", "skip"] = "fail"
    """`skip` sets rows that cannot be read aside, in `RUN/rejects.jsonl`, and counts them."""
    tools: str = ""
    """A JSON file of tools, for rows that list none."""
    make_ids: bool = False
    """Rows without an id are named by their file and line."""
    domains: tuple[str, ...] = ("retail", "terminal")
    tasks: int = Field(default=200, ge=1)
    """Demonstrated tasks a domain, when `path` is empty."""
    first_seed: int = 0
    styles: tuple[int, ...] = Field(default=ALL_STYLES, min_length=1)
    """Habits of the demonstrating expert, dealt out over the tasks: which of the good actions at a state it takes."""
    max_turns: int = Field(default=24, ge=1)
    """Turns after which a demonstrated episode is cut."""
    knobs: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """domain → settings of its tasks (fields of the domain's `Knobs`), for demonstrations and evaluation alike."""
    held_out: float = Field(default=0.0, ge=0, lt=1)
    """Share of the tasks set aside, decided by a hash of the seed and the task."""
    base_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the recorded tasks that the stage `pretrain` makes the base of, decided by a hash of the task alone: no
    seed trains or evaluates on them."""
    least_reward: float | None = None
    """Recorded trajectories with a smaller reward, or with none, are left out (none set: all are read)."""
    tool_result: int = Field(default=0, ge=0)
    """Characters of a recorded tool result that the policy is shown (0: all)."""
    longest: int = Field(default=0, ge=0)
    """Tokens after which no recorded turn is used: state and action together (0: no limit)."""
    tokenizer: str = ""
    """A tokenizer directory, `fit` to train one on the trajectories, or empty for the policy's own."""
    action_format: Literal["compact", "hermes"] = "compact"
    """How sampled text is read back as an action: the small policies' format, or Qwen3's tool calls."""
