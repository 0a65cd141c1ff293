"""Tables of the audit of verifiers."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pivot_jax.pipeline.verifier_audit import Audit

LONGEST_CELL = 120


def print_audit(found: Audit, console: Console) -> None:
    """Everything in an audit, as tables."""
    console.print(f"{found.candidates:,} candidates, {found.actions:,} stored actions")
    for table in tables(found):
        console.print(table)


def tables(found: Audit) -> Iterator[Table]:
    """Verifiers, agreement by pair, the pivots of each reward, and examples of disagreement."""
    table = Table("verifier", "judged", "errors", "mean reward", title="Verifiers")
    for one in found.verifiers:
        table.add_row(one.verifier, f"{one.judged:,}", f"{one.errors:,}", _number(one.mean_reward, ".3f"))
    yield table
    table = Table("A", "B", "judged by both", "equal reward", "both accept", "only A", "only B", "neither")
    table.title = "Agreement (accepted: reward > 0)"
    for pair in found.agreements:
        cells = (pair.both_accept, pair.only_first, pair.only_second, pair.neither)
        table.add_row(
            pair.first, pair.second, f"{pair.judged:,}", _number(pair.equal, ".1%"), *(f"{cell:,}" for cell in cells)
        )
    yield table
    table = Table("reward", "pivots", "kept", "lost", "gained", "Jaccard")
    table.title = f"Pivots if the reward were another than {found.selected_by!r} (threshold {found.threshold:g})"
    for switch in found.switches:
        counts = (switch.pivots, switch.kept, switch.lost, switch.gained)
        table.add_row(switch.reward, *(f"{count:,}" for count in counts), f"{switch.jaccard:.2f}")
    yield table
    table = Table("A", "B", "rewards", "candidate", "expert", "sampled", title="Disagreements", show_lines=True)
    for example in found.disagreements:
        rewards = " / ".join(f"{reward:g}" for reward in example.rewards)
        # Text: what a policy wrote may look like rich's markup
        texts = (Text(text[:LONGEST_CELL]) for text in (example.candidate, example.expert, example.sampled))
        table.add_row(example.first, example.second, rewards, *texts)
    yield table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
