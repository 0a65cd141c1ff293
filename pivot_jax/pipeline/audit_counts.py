"""The audit's counting: facts of trajectories, one after another, to an `Audit`. Pure; keeps counts and hashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from pivot_jax.pipeline.audit_facts import TrajectoryFacts, TurnFacts
from pivot_jax.pipeline.audit_record import (
    Audit,
    Duplicates,
    Failing,
    Labels,
    Leak,
    Leaks,
    Lengths,
    Prefixes,
    Reasoning,
    Repeat,
    SelfScore,
    Side,
    Split,
    Spread,
    ToolUse,
    Turns,
    share,
)

Task = tuple[str, str]
"""(domain, task id)."""


@dataclass(frozen=True)
class _Tally:
    """Counts so far; the only state of the audit."""

    counts: Counter[str] = field(default_factory=Counter)
    state_tokens: Counter[int] = field(default_factory=Counter)
    action_tokens: Counter[int] = field(default_factory=Counter)
    turns: Counter[int] = field(default_factory=Counter)
    calls: Counter[int] = field(default_factory=Counter)
    by_tool: Counter[str] = field(default_factory=Counter)
    not_offered: Counter[str] = field(default_factory=Counter)
    scores: dict[str, Counter[str]] = field(default_factory=dict)
    failing: list[Failing] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)
    first_at: dict[bytes, str] = field(default_factory=dict)
    """State → the first candidate there."""
    first_with: dict[bytes, str] = field(default_factory=dict)
    """State and action → the first candidate with both."""
    equal: list[Repeat] = field(default_factory=list)
    contested: list[Repeat] = field(default_factory=list)
    tasks: set[Task] = field(default_factory=set)


def audit_of(facts: Iterable[TrajectoryFacts], held_out: Iterable[tuple[Task, int]], functional: str) -> Audit:
    """The audit of a run's candidates.

    Args:
        facts: the training trajectories, each read once.
        held_out: task and number of candidates of each held-out trajectory.
        functional: name of the config's functional verifier.

    Raises:
        ValueError: there is no training trajectory.
    """
    tally = _Tally()
    for one in facts:
        _add(tally, one)
    apart = list(held_out)
    counts, total = tally.counts, tally.turns.total()
    return Audit(
        lengths=Lengths(
            state_tokens=Spread.of(tally.state_tokens),
            action_tokens=Spread.of(tally.action_tokens),
            turns=Spread.of(tally.turns),
        ),
        turns=_turns(counts),
        tools=ToolUse(
            calls=tally.by_tool.total(),
            per_turn=Spread.of(tally.calls),
            calling_turns=counts["calling"],
            parallel_turns=counts["parallel"],
            parallel_share=share(counts["parallel"], counts["calling"]),
            by_tool=dict(tally.by_tool.most_common()),
            not_offered=dict(tally.not_offered.most_common()),
            without_tools=counts["without_tools"],
        ),
        prefixes=Prefixes(
            trajectories=total,
            preserving=counts["preserving"],
            preserving_share=share(counts["preserving"], total),
            sequences=counts["sequences"],
            trunks=counts["trunks"],
            state_tokens=counts["state_tokens"],
            computed_tokens=counts["computed_tokens"],
            shared_share=share(counts["state_tokens"] - counts["computed_tokens"], counts["state_tokens"]),
        ),
        reasoning=Reasoning(
            recorded_share=share(counts["recorded"], counts["turns"]),
            **{name: counts[name] for name in ("recorded", "in_action", "followed", "kept", "partly", "stripped")},
        ),
        labels=Labels(
            functional=functional,
            scores={name: SelfScore(**score) for name, score in tally.scores.items()},
            failing=tuple(tally.failing),
        ),
        leaks=Leaks(searched=counts["searched"], too_short=counts["too_short"], found=tuple(tally.leaks)),
        duplicates=Duplicates(
            states=len(tally.first_at), equal=tuple(tally.equal), contested=tuple(tally.contested)
        ),
        split=Split(
            training=Side(tasks=len(tally.tasks), trajectories=total, candidates=counts["turns"]),
            held_out=Side(
                tasks=len({task for task, _ in apart}),
                trajectories=len(apart),
                candidates=sum(candidates for _, candidates in apart),
            ),
            on_both=tuple(sorted("/".join(task) for task in tally.tasks & {task for task, _ in apart})),
        ),
    )  # fmt: skip


def _turns(counts: Counter[str]) -> Turns:
    kinds = {kind: counts[kind] for kind in ("message", "call", "message_and_call", "empty")}
    return Turns(total=counts["turns"], message_share=share(counts["message"], counts["turns"]), **kinds)


def _add(tally: _Tally, trajectory: TrajectoryFacts) -> None:
    tally.tasks.add(trajectory.task)
    tally.turns[len(trajectory.turns)] += 1
    tally.counts.update(trajectory.sharing)
    tally.counts["sequences"] += trajectory.sequences
    tally.counts["preserving"] += trajectory.sequences == 1
    tally.counts["without_tools"] += not trajectory.offered
    for turn in trajectory.turns:
        names = [call.name for call in turn.action.tool_calls]
        tally.state_tokens[turn.state_tokens] += 1
        tally.action_tokens[turn.action_tokens] += 1
        tally.calls[len(names)] += 1
        tally.by_tool.update(names)
        tally.not_offered.update(name for name in names if trajectory.offered and name not in trajectory.offered)
        tally.counts.update(_kinds(turn))
        _add_labels(tally, turn)
        _add_keys(tally, turn)


def _kinds(turn: TurnFacts) -> list[str]:
    """Everything that this turn counts as one of."""
    calls, speaks = len(turn.action.tool_calls), bool(turn.action.content.strip())
    kinds = ["turns", ("message_and_call" if speaks else "call") if calls else "message" if speaks else "empty"]
    kinds += [kind for kind, so in (("calling", calls > 0), ("parallel", calls > 1)) if so]
    if turn.reasoning_recorded:
        kinds.append("recorded")
        if turn.later_states:
            kept = "kept" if turn.shown_in == turn.later_states else "partly" if turn.shown_in else "stripped"
            kinds += ["followed", kept]
    if turn.reasoning_in_action:
        kinds.append("in_action")
    if turn.reasoning_recorded or turn.reasoning_in_action:
        kinds.append("searched" if turn.leak_searched else "too_short")
    return kinds


def _add_labels(tally: _Tally, turn: TurnFacts) -> None:
    for verifier, verdict in turn.verdicts.items():
        judged = verdict.status == "judged"
        outcome = "not_judged" if not judged else "passed" if verdict.reward == 1.0 else "failed"
        tally.scores.setdefault(verifier, Counter())[outcome] += 1
        if outcome != "passed":
            failing = Failing(
                candidate=turn.candidate, verifier=verifier, status=verdict.status, reward=verdict.reward,
                reason=verdict.reason,
            )  # fmt: skip
            tally.failing.append(failing)
    if turn.leak is not None:
        tally.leaks.append(Leak(candidate=turn.candidate, where=turn.leak))


def _add_keys(tally: _Tally, turn: TurnFacts) -> None:
    both = turn.state_key + turn.action_key
    at, equal = tally.first_at.get(turn.state_key), tally.first_with.get(both)
    if equal is not None:
        tally.equal.append(Repeat(candidate=turn.candidate, first=equal))
    elif at is not None:
        tally.contested.append(Repeat(candidate=turn.candidate, first=at))
    tally.first_at.setdefault(turn.state_key, turn.candidate)
    tally.first_with.setdefault(both, turn.candidate)
