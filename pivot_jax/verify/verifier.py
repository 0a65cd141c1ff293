"""What a verifier is, and how a group of sampled actions is judged by several of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pivot_jax.records import Action, Candidate, Verdict


class Unjudgeable(Exception):
    """A verifier cannot say whether the action is acceptable: the fault is the label's or the engine's, not the
    action's. The message says why."""


class Verifier(Protocol):
    """A function from (candidate, action) to a verdict, with the name its rewards are stored under.

    A malformed action scores 0 with its own reason. Raises Unjudgeable where no verdict is possible, and
    TimeoutError where a time limit of its own was passed.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, candidate: Candidate, action: Action) -> Verdict: ...


def judge(verifiers: Sequence[Verifier], candidate: Candidate, actions: Sequence[Action]) -> dict[str, list[Verdict]]:
    """The verdicts of every verifier on every action.

    Args:
        verifiers: verifiers with distinct names.
        candidate: the state and its expert action.
        actions: the actions sampled there; equal ones are judged once.

    Returns:
        For each verifier's name, one verdict an action, in the order of `actions`. Where a verifier could not judge
        (Unjudgeable, TimeoutError) the verdict has the status "error". Every other exception propagates: it is a
        fault of the program, and hiding it would turn a bug into missing data.
    """
    names = [verifier.name for verifier in verifiers]
    if len(set(names)) < len(names):
        raise ValueError(f"verifier names {names} are not distinct: their rewards would be stored in one place")
    identities = [_identity(action) for action in actions]
    distinct = dict(zip(identities, actions, strict=True))
    verdicts: dict[str, list[Verdict]] = {}
    for verifier in verifiers:
        judged = {identity: _verdict(verifier, candidate, action) for identity, action in distinct.items()}
        verdicts[verifier.name] = [judged[identity] for identity in identities]
    return verdicts


def _verdict(verifier: Verifier, candidate: Candidate, action: Action) -> Verdict:
    try:
        return verifier(candidate, action)
    except Unjudgeable as error:
        return Verdict(status="error", reason=str(error))
    except TimeoutError as error:
        return Verdict(status="error", reason=f"time limit: {error}")


def _identity(action: Action) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """What makes two actions the same to every verifier: all but the ids of the calls, which the sampler invents."""
    return action.content, action.malformed, tuple((call.name, call.arguments) for call in action.tool_calls)
