"""The coding environment: tasks, demonstrations, progress, damage."""

from __future__ import annotations

import random

import pytest

from pivot_jax.domains.coding import TEMPLATES, Knobs, reset
from pivot_jax.domains.coding.progress import PATIENCE, is_right
from pivot_jax.domains.environment import demonstrate
from pivot_jax.domains.replay import restore
from pivot_jax.records import Action, Candidate, Turn
from pivot_jax.verify.execution import ExecutionVerifier
from tests.domains.coding_cases import CHECK, INF, LIST, SUBMIT, TEST, UNDO, accepted, edit, fix, play, single, view

STYLES = 4


def test_equal_seeds_give_equal_tasks_and_messages() -> None:
    for seed in range(30):
        assert reset(seed).task == reset(seed).task
        assert demonstrate(reset, "coding", seed) == demonstrate(reset, "coding", seed)
    assert len({(reset(seed).task.request, str(reset(seed).task.functions)) for seed in range(200)}) > 195


def test_the_system_message_begins_with_the_domain_and_the_request_comes_second() -> None:
    system, user = reset(0).opening()
    assert (system.role, user.role) == ("system", "user")
    assert system.content.split("\n")[0].split()[0] == "coding"
    assert user.content == reset(0).task.request


@pytest.mark.parametrize("style", range(STYLES))
def test_every_style_solves_every_task_in_the_fewest_turns(style: int) -> None:
    for seed in range(200):
        env = reset(seed)
        turns = 0
        planned = env.remaining()
        while not env.done:
            demonstrations = env.demonstrations()
            env.step(demonstrations[style % len(demonstrations)])
            turns += 1
        assert env.outcome() == 1.0, seed
        assert turns == planned and 5 <= turns <= 12


def test_every_demonstration_takes_exactly_one_turn_off_and_no_mistake_does() -> None:
    several = states = 0
    for seed in range(120):
        env = reset(seed)
        while not env.done:
            before = env.remaining()
            demonstrations, mistakes = env.demonstrations(), env.mistakes()
            assert len(set(demonstrations)) == len(demonstrations) and 1 <= len(mistakes) <= 5
            for action in demonstrations:
                branch = env.clone()
                branch.step(action)
                assert branch.remaining() == before - 1, (seed, action)
            assert not any(accepted(env, action) for action in mistakes)
            assert env.remaining() == before
            several, states = several + (len(demonstrations) > 1), states + 1
            env.step(demonstrations[0])
        assert env.remaining() == 0 and env.outcome() == 1.0
    assert several / states > 0.7


def test_the_reference_is_right_and_the_bug_wrong_and_visible() -> None:
    for seed in range(200):
        env = reset(seed)
        for number, function in enumerate(env.task.functions):
            assert is_right(function, function.right)
            assert is_right(function, function.start) == (number not in env.task.bugs)
            assert is_right(function, (function.closed, *function.right[1:]))
            for option in function.options:
                lines = list(function.right)
                lines[function.bug_line] = option
                assert is_right(function, tuple(lines)), option
        assert play(env, TEST)[0].startswith("fail ")


def test_mistakes_are_often_harmful_and_often_not() -> None:
    total = damaging = 0
    for seed in range(100):
        env = reset(seed)
        while not env.done:
            for action in env.mistakes():
                branch = env.clone()
                branch.step(action)
                total, damaging = total + 1, damaging + (branch.remaining() == INF)
            env.step(env.demonstrations()[0])
    assert 0.1 < damaging / total < 0.6


def test_tests_count_only_for_the_present_text() -> None:
    env = single("add")
    play(env, TEST, view("m1"), fix(env, 0), TEST)
    assert env.remaining() == 1
    play(env, edit(1, env.task.functions[0].options[1]))
    assert env.remaining() == 2


def test_planned_routine_counts_once_and_no_more() -> None:
    knobs = Knobs(bugs=(2, 2), routine=1.0, second_file=0.0, sibling=0.0, loops=0.0)
    env = reset(0, knobs)
    assert env.task.rules == "coding list test again check submit"
    play(env, LIST)
    assert not accepted(env, LIST)
    play(env, TEST, view("m1"), env.clone().demonstrations()[0])
    play(env, env.demonstrations()[0])
    assert accepted(env, TEST)
    play(env, TEST)
    assert not accepted(env, TEST) and not accepted(env, CHECK)
    play(env, env.demonstrations()[0])
    for first, second in ((TEST, CHECK), (CHECK, TEST)):
        branch = env.clone()
        play(branch, first, second)
        assert branch.remaining() == 1
    plain = reset(0, Knobs(routine=0.0))
    assert plain.task.rules == "coding test submit" and not accepted(plain, LIST)


def test_check_names_a_parameter_that_is_not_used() -> None:
    env = single("add")
    first, second = env.task.functions[0].parameters
    play(env, edit(1, f"return {first} + {first}"))
    assert play(env, CHECK) == [f"{second} in add not used"]
    play(env, fix(env, 0))
    assert play(env, CHECK) == ["ok"]


