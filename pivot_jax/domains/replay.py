"""Restoring the state of a candidate by replaying its recorded actions in a fresh environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pivot_jax.domains.environment import Environment, Reset
from pivot_jax.records import Action, Candidate, Message
from pivot_jax.verify.verifier import Unjudgeable


def restore(candidate: Candidate, registry: Mapping[str, Reset]) -> Environment:
    """The environment as it stood when the expert acted.

    Args:
        candidate: a turn of a recorded episode; its task id is `f"{domain}/{seed}"`.
        registry: domains by name, with the knobs of the recorded tasks.

    Raises:
        Unjudgeable: the domain or the seed is unknown, or the environment answers otherwise than was recorded; the
            first message that differs is named.
    """
    env = _fresh(candidate, registry)
    position = _agreed(candidate, 0, env.opening())
    while position < len(candidate.state):
        message = candidate.state[position]
        if message.role != "assistant":
            raise Unjudgeable(f"{candidate.id}: message {position} ({message.role}) does not occur in the replay")
        position = _agreed(candidate, position + 1, env.step(Action.of(message)))
    return env


def _fresh(candidate: Candidate, registry: Mapping[str, Reset]) -> Environment:
    domain, _, seed = candidate.task_id.rpartition("/")
    if domain != candidate.domain or domain not in registry:
        raise Unjudgeable(
            f"{candidate.id}: task {candidate.task_id!r} of domain {candidate.domain!r} is not of the domains"
            f" {sorted(registry)}"
        )
    if not seed.isascii() or not seed.isdigit():
        raise Unjudgeable(f"{candidate.id}: task {candidate.task_id!r} does not end in a seed")
    return registry[domain](int(seed))


def _agreed(candidate: Candidate, position: int, replayed: Sequence[Message]) -> int:
    """The position after the replayed messages, all of which were recorded from `position` on."""
    recorded = candidate.state[position : position + len(replayed)]
    for index, message in enumerate(replayed):
        if index == len(recorded):
            raise Unjudgeable(f"{candidate.id}: the record ends before message {position + index} of the replay")
        # Role and content are what the policy read; ids of calls and error flags do not survive every file format.
        if (recorded[index].role, recorded[index].content) != (message.role, message.content):
            raise Unjudgeable(f"{candidate.id}: message {position + index} differs between the record and the replay")
    return position + len(replayed)
