"""What the audit reads off one trajectory: small facts, after which the trajectory can be dropped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from pivot_jax.data.chat_template import template_messages, template_tools
from pivot_jax.data.parsing import ActionFormat, read_ids
from pivot_jax.data.rendered import RenderedTurn, TokenIds
from pivot_jax.data.trunks import sharing
from pivot_jax.data.turn_texts import turn_texts
from pivot_jax.data.turns import turns
from pivot_jax.pipeline.candidates import Prepared
from pivot_jax.records import Action, Candidate, Message, Trajectory, Verdict
from pivot_jax.verify.verifier import Verifier, judge

SHORTEST_LEAK = 24
"""Characters below which a reasoning may stand in its state by chance."""


@dataclass(frozen=True)
class TurnFacts:
    """One candidate. `later_states` follow a turn with reasoning, and `shown_in` of them show it (else both are 0).
    `leak` says where the turn's own reasoning stands in its state; None where it does not, or was not searched for."""

    candidate: str
    action: Action
    state_tokens: int
    action_tokens: int
    state_key: bytes
    action_key: bytes
    reasoning_recorded: bool
    reasoning_in_action: bool
    later_states: int
    shown_in: int
    leak_searched: bool
    leak: str | None
    verdicts: Mapping[str, Verdict]


@dataclass(frozen=True)
class TrajectoryFacts:
    """One trajectory of the training side. `sharing` holds trunks, state tokens and computed tokens."""

    task: tuple[str, str]
    turns: tuple[TurnFacts, ...]
    offered: frozenset[str]
    sequences: int
    sharing: Mapping[str, int]


def facts_of(
    prepared: Prepared, tokenizer: PreTrainedTokenizerBase, action_format: ActionFormat, verifiers: Sequence[Verifier]
) -> TrajectoryFacts:
    """Measure one trajectory.

    Args:
        prepared: with its token ids and trunks.
        tokenizer: that made them.
        action_format: how its template writes calls.
        verifiers: what each label is scored by, against itself.
    """
    trajectory = prepared.trajectory
    shown = reasoning_shown(trajectory, tokenizer)
    measured: list[TurnFacts] = []
    for candidate, turn in zip(prepared.candidates, prepared.rendered.turns, strict=True):
        completion = read_ids(_as_sampled(turn, tokenizer), tokenizer, candidate.tools, action_format)
        recorded = trajectory.messages[candidate.turn.position].reasoning
        thought = " ".join((recorded or completion.reasoning).split())
        states = shown.get(turn.index, ())
        long_enough = len(thought) >= SHORTEST_LEAK
        measured.append(
            TurnFacts(
                candidate=candidate.id,
                action=candidate.expert,
                state_tokens=len(turn.state_ids),
                action_tokens=len(turn.action_ids),
                state_key=_key(turn.state_ids),
                action_key=_key(turn.action_ids),
                reasoning_recorded=bool(recorded),
                reasoning_in_action=bool(completion.reasoning),
                later_states=len(states),
                shown_in=sum(states),
                leak_searched=long_enough,
                leak=leak(candidate, str(tokenizer.decode(turn.state_ids)), thought) if long_enough else None,
                verdicts={name: one for name, [one] in judge(verifiers, candidate, [completion.action]).items()},
            )
        )
    return TrajectoryFacts(
        task=(trajectory.domain, trajectory.task_id),
        turns=tuple(measured),
        offered=frozenset(tool.name for tool in trajectory.tools),
        sequences=len(prepared.rendered.sequences()),
        sharing=sharing(prepared.trunks),
    )


def reasoning_shown(trajectory: Trajectory, tokenizer: PreTrainedTokenizerBase) -> dict[int, tuple[bool, ...]]:
    """For each turn with reasoning, whether each later state shows it.

    The trajectory is rendered with a mark in place of each reasoning, since the words of a reasoning may also occur
    elsewhere. No tokenizer is needed for that: whether the template shows it is seen in the text.
    """
    every = turns(trajectory)
    marks = {turn.index: _mark(turn.trajectory_id, turn.index) for turn in every if _thought(trajectory, turn.position)}
    if not marks:
        return {}
    messages: list[Message] = list(trajectory.messages)
    for turn in every:
        if turn.index in marks:
            marked = {"reasoning": marks[turn.index]}
            messages[turn.position] = messages[turn.position].model_copy(update=marked)
    positions = [turn.position for turn in every]
    states, _ = turn_texts(tokenizer, template_messages(messages), template_tools(trajectory.tools), positions)
    return {index: tuple(mark in state for state in states[index + 1 :]) for index, mark in marks.items()}


def leak(candidate: Candidate, state: str, thought: str) -> str | None:
    """Where a reasoning stands in its own state, white space aside; None if it does not.

    Args:
        candidate: names the message that holds it.
        state: the state's text, as the policy reads it.
        thought: the reasoning, its words separated by single spaces.
    """
    if thought not in " ".join(state.split()):
        return None
    for position, message in enumerate(candidate.state):
        parts = {"content": message.content, "reasoning": message.reasoning}
        parts["calls"] = " ".join(call.arguments for call in message.tool_calls)
        for part, text in parts.items():
            if thought in " ".join(text.split()):
                return f"message {position} ({message.role}), {part}"
    return "no single message: the rendering"


def _as_sampled(turn: RenderedTurn, tokenizer: PreTrainedTokenizerBase) -> TokenIds:
    """The action up to its first end-of-turn token, where sampling would have stopped."""
    ends = (turn.action_ids == tokenizer.eos_token_id).nonzero()[0]
    return turn.action_ids[: ends[0] + 1] if len(ends) else turn.action_ids


def _thought(trajectory: Trajectory, position: int) -> str:
    return trajectory.messages[position].reasoning


def _mark(trajectory_id: str, index: int) -> str:
    return "reasoning-" + hashlib.blake2b(f"{trajectory_id}#{index}".encode(), digest_size=16).hexdigest()


def _key(ids: TokenIds) -> bytes:
    return hashlib.blake2b(ids.tobytes(), digest_size=16).digest()