def test_damage_costs_a_turn_and_can_be_undone() -> None:
    knobs = Knobs(bugs=(1, 1), routine=0.0, sibling=1.0, second_file=0.0, templates=("add",))
    env = reset(0, knobs)
    (bug,) = env.task.bugs
    other = 1 - bug
    play(env, TEST, view("m1"))
    before = env.remaining()
    play(env, edit(env.task.start_of(other) + 1, "return 0"))
    assert env.remaining() == before + 1
    assert UNDO in env.demonstrations()
    spoilt = env.clone()
    play(spoilt, fix(env, bug), TEST, SUBMIT)
    assert spoilt.outcome() == 0.0 and spoilt.remaining() == INF
    play(env, UNDO)
    assert env.remaining() == before
    play(env, fix(env, bug))
    assert not accepted(env, UNDO)
    play(env, UNDO)
    assert env.remaining() == before


def test_undo_without_an_edit_is_an_error() -> None:
    assert play(reset(0), UNDO) == ["error undo"]


def test_only_a_right_submit_succeeds_and_the_last_tests_are_no_condition() -> None:
    env = single("add")
    early = env.clone()
    play(early, SUBMIT)
    assert early.done and early.outcome() == 0.0 and early.remaining() == INF
    assert not early.demonstrations() and not early.mistakes()
    play(env, fix(env, 0))
    assert accepted(env, SUBMIT)
    play(env, SUBMIT)
    assert env.outcome() == 1.0 and env.remaining() == 0
    assert env.step(TEST)[0].content == "error limit"


def test_code_that_passes_the_visible_tests_only_fails() -> None:
    env = single("add")
    function = env.task.functions[0]
    (a, b), sums = function.parameters, dict(function.visible)
    (one, two), small = sorted(sums, key=str), max(sums.values())
    assert {one, two} == set(sums)
    play(env, edit(1, f"return {a} + {b} if 0 < {a} + {b} <= {small} else 0"))
    assert play(env, TEST) == ["pass"]
    play(env, SUBMIT)
    assert env.outcome() == 0.0


def test_patience_ends() -> None:
    env = reset(1)
    play(env, *env.demonstrations()[:1])
    for _ in range(PATIENCE - 1):
        env.step(Action.say("hello"))
        assert not env.done
    assert env.step(UNDO)[-1].content == "stop"
    assert env.done and env.remaining() == INF and env.outcome() == 0.0


def test_the_kinds_of_failing_code_are_told() -> None:
    env = single("add")
    a, b = env.task.functions[0].parameters
    for text, kind in (
        ("while True : pass", "error time"),
        (f"return add ( {a} , {b} )", "error time"),
        (f"return [ 0 ] * 99 ** {a} ** 9", "error memory"),
        (f"return {a} % 0", "error"),
        ("return t", "error"),
    ):
        branch = env.clone()
        play(branch, edit(1, text))
        assert f"got {kind} want" in play(branch, TEST)[0], text


def test_a_clone_is_independent() -> None:
    env = reset(3)
    before = env.remaining()
    branch = env.clone()
    play(branch, edit(1, "return 0"), SUBMIT)
    assert branch.done and not env.done and env.remaining() == before
    assert play(env, TEST) == play(reset(3), TEST)


def test_a_recorded_episode_replays_and_verifies() -> None:
    verifier = ExecutionVerifier(lambda candidate: restore(candidate, {"coding": reset}))
    for seed in range(25):
        trajectory = demonstrate(reset, "coding", seed, style=seed % STYLES)
        positions = [p for p, message in enumerate(trajectory.messages) if message.role == "assistant"]
        for index, position in enumerate(positions):
            candidate = Candidate(
                turn=Turn(trajectory_id=trajectory.id, index=index, position=position),
                domain="coding",
                task_id=trajectory.task_id,
                state=trajectory.messages[:position],
                tools=trajectory.tools,
                expert=Action.of(trajectory.messages[position]),
            )
            env = restore(candidate, {"coding": reset})
            assert all(verifier(candidate, action).reward == 1.0 for action in env.demonstrations())
            assert not any(verifier(candidate, action).reward for action in env.mistakes())


def test_random_episodes_keep_the_promises() -> None:
    """Whatever was done, a task that is not lost has demonstrations, and each takes one turn off."""
    for seed in range(100):
        rng = random.Random(seed)
        env = reset(seed)
        for _ in range(20):
            if env.done:
                break
            before = env.remaining()
            for action in env.demonstrations():
                branch = env.clone()
                branch.step(action)
                assert branch.remaining() == before - 1, (seed, action, env._progress)
            lines = [text for function in env.task.functions for text in (*function.right, *function.start)]
            disorder = edit(rng.randint(1, 6), rng.choice([*lines, "pass", "return 0", "if t : pass", "while t :"]))
            env.step(rng.choice([*env.demonstrations(), disorder, disorder, UNDO]))


def test_templates() -> None:
    seen = {kind for seed in range(400) for kind in reset(seed).task.template.split("+")}
    assert seen == set(TEMPLATES)
