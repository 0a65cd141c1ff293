"""Stage `candidates`: trajectories in, every assistant turn a candidate (Eq. 3), token ids for all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from pivot_jax.config import DataSection
from pivot_jax.data.chat_jsonl import read_trajectories, write_trajectories
from pivot_jax.data.rendered import Rendered
from pivot_jax.data.rendering import render
from pivot_jax.data.trunks import Trunk, sharing, trunks
from pivot_jax.data.turns import candidates, split_by_task, turns
from pivot_jax.domains.environment import Reset, demonstrate
from pivot_jax.pipeline.artifacts import write_json
from pivot_jax.pipeline.ledger import Ledger
from pivot_jax.pipeline.recorded import for_candidates, rejected_rows, up_to
from pivot_jax.pipeline.run import Run, complete
from pivot_jax.records import Candidate, Trajectory

TRAIN, HELD_OUT = "trajectories.jsonl", "held_out.jsonl"


@dataclass(frozen=True, eq=False)
class Prepared:
    """One training trajectory: its record, its token ids, its trunks and its candidates (one a turn)."""

    trajectory: Trajectory
    rendered: Rendered
    trunks: tuple[Trunk, ...]
    candidates: tuple[Candidate, ...]


def make_candidates(run: Run, console: Console) -> None:
    """Read or demonstrate the trajectories, split them by task, render them, and write what was found."""
    began = time.monotonic()
    section = run.config.data
    found = for_candidates(section, run.dir) if section.path else demonstrated(section, run.domains)
    training, held_out = split_by_task(found, section.held_out, run.config.run.seed)
    beyond = 0
    if section.longest:
        (training, beyond), (held_out, _) = (_within(group, run) for group in (training, held_out))
    write_trajectories(run.dir / TRAIN, training)
    write_trajectories(run.dir / HELD_OUT, held_out)
    prepared = [prepare(run, trajectory) for trajectory in training]
    counts = {**count(prepared), "held_out_trajectories": len(held_out)}
    if section.longest:
        counts["turns_beyond_longest"] = beyond
    if rejected := rejected_rows(section, run.dir):
        counts["rejected_rows"] = rejected
    write_json(run.dir / "candidates.json", counts)
    table = Table("candidates", "count", title="Trajectories")
    for name, value in counts.items():
        table.add_row(name.replace("_", " "), f"{value:,}")
    console.print(table)
    complete(run, "candidates", counts, Ledger(), began)


def _within(group: list[Trajectory], run: Run) -> tuple[list[Trajectory], int]:
    """The trajectories up to `data.longest` tokens, and how many turns that leaves out."""
    kept = [short for whole in group if (short := up_to(whole, run.tokenizer, run.config.data.longest))]
    left_out = sum(len(turns(whole)) for whole in group) - sum(len(turns(short)) for short in kept)
    return kept, left_out


def demonstrated(section: DataSection, domains: Mapping[str, Reset]) -> Iterator[Trajectory]:
    """Demonstrated episodes: `tasks` seeds a domain, the styles in turn."""
    for domain in section.domains:
        for seed in range(section.first_seed, section.first_seed + section.tasks):
            style = section.styles[seed % len(section.styles)]
            yield demonstrate(domains[domain], domain, seed, style=style, max_turns=section.max_turns)


def load_prepared(run: Run) -> list[Prepared]:
    """The training trajectories that `make_candidates` wrote, rendered."""
    return [prepare(run, trajectory) for trajectory in read_trajectories(run.dir / TRAIN)]


def prepare(run: Run, trajectory: Trajectory) -> Prepared:
    """Render one trajectory and lay out its trunks."""
    rendered = render(trajectory, run.tokenizer)
    return Prepared(trajectory, rendered, trunks(rendered), candidates(trajectory))


def count(prepared: list[Prepared]) -> dict[str, Any]:
    """Counts for the manifest."""
    turns = [candidate.expert for item in prepared for candidate in item.candidates]
    return {
        "trajectories": len(prepared),
        "tasks": len({(item.trajectory.domain, item.trajectory.task_id) for item in prepared}),
        "turns": len(turns),
        "tool_call_turns": sum(bool(action.tool_calls) for action in turns),
        "message_turns": sum(not action.tool_calls for action in turns),
        "tool_calls": sum(len(action.tool_calls) for action in turns),
        "messages": sum(len(item.trajectory.messages) for item in prepared),
        "prefix_preserving": sum(item.rendered.prefix_preserving for item in prepared),
        "action_tokens": sum(len(turn.action_ids) for item in prepared for turn in item.rendered.turns),
        **sharing(trunk for item in prepared for trunk in item.trunks),
    }
