"""The verifiers of a run: execution replays a candidate in its domains, and options of the config are their rules."""

from __future__ import annotations

from pivot_jax.config import DataSection, VerifierSection
from pivot_jax.config_verifier import JudgeOptions, MultiHarnessOptions, SweOptions, TerminalOptions, ToolCallOptions
from pivot_jax.data.turns import candidates
from pivot_jax.domains.registry import DOMAINS, domains
from pivot_jax.pipeline.candidates import demonstrated
from pivot_jax.pipeline.profile_store import ERROR, JUDGED
from pivot_jax.pipeline.scoring import score, verifiers
from pivot_jax.verify.judge_endpoint import Endpoint
from pivot_jax.verify.llm_judge import JudgeRules
from pivot_jax.verify.multi_harness import MultiHarnessRules
from pivot_jax.verify.swe import SweRules
from pivot_jax.verify.terminal import TerminalRules
from pivot_jax.verify.tool_call import ToolCallRules


def test_the_expert_action_is_accepted_with_the_runs_knobs_and_unjudged_with_others():
    section = DataSection(domains=("terminal",), tasks=3, knobs={"terminal": {"sub_goals": [3, 3], "distractors": 0}})
    known = domains(section.knobs)
    turns = [turn for trajectory in demonstrated(section, known) for turn in candidates(trajectory)]
    assert len(turns) > 6
    right, wrong = verifiers(VerifierSection(), known), verifiers(VerifierSection(), DOMAINS)
    for turn in turns:
        own, other = (score(judges, turn, [turn.expert])["functional"] for judges in (right, wrong))
        assert (own.status.tolist(), own.rewards.tolist()) == ([JUDGED], [1.0])
        assert other.status.tolist() == [ERROR]


def test_options_of_a_config_are_the_rules_of_the_verifiers():
    """Same names, same defaults: two lists of one thing that must not drift apart."""
    pairs = [
        (ToolCallOptions(), ToolCallRules(), {"string_threshold", "count_calls"}),
        (SweOptions(), SweRules(), {"count_calls"}),
        (TerminalOptions(), TerminalRules(), {"judge"}),
        (MultiHarnessOptions(), MultiHarnessRules(), set()),
    ]
    for options, rules, elsewhere in pairs:
        own, theirs = options.rules, rules.model_dump()
        assert {name: own[name] for name in own if name not in elsewhere} == {
            name: theirs[name] for name in theirs if name not in elsewhere
        }
    section = VerifierSection()
    assert (
        section.string_threshold == ToolCallRules().string_threshold and section.count_calls == SweRules().count_calls
    )
    endpoint = Endpoint(base_url="http://x", model="m")
    judge = {**endpoint.model_dump(), **JudgeRules(endpoint=endpoint).model_dump()}
    options = JudgeOptions(base_url="http://x", model="m").rules
    assert {name: value for name, value in options.items() if name not in ("cache", "concurrency")} == {
        name: judge[name] for name in judge if name not in ("cache", "endpoint")
    }
