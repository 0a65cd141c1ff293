"""The verifiers of a run, and arrays of what they say: every action is scored by all of them, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pivot_jax.config import VerifierSection
from pivot_jax.domains.environment import Reset
from pivot_jax.domains.replay import restore
from pivot_jax.pipeline.profile_store import ERROR, JUDGED
from pivot_jax.pipeline.run import Run
from pivot_jax.records import Action, Candidate
from pivot_jax.rollout.actions import SampledAction
from pivot_jax.verify.exact import Exact
from pivot_jax.verify.execution import ExecutionVerifier
from pivot_jax.verify.tool_call import ToolCallMatch, ToolCallRules
from pivot_jax.verify.tool_name import ToolName
from pivot_jax.verify.verifier import Verifier, judge

REWARDS = ("functional", "tool_name", "exact")
"""Names that rewards are stored under."""


@dataclass(frozen=True, eq=False)
class Scores:
    """One reward's values for a group: `rewards` float32 and `status` int8 (JUDGED or ERROR), each `[K]`."""

    rewards: NDArray[np.float32]
    status: NDArray[np.int8]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """False where the action could not be judged: it is excluded, not scored 0."""
        return self.status == JUDGED


def functional_verifier(section: VerifierSection, domains: Mapping[str, Reset]) -> Verifier:
    """The verifier that the config names; its rewards are stored as `functional`. `domains` made the tasks."""
    match section.name:
        case "execution":
            return ExecutionVerifier(partial(restore, registry=domains), name="functional")
        case "tool_call":
            rules = ToolCallRules(string_threshold=section.string_threshold, count_calls=section.count_calls)
            return ToolCallMatch(rules, name="functional")
        case "tool_name":
            return ToolName(name="functional")
        case "exact":
            return Exact(name="functional")


def verifiers(section: VerifierSection, domains: Mapping[str, Reset]) -> tuple[Verifier, ...]:
    """The functional verifier, and the two coarse and strict ones of the paper."""
    return (functional_verifier(section, domains), ToolName(), Exact())


def score_sampled(
    run: Run, judges: Sequence[Verifier], candidate: Candidate, sampled: Sequence[SampledAction]
) -> dict[str, Scores]:
    """`score` of a group as the policy wrote it."""
    actions = [action.read(run.tokenizer, candidate.tools, run.config.data.action_format) for action in sampled]
    return score(judges, candidate, actions)


def score(judges: Sequence[Verifier], candidate: Candidate, actions: Sequence[Action]) -> dict[str, Scores]:
    """Scores of a group of actions under every verifier, by name."""
    verdicts = judge(judges, candidate, actions)
    return {
        name: Scores(
            rewards=np.array([verdict.reward for verdict in group], np.float32),
            status=np.array([JUDGED if verdict.status == "judged" else ERROR for verdict in group], np.int8),
        )
        for name, group in verdicts.items()
    }
