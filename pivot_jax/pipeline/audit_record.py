"""What an audit of candidates says, as `audit.json` holds it; shares are 0 to 1, null where there is nothing."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Literal

from pivot_jax.records import Record


class Spread(Record):
    """A distribution of whole numbers; `median` and `p95` are values that occur (nearest rank)."""

    mean: float
    median: int
    p95: int
    max: int

    @classmethod
    def of(cls, histogram: Mapping[int, int]) -> Spread:
        """The spread of value → how often it occurs; ValueError if nothing does."""
        total = sum(histogram.values())
        if total == 0:
            raise ValueError("nothing was counted, so it has no spread")
        mean = sum(value * count for value, count in histogram.items()) / total
        return cls(
            mean=mean, median=_rank(histogram, ceil(total / 2)), p95=_rank(histogram, ceil(total * 95 / 100)),
            max=_rank(histogram, total),
        )  # fmt: skip


def _rank(histogram: Mapping[int, int], rank: int) -> int:
    """The value at this place (from 1) of all values in order."""
    below = 0
    for value in sorted(histogram):
        below += histogram[value]
        if below >= rank:
            return value
    raise ValueError(f"rank {rank} of {below} values")


def share(part: int, whole: int) -> float | None:
    """`part / whole`; None where the whole is nothing."""
    return part / whole if whole else None


class Lengths(Record):
    """Tokens of a turn, and turns of a trajectory."""

    state_tokens: Spread
    action_tokens: Spread
    turns: Spread


class Turns(Record):
    """What turns do. A message row speaks and calls nothing; any text scores 1 there under `tool_call`."""

    total: int
    message: int
    call: int
    message_and_call: int
    empty: int
    message_share: float | None


class ToolUse(Record):
    """Calls: how many a turn (over all turns), how many turns make two or more at once, and of which tools.

    `parallel_share` is of the turns that call. `not_offered` counts calls of tools that are not among those that the
    trajectory offers; `without_tools` counts the trajectories that offer none, where it cannot be told.
    """

    calls: int
    per_turn: Spread
    calling_turns: int
    parallel_turns: int
    parallel_share: float | None
    by_tool: dict[str, int]
    not_offered: dict[str, int]
    without_tools: int


class Prefixes(Record):
    """How much of the states' computation is shared (`trunks`), and how many sequences SFT reads."""

    trajectories: int
    preserving: int
    preserving_share: float | None
    sequences: int
    trunks: int
    state_tokens: int
    computed_tokens: int
    shared_share: float | None


class Reasoning(Record):
    """Turns whose message records reasoning, those whose rendered action shows it, and what later states show.

    Of the turns with reasoning that any later state follows, `kept` are shown in all of these states, `stripped` in
    none, and `partly` in some: until the user speaks again, under Qwen3's template.
    """

    recorded: int
    recorded_share: float | None
    in_action: int
    followed: int
    kept: int
    partly: int
    stripped: int


class SelfScore(Record):
    """Labels read back from their own tokens, under one verifier: reward 1, less, or no verdict."""

    passed: int = 0
    failed: int = 0
    not_judged: int = 0


class Failing(Record):
    """A label that does not score 1 against itself."""

    candidate: str
    verifier: str
    status: Literal["judged", "error"]
    reward: float
    reason: str


class Labels(Record):
    """Self-scores by verifier; `functional` is the config's own, by its name there."""

    functional: str
    scores: dict[str, SelfScore]
    failing: tuple[Failing, ...]


class Leak(Record):
    """A turn whose own reasoning stands in its state, and where."""

    candidate: str
    where: str


class Leaks(Record):
    """Turns whose reasoning was searched for in their state; a short one may occur by chance and is not searched."""

    searched: int
    too_short: int
    found: tuple[Leak, ...]


class Repeat(Record):
    """A candidate whose state, and maybe action, is that of an earlier one, `first`."""

    candidate: str
    first: str


class Duplicates(Record):
    """Candidates with equal token ids. `equal`: state and action. `contested`: the state alone, the action differs from
    all that were seen there before; `first` is the first candidate at that state."""

    states: int
    equal: tuple[Repeat, ...]
    contested: tuple[Repeat, ...]


class Side(Record):
    """One side of the split."""

    tasks: int
    trajectories: int
    candidates: int


class Split(Record):
    """The split by task; `on_both` must be empty."""

    training: Side
    held_out: Side
    on_both: tuple[str, ...]


class Audit(Record):
    """Everything that the audit found; all but `split` is of the training side."""

    lengths: Lengths
    turns: Turns
    tools: ToolUse
    prefixes: Prefixes
    reasoning: Reasoning
    labels: Labels
    leaks: Leaks
    duplicates: Duplicates
    split: Split
