"""The verifiers of a run, and arrays of what they say: every action is scored by all of them, side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pivot_jax.config import ConfigError, VerifierSection
from pivot_jax.config_verifier import JudgeOptions, SqlOptions
from pivot_jax.domains.environment import Reset
from pivot_jax.domains.replay import restore
from pivot_jax.pipeline.profile_store import ERROR, JUDGED
from pivot_jax.pipeline.run import Run
from pivot_jax.records import Action, Candidate
from pivot_jax.rollout.actions import SampledAction
from pivot_jax.verify.exact import Exact
from pivot_jax.verify.execution import ExecutionVerifier
from pivot_jax.verify.judge_endpoint import Endpoint
from pivot_jax.verify.llm_judge import JudgeRules, LlmJudge
from pivot_jax.verify.multi_harness import MultiHarnessMatch, MultiHarnessRules
from pivot_jax.verify.sql import SqlMatch, read_databases
from pivot_jax.verify.swe import SweMatch, SweRules
from pivot_jax.verify.terminal import TerminalMatch, TerminalRules
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


def functional_verifier(
    section: VerifierSection, domains: Mapping[str, Reset], stored_as: str = "functional"
) -> Verifier:
    """The verifier that the config names; its rewards are stored as `stored_as`. `domains` made the tasks."""
    match section.name:
        case "execution":
            return ExecutionVerifier(partial(restore, registry=domains), name=stored_as)
        case "tool_call":
            rules = {"string_threshold": section.string_threshold, **section.tool_call.rules}
            return ToolCallMatch(ToolCallRules(count_calls=section.count_calls, **rules), name=stored_as)
        case "tool_name":
            return ToolName(name=stored_as)
        case "exact":
            return Exact(name=stored_as)
        case "swe":
            return SweMatch(SweRules(count_calls=section.count_calls, **section.swe.rules), name=stored_as)
        case "terminal":
            rules = section.terminal.rules
            fallback = llm_judge(section.judge) if rules.pop("judge") else None
            return TerminalMatch(TerminalRules(**rules), fallback, name=stored_as)
        case "multi_harness":
            return MultiHarnessMatch(MultiHarnessRules(**section.multi_harness.rules), name=stored_as)
        case "sql":
            return SqlMatch(section.sql, sql_databases(section.sql), name=stored_as)
        case "judge":
            return llm_judge(section.judge, stored_as)


def sql_databases(options: SqlOptions) -> dict[str, Path]:
    """The databases of the tasks that the options name; ConfigError if they cannot be read."""
    try:
        return read_databases(Path(options.databases), Path(options.tasks))
    except (OSError, ValueError) as error:
        raise ConfigError(f"verifier.sql: {error}") from error


def llm_judge(options: JudgeOptions, stored_as: str = "judge") -> LlmJudge:
    """The language model that the options name; ConfigError if its key is not in the environment."""
    if options.key_variable and not os.environ.get(options.key_variable):
        raise ConfigError(f"verifier.judge.key_variable: the environment variable {options.key_variable} is not set")
    endpoint = Endpoint(**{name: value for name, value in options.rules.items() if name in Endpoint.model_fields})
    own_cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pivot_jax" / "judge"
    rules = JudgeRules(
        endpoint=endpoint,
        cache=Path(options.cache) if options.cache else own_cache,
        swap=options.swap,
        time_limit=options.time_limit,
        state_characters=options.state_characters,
    )
    return LlmJudge(rules, stored_as)


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
