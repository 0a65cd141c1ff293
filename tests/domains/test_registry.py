"""Domains by name with knobs from a config: what they change, and one message for every fault."""

from __future__ import annotations

import pytest

from pivot_jax.domains.environment import demonstrate
from pivot_jax.domains.registry import DOMAINS, KNOWN, domains


def test_without_knobs_every_domain_is_its_own_reset():
    for name, domain in KNOWN.items():
        opening = DOMAINS[name](3).opening()
        assert opening == domain.reset(3).opening() == domains({name: {}})[name](3).opening()


def test_knobs_change_the_tasks_of_their_domain_alone():
    # TOML has lists where the dataclass has tuples
    known = domains({"terminal": {"sub_goals": [3, 3], "distractors": 0}})
    wanted = [
        KNOWN["terminal"].reset(seed, KNOWN["terminal"].knobs(sub_goals=(3, 3), distractors=0)) for seed in range(9)
    ]
    assert [known["terminal"](seed).opening() for seed in range(9)] == [env.opening() for env in wanted]
    assert any(known["terminal"](seed).opening() != DOMAINS["terminal"](seed).opening() for seed in range(9))
    assert known["retail"](3).opening() == DOMAINS["retail"](3).opening()


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"retal": {}}, r"data\.knobs\.retal: unknown domain; one of .*retail, terminal"),
        ({"retail": {"intent": 1}}, r"data\.knobs\.retail\.intent: unknown knob; one of intents, boilerplate"),
        ({"retail": {"users": "many"}}, r"data\.knobs\.retail\.users: .* \(got 'many'\)"),
        ({"retail": {"absent": 2}}, r"data\.knobs\.retail: shares must be within 0 and 1"),
        ({"terminal": {"distractors": 99}}, r"data\.knobs\.terminal: distractors=99 is not between"),
    ],
)
def test_faults_name_the_path_and_what_is_allowed(knobs, message):
    with pytest.raises(ValueError, match=message):
        domains(knobs)


def test_a_demonstration_is_cut_after_max_turns():
    whole, cut = (demonstrate(DOMAINS["retail"], "retail", 5, max_turns=most) for most in (24, 3))
    assert whole.reward == 1.0 and cut.reward == 0.0
    assert sum(message.role == "assistant" for message in cut.messages) == 3
    assert cut.messages == whole.messages[: len(cut.messages)]
