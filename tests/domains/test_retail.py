"""Retail: episodes, the planner, and what happens when things go wrong."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest

from pivot_jax.domains.environment import Environment, demonstrate
from pivot_jax.domains.retail import TEMPLATES, Knobs, reset
from pivot_jax.records import Action, Message, ToolCall

SEEDS = range(120)


def play(env: Environment, *actions: Action) -> str:
    """Step through actions; the content of the last reply."""
    replies: tuple[Message, ...] = ()
    for action in actions:
        replies = env.step(action)
    return replies[-1].content if replies else ""


def canonical_states(seed: int) -> Iterator[Environment]:
    """The environment before each turn of the canonical path (the same object, stepped on)."""
    env = reset(seed)
    while not env.done:
        yield env
        env.step(env.demonstrations()[0])


def up_to(env: Environment, name: str) -> Environment:
    """Follow the canonical path until the next demonstration is a call of the tool `name`."""
    while not (calls := env.demonstrations()[0].tool_calls) or calls[0].name != name:
        env.step(env.demonstrations()[0])
    return env


@pytest.mark.parametrize("style", range(6))
def test_every_style_solves_every_task_within_twelve_turns(style: int) -> None:
    for seed in SEEDS:
        trajectory = demonstrate(reset, "retail", seed, style=style)
        assert trajectory.reward == 1.0, seed
        assert 5 <= sum(message.role == "assistant" for message in trajectory.messages) <= 12, seed


def test_the_same_seed_gives_the_same_task() -> None:
    for seed in range(40):
        assert demonstrate(reset, "retail", seed, error_rate=0.3, style=1) == demonstrate(
            reset, "retail", seed, error_rate=0.3, style=1
        )
    openings = {reset(seed).opening()[0].content for seed in range(40)}
    assert len(openings) > 5


def test_remaining_falls_by_one_along_the_canonical_path_and_every_demonstration_is_accepted() -> None:
    for seed in SEEDS:
        env, left = reset(seed), reset(seed).remaining()
        for env in canonical_states(seed):
            assert env.remaining() == left
            left -= 1
            for action in env.demonstrations():
                after = env.clone()
                after.step(action)
                assert after.remaining() == left, (seed, action)
        assert env.remaining() == left == 0
        assert env.outcome() == 1.0


def test_mistakes_are_rejected_and_some_of_them_are_fatal() -> None:
    accepted = fatal = total = 0
    for seed in SEEDS:
        for env in canonical_states(seed):
            mistakes = env.mistakes()
            assert 2 <= len(mistakes) <= 5
            for action in mistakes:
                after = env.clone()
                after.step(action)
                total += 1
                accepted += after.remaining() < env.remaining()
                fatal += after.remaining() == math.inf
    assert accepted <= 0.02 * total
    assert 0.1 * total < fatal < 0.5 * total


def test_damage_is_for_ever_and_only_a_finite_path_ends_well() -> None:
    outcomes = []
    for seed in SEEDS:
        env, rng = reset(seed), random.Random(seed)
        while not env.done:
            damaged = env.remaining() == math.inf
            options = env.demonstrations() if rng.random() < 0.9 and not damaged else env.mistakes()
            env.step(rng.choice(options))
            assert not damaged or env.remaining() == math.inf
        assert (env.outcome() == 1.0) == (env.remaining() == 0)
        outcomes.append(env.outcome())
    assert 0.2 < sum(outcomes) / len(outcomes) < 0.9


def test_a_step_on_a_clone_leaves_the_original_alone() -> None:
    for seed in range(60):
        env = reset(seed)
        while not env.done:
            before = (env.store.digest(), env.progress, env.remaining(), env.demonstrations())
            for action in (*env.demonstrations(), *env.mistakes()):
                first, second = env.clone(), env.clone()
                assert first.step(action) == second.step(action)
                assert first.store.digest() == second.store.digest()
            assert (env.store.digest(), env.progress, env.remaining(), env.demonstrations()) == before
            env.step(env.demonstrations()[0])


def test_templates_can_be_held_out() -> None:
    for template in TEMPLATES:
        knobs = Knobs(templates=(template,), absent=0.0)
        for seed in range(8):
            env = reset(seed, knobs)
            assert env.goal.template == template
            assert env.remaining() <= 12
    with pytest.raises(ValueError, match="unknown retail templates"):
        Knobs(templates=("refund",))
    with pytest.raises(ValueError, match="no retail template"):
        Knobs(templates=("cancel",), intents=(2, 3))


def test_knobs_set_the_length() -> None:
    plain = Knobs(intents=(1, 1), boilerplate=0.0, absent=0.0, named=0.0)
    rich = Knobs(intents=(2, 3), boilerplate=1.0, longest=16)
    short, long = ([reset(seed, knobs).remaining() for seed in range(100)] for knobs in (plain, rich))
    assert max(short) <= 10 and max(long) > 12
    assert sum(short) + 300 < sum(long)


def test_fewest_turns_of_a_cancellation_by_hand() -> None:
    # Ask who, look up, ask which, read, ask why, confirm, cancel, tell, close.
    env = reset(0, Knobs(templates=("cancel",), boilerplate=0.0, absent=0.0, named=0.0))
    assert env.remaining() == 9


def test_the_absent_question_is_answered_by_the_written_policy_alone() -> None:
    env = reset(0, Knobs(templates=("status",), absent=1.0, boilerplate=0.0))
    while env.goal.intents[-1].followup not in play(env, env.demonstrations()[0]):
        pass
    notice = env.opening()[0].content.rpartition("the new shop is at ")[2].rstrip(".")
    accepted = env.clone()
    accepted.step(Action.say(f"the shop is {notice}"))
    assert accepted.remaining() == env.remaining() - 1
    assert env.opening()[0].content.splitlines()[0] == "retail"


def test_the_customer_withholds_what_is_not_asked() -> None:
    for seed in range(60):
        knobs = Knobs(templates=("cancel", "return", "exchange"), boilerplate=0.0, absent=0.0)
        env = reset(seed, knobs)
        secrets = {env.goal.customer.email, env.goal.customer.name, env.goal.customer.postcode}
        secrets |= {word for ask in env.goal.intents[0].asks.values() for word in ask.reply.split()} - {"it", "is"}
        secrets -= {"for", "and", "the", "order"}
        heard = env.opening()[1].content + " " + play(env, Action.say("can i help you"))
        assert not secrets & set(heard.split())
        assert env.goal.customer.email in play(env, Action.say("what is your e-mail"))


def test_useless_turns_exhaust_the_customer() -> None:
    env = reset(5)
    for turn in range(4):
        assert not env.done, turn
        env.step(Action.say("banana"))
    assert env.done and env.outcome() == 0.0 and env.remaining() == math.inf
    assert env.step(Action.say("goodbye")) == ()


def test_useless_turns_short_of_that_cost_nothing_else() -> None:
    env = reset(5)
    left = env.remaining()
    for text in ("banana", "", "anything else"):
        assert play(env, Action.say(text)) == "i do not understand"
    assert env.remaining() == left
    while not env.done:
        env.step(env.demonstrations()[0])
    assert env.outcome() == 1.0


@pytest.mark.parametrize("content", ["goodbye", "sorry can not", "o3 is cancelled"])
def test_before_identity_nothing_is_settled(content: str) -> None:
    env = reset(0, Knobs(templates=("cancel",), boilerplate=0.0))
    reply = play(env, Action.say(content))
    if content == "goodbye":
        assert env.done and env.outcome() == 0.0 and env.remaining() == math.inf
    else:
        assert reply == "please check first" and env.remaining() < math.inf


def test_writing_without_confirmation_is_fatal_though_the_rows_are_right() -> None:
    for name, template in (("cancel_order", "cancel"), ("return_items", "return"), ("exchange_item", "exchange")):
        env = up_to(reset(1, Knobs(templates=(template,), absent=0.0)), name)
        write = env.demonstrations()[0]
        early = reset(1, Knobs(templates=(template,), absent=0.0))
        while early.clone().remaining() > env.remaining() + 1:
            early.step(early.demonstrations()[0])
        early.step(write)
        env.step(write)
        assert early.store.digest() == env.store.digest()
        assert early.remaining() == math.inf and env.remaining() < math.inf


def test_refusing_what_is_allowed_and_lying_about_a_write_are_fatal() -> None:
    knobs = Knobs(templates=("cancel",), absent=0.0)
    for seed in range(20):
        env = up_to(reset(seed, knobs), "cancel_order")
        refused, lied = env.clone(), env.clone()
        refused.step(Action.say("sorry can not cancel"))
        lied.step(Action.say(env.goal.intents[0].statements[0]))
        assert refused.remaining() == lied.remaining() == math.inf


def test_false_answers_are_fatal_and_answers_without_reading_are_not_believed() -> None:
    env = reset(2, Knobs(templates=("status",), boilerplate=0.0, absent=0.0, named=0.0))
    truth = env.goal.intents[0].statements[0]
    while env.demonstrations()[0].content != truth:
        early = env.clone()
        assert play(early, Action.say(truth)) == "please check first"
        assert early.remaining() == env.remaining()
        env.step(env.demonstrations()[0])
    env.step(Action.say(env.goal.intents[0].falsehoods[0]))
    assert env.remaining() == math.inf


def test_swapping_two_statuses_is_false_and_either_order_is_right() -> None:
    for seed in range(20):
        env = reset(seed, Knobs(templates=("both_statuses",), boilerplate=0.0, absent=0.0))
        intent = env.goal.intents[0]
        while env.demonstrations()[0].content != intent.statements[0]:
            env.step(env.demonstrations()[-1])
        for text, left in ((intent.statements[1], 1.0), (intent.falsehoods[0], math.inf)):
            after = env.clone()
            after.step(Action.say(text))
            assert after.remaining() == left


def test_several_calls_and_malformed_actions_do_nothing() -> None:
    env = up_to(reset(1, Knobs(templates=("cancel",), absent=0.0)), "cancel_order")
    call = env.demonstrations()[0].tool_calls[0]
    twice = Action(tool_calls=(call, ToolCall(name="read_user", arguments="{}", id="b")))
    before = (env.store.digest(), env.remaining())
    replies = env.step(twice)
    assert [message.is_error for message in replies] == [True, True]
    assert [message.tool_call_id for message in replies] == ["", "b"]
    assert play(env, Action(malformed="no closing tag")) == "i do not understand"
    assert (env.store.digest(), env.remaining()) == before
