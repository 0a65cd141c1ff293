"""The execution verifier replays a candidate in the domains of its run, knobs included."""

from __future__ import annotations

from pivot_jax.config import DataSection, VerifierSection
from pivot_jax.data.turns import candidates
from pivot_jax.domains.registry import DOMAINS, domains
from pivot_jax.pipeline.candidates import source
from pivot_jax.pipeline.profile_store import ERROR, JUDGED
from pivot_jax.pipeline.scoring import score, verifiers


def test_the_expert_action_is_accepted_with_the_runs_knobs_and_unjudged_with_others():
    section = DataSection(domains=("terminal",), tasks=3, knobs={"terminal": {"sub_goals": [3, 3], "distractors": 0}})
    known = domains(section.knobs)
    turns = [turn for trajectory in source(section, known) for turn in candidates(trajectory)]
    assert len(turns) > 6
    right, wrong = verifiers(VerifierSection(), known), verifiers(VerifierSection(), DOMAINS)
    for turn in turns:
        own, other = (score(judges, turn, [turn.expert])["functional"] for judges in (right, wrong))
        assert (own.status.tolist(), own.rewards.tolist()) == ([JUDGED], [1.0])
        assert other.status.tolist() == [ERROR]
