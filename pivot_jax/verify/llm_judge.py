"""A language model as a verifier: are the sampled and the expert's action equivalent at this state?

It reads; it never carries out an action.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from pivot_jax.records import Action, Candidate, Record, Verdict
from pivot_jax.verify.exact import Exact
from pivot_jax.verify.judge_cache import JudgeCache
from pivot_jax.verify.judge_endpoint import Endpoint, ask, request_body
from pivot_jax.verify.judge_prompt import AnswerError, question, read_equivalent
from pivot_jax.verify.verifier import Unjudgeable


class JudgeRules(Record):
    """How the judge is asked.

    endpoint: where it is.
    cache: folder of kept verdicts; None keeps them in memory only.
    swap: ask a second time with the actions swapped; two verdicts that differ are none.
    time_limit: seconds for one verdict, all questions and attempts together.
    state_characters: of the state, at most, that the judge is shown (the task is always shown).
    """

    endpoint: Endpoint
    cache: Path | None = None
    swap: bool = True
    time_limit: float = Field(default=180.0, gt=0)
    state_characters: int = Field(default=12_000, ge=0)


@dataclass(frozen=True)
class LlmJudge:
    """1 if the judge finds the action equivalent to the expert's.

    The expert's own action is accepted without a question. Components: `judge`, the verdict where one was asked for.
    Threads may share a judge.
    """

    rules: JudgeRules
    name: str = "judge"
    _cache: JudgeCache = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_cache", JudgeCache(self.rules.cache))

    def __call__(self, candidate: Candidate, action: Action) -> Verdict:
        """The verdict; raises Unjudgeable if the label does not parse, the judge cannot be asked, its answer is no
        verdict or depends on the order of the actions, and TimeoutError past the time limit."""
        if action.malformed:
            return Verdict(reason=action.malformed)
        if Exact()(candidate, action).reward == 1:
            return Verdict(reward=1.0)
        deadline = time.monotonic() + self.rules.time_limit
        equivalent = self._equivalent(candidate, candidate.expert, action, deadline)
        if self.rules.swap and self._equivalent(candidate, action, candidate.expert, deadline) != equivalent:
            raise Unjudgeable("judge: the verdict depends on the order of the actions")
        reason = "" if equivalent else "judge_not_equivalent: not the same effect"
        return Verdict(reward=float(equivalent), components={"judge": float(equivalent)}, reason=reason)

    def _equivalent(self, candidate: Candidate, first: Action, second: Action, deadline: float) -> bool:
        endpoint = self.rules.endpoint
        body = request_body(endpoint, question(candidate, first, second, self.rules.state_characters))

        def answer() -> bool:
            try:
                return read_equivalent(ask(endpoint, body, deadline))
            except AnswerError as error:
                raise Unjudgeable(f"judge: {error}") from error

        return self._cache.get({"base_url": endpoint.base_url, **body}, answer)
