"""An audit on the console: counts, then what a person should look at."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pivot_jax.pipeline.audit_record import Audit, Spread

LISTED = 12
"""Most findings of a kind on the console; all of them are in audit.json."""


def print_audit(audit: Audit, console: Console) -> None:
    """Print every part of an audit; lists are cut short."""
    console.print(_spreads(audit))
    console.print(_counts(audit))
    console.print(_tools(audit))
    console.print(_labels(audit))
    console.print(_split(audit))
    failing = [(f"{one.candidate} ({one.verifier})", _why(one.status, one.reason)) for one in audit.labels.failing]
    _list(console, "Labels that do not score 1 against themselves", failing)
    _list(console, "Reasoning of a turn in its own state", [(one.candidate, one.where) for one in audit.leaks.found])
    equal = [(one.candidate, f"equals {one.first}") for one in audit.duplicates.equal]
    _list(console, "Equal states and actions", equal)
    contested = [(one.candidate, f"the state of {one.first}") for one in audit.duplicates.contested]
    _list(console, "Equal states, different actions", contested)
    _list(console, "Tasks on both sides of the split", [(task, "") for task in audit.split.on_both])


def _spreads(audit: Audit) -> Table:
    table = Table("", "mean", "median", "p95", "max", title="Lengths")
    rows: dict[str, Spread] = {
        "state tokens a turn": audit.lengths.state_tokens,
        "action tokens a turn": audit.lengths.action_tokens,
        "turns a trajectory": audit.lengths.turns,
        "calls a turn": audit.tools.per_turn,
    }
    for name, spread in rows.items():
        table.add_row(name, f"{spread.mean:,.1f}", f"{spread.median:,}", f"{spread.p95:,}", f"{spread.max:,}")
    return table


def _counts(audit: Audit) -> Table:
    turns, tools, prefixes, reasoning = audit.turns, audit.tools, audit.prefixes, audit.reasoning
    table = Table("", "count", "share", title="Training candidates")
    table.add_row("turns", f"{turns.total:,}", "")
    table.add_row("  message rows (speak, call nothing)", f"{turns.message:,}", _percent(turns.message_share))
    table.add_row("  call and say nothing", f"{turns.call:,}", "")
    table.add_row("  call and speak", f"{turns.message_and_call:,}", "")
    table.add_row("  neither", f"{turns.empty:,}", "")
    table.add_row(
        "turns with parallel calls", f"{tools.parallel_turns:,}", f"{_percent(tools.parallel_share)} of calling"
    )
    table.add_section()
    table.add_row("trajectories", f"{prefixes.trajectories:,}", "")
    table.add_row("  prefix preserving", f"{prefixes.preserving:,}", _percent(prefixes.preserving_share))
    table.add_row("sequences", f"{prefixes.sequences:,}", "")
    table.add_row("trunks", f"{prefixes.trunks:,}", "")
    table.add_row("state tokens", f"{prefixes.state_tokens:,}", "")
    table.add_row("  computed once trunks are shared", f"{prefixes.computed_tokens:,}", "")
    table.add_row("  shared", f"{prefixes.state_tokens - prefixes.computed_tokens:,}", _percent(prefixes.shared_share))
    table.add_section()
    table.add_row("turns with reasoning", f"{reasoning.recorded:,}", _percent(reasoning.recorded_share))
    table.add_row("  rendered in their action", f"{reasoning.in_action:,}", "")
    table.add_row("  in every later state", f"{reasoning.kept:,}", f"of {reasoning.followed:,} that are followed")
    table.add_row("  in some later states", f"{reasoning.partly:,}", "")
    table.add_row("  in no later state", f"{reasoning.stripped:,}", "")
    table.add_section()
    table.add_row("distinct states", f"{audit.duplicates.states:,}", "")
    table.add_row("equal states and actions", f"{len(audit.duplicates.equal):,}", "")
    table.add_row("equal states, different actions", f"{len(audit.duplicates.contested):,}", "")
    table.add_row("reasoning in its own state", f"{len(audit.leaks.found):,}", f"of {audit.leaks.searched:,} searched")
    return table


def _tools(audit: Audit) -> Table:
    table = Table("tool", "calls", "share", "note", title="Tools")
    for name, calls in list(audit.tools.by_tool.items())[:LISTED]:
        missing = audit.tools.not_offered.get(name, 0)
        table.add_row(
            Text(name), f"{calls:,}", _percent(calls / audit.tools.calls), f"{missing:,} not offered" if missing else ""
        )
    if len(audit.tools.by_tool) > LISTED:
        table.add_row(f"{len(audit.tools.by_tool) - LISTED} more", "", "", "")
    return table


def _labels(audit: Audit) -> Table:
    table = Table("verifier", "scores 1", "scores less", "not judged", title="Labels against themselves")
    for name, score in audit.labels.scores.items():
        shown = f"functional ({audit.labels.functional})" if name == "functional" else name
        table.add_row(shown, f"{score.passed:,}", f"{score.failed:,}", f"{score.not_judged:,}")
    return table


def _split(audit: Audit) -> Table:
    table = Table("side", "tasks", "trajectories", "candidates", title="Split by task")
    for name, side in (("training", audit.split.training), ("held out", audit.split.held_out)):
        table.add_row(name, f"{side.tasks:,}", f"{side.trajectories:,}", f"{side.candidates:,}")
    table.add_row("on both", f"{len(audit.split.on_both):,}", "", "")
    return table


def _list(console: Console, title: str, findings: Sequence[tuple[str, str]]) -> None:
    if not findings:
        return
    console.print(f"\n{title}: {len(findings):,}")  # no title of the table: that would break at its width
    table = Table(show_header=False)
    for name, said in findings[:LISTED]:
        table.add_row(Text(name), Text(said))  # Text: a reason may hold brackets, which are markup in plain strings
    if len(findings) > LISTED:
        table.add_row(f"{len(findings) - LISTED:,} more", "in audit.json")
    console.print(table)


def _why(status: str, reason: str) -> str:
    return reason if status == "judged" else f"not judged: {reason}"


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{part:.1%}"
