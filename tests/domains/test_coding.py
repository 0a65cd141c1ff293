"""The coding environment: tasks, demonstrations, progress, damage, hostile actions."""

from __future__ import annotations

import json
import random

import pytest

from pivot_jax.domains.coding import TEMPLATES, Coding, Knobs, reset
from pivot_jax.domains.coding.language import BUILTINS
from pivot_jax.domains.coding.progress import PATIENCE, is_right
from pivot_jax.domains.environment import demonstrate
from pivot_jax.domains.replay import restore
from pivot_jax.records import Action, Candidate, ToolCall, Turn
from pivot_jax.verify.execution import ExecutionVerifier
from tests.domains.coding_cases import HOSTILE_EDITS, edit, hostile_action

INF = float("inf")
STYLES = 4
TEST, LIST, CHECK, UNDO, SUBMIT = (Action.call(name) for name in ("test", "list", "check", "undo", "submit"))


def view(name: str) -> Action:
    return Action.call("view", name=name)


def test_of(name: str) -> Action:
    return Action.call("test", name=name)


test_of.__test__ = False  # pyright: ignore[reportFunctionMemberAccess]


def accepted(env: Coding, action: Action) -> bool:
    """Brings the episode as far forward as the canonical demonstration."""
    expert, branch = env.clone(), env.clone()
    expert.step(env.demonstrations()[0])
    branch.step(action)
    return branch.remaining() < INF and branch.remaining() <= expert.remaining()


def single(template: str, seed: int = 0) -> Coding:
    """A task with one broken function and no further routine."""
    return reset(seed, Knobs(bugs=(1, 1), routine=0.0, sibling=0.0, templates=(template,)))


def double(first: str, second: str, *, two_files: bool) -> Coding:
    knobs = Knobs(bugs=(2, 2), routine=0.0, second_file=float(two_files), templates=(first, second))
    return reset(0, knobs)


def play(env: Coding, *actions: Action) -> list[str]:
    return [env.step(action)[0].content for action in actions]


def fix(env: Coding, number: int) -> Action:
    function = env.task.functions[number]
    return edit(env.task.start_of(number) + function.bug_line + 1, function.right[function.bug_line])


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


@pytest.mark.parametrize(
    ("template", "right", "wrong"),
    [
        ("add", ["{p}+{q}", "{q}+{p}", "sum([{p},{q}])", "{p} - (0 - {q})", "- (- {p} - {q})", "{q} * 1 + {p}"],
         ["{p} - {q}", "{p}", "{p} + {p}", "{p} + {q} + 1", "abs ( {p} ) + {q}", "{p} + {q} if {p} < 9 else 0"]),
        ("sub", ["{p}-{q}", "- ({q}-{p})", "{p} + - {q}", "sum ( [ {p} , - {q} ] )"], ["{q}-{p}", "abs({p}-{q})"]),
        ("below", ["{q} > {p}", "not {p} >= {q}", "{p} - {q} < 0", "1 if {p} < {q} else 0",
                   "{p} != {q} and {p} == min ( {p} , {q} )"],
         ["{p} <= {q}", "{p} > {q}", "True", "{p} != {q}"]),
        ("low", ["min({q},{p})", "{p} if {p} <= {q} else {q}", "sorted([{p},{q}])[0]", "- max ( - {p} , - {q} )"],
         ["max({p},{q})", "{p}", "min(1,{p},{q})"]),
        ("gap", ["abs({q}-{p})", "max({p}-{q},{q}-{p})", "max({p},{q})-min({p},{q})"], ["{p}-{q}", "abs({p})-{q}"]),
        ("last", ["{x}[-1]", "{x}[len({x})-1]", "{x}[::-1][0]", "list(reversed({x}))[0]"], ["{x}[0]", "max({x})"]),
        ("total", ["sum({x})", "sum(sorted({x}))", "sum(i for i in {x})", "sum([i for i in {x}])"],
         ["sum({x}[1:])", "sum({x})+1", "max({x})"]),
        ("size", ["len({x})", "sum(1 for i in {x})", "len(sorted({x}))"], ["len({x})-1", "3", "sum({x})"]),
        ("sort", ["sorted({x})", "sorted({x})[::1]", "sorted({x},reverse=True)[::-1]", "list(sorted({x}))"],
         ["{x}", "sorted({x})[::-1]", "{x}[::-1]", "reversed({x})"]),
        ("has", ["{p} in {x}", "{x}.count({p})>0", "any(i=={p} for i in {x})", "not {p} not in {x}"],
         ["{p} not in {x}", "{x}.index({p})", "True"]),
        ("even", ["{p}%2==0", "not {p}%2", "{p}%2<1", "1-{p}%2", "{p}//2*2=={p}"], ["{p}%2", "{p}%2==1", "{p}%4==0"]),
    ],
)  # fmt: skip
def test_any_equal_code_is_accepted_and_no_other(template: str, right: list[str], wrong: list[str]) -> None:
    env = single(template)
    function = env.task.functions[0]
    roles = {"p": function.parameters[0], "q": function.parameters[-1], "x": function.parameters[-1]}
    play(env, TEST, view("m1"))
    for text in right:
        assert accepted(env, edit(1, "return " + text.format(**roles))), text
    for text in wrong:
        branch = env.clone()
        assert not accepted(branch, edit(1, "return " + text.format(**roles))), text
        assert play(branch, edit(1, "return " + text.format(**roles))) == ["ok"], text
        assert branch.remaining() == env.remaining(), text


def test_a_loop_is_repaired_in_any_of_its_lines() -> None:
    env = single("run")
    function = env.task.functions[0]
    x = function.parameters[0]
    play(env, TEST, view("run"))
    assert accepted(env, edit(1, f"return sum ( {x} )"))
    assert accepted(env, fix(env, 0))
    play(env, edit(1, "t = 9"), edit(4, "return 9"))
    before = env.remaining()
    for action in env.demonstrations():
        branch = env.clone()
        play(branch, action)
        assert branch.remaining() == before - 1


def test_files_may_be_viewed_by_any_name_and_in_any_order() -> None:
    env = double("add", "low", two_files=True)
    play(env, TEST)
    first, second = env.task.functions
    for name in (first.file, first.name, second.file, second.name):
        assert accepted(env, view(name))
    assert not accepted(env, view("m3"))
    assert not accepted(env, TEST) and not accepted(env, LIST) and not accepted(env, CHECK)
    # A right repair of what was not seen saves a turn.
    branch = env.clone()
    play(branch, fix(env, 1))
    assert branch.remaining() == env.remaining() - 2


def test_either_bug_may_be_repaired_first() -> None:
    env = double("add", "low", two_files=False)
    play(env, TEST, view("m1"))
    assert accepted(env, fix(env, 0)) and accepted(env, fix(env, 1))
    play(env, fix(env, 1), fix(env, 0))
    assert env.remaining() == 2
    assert accepted(env, test_of("m1")) and not accepted(env, test_of("add"))
    play(env, test_of("low"))
    assert env.remaining() == 2
    assert play(env, test_of("add")) == ["pass"]
    assert env.remaining() == 1


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


def test_hostile_and_random_actions_are_answered_in_known_words() -> None:
    """1,000 actions: none raises, none says a word that was not known, and the task can be solved afterwards."""
    known = set(" ".join(BUILTINS).split())
    for seed in range(100):
        for error_rate in (0.0, 0.5):
            trajectory = demonstrate(reset, "coding", seed, style=seed % STYLES, error_rate=error_rate)
            known |= {word for message in trajectory.messages for word in message.content.split()}
            for message in trajectory.messages:
                for call in message.tool_calls:
                    known |= {word for value in call.parsed().values() for word in str(value).split()}
    known |= {"limit", "tool", "call", "line", "forbidden", "name", "syntax", "undo", "memory", "time", "other"}
    known |= {"use", "or", "None", "True", "False", "while", "and", "pass", "**", "//", "/", "*", "used"}
    rng = random.Random(0)
    counts: dict[str, int] = {}
    for number in range(1000):
        env = reset(number % 40)
        play(env, *env.demonstrations()[:1])
        before = env.remaining()
        messages = env.step(hostile_action(rng, env))
        for message in messages:
            assert set(message.content.split()) <= known, message
            assert message.is_error == message.content.startswith("error "), message
            if message.is_error:
                counts[message.content] = counts.get(message.content, 0) + 1
        assert not env.done and env.remaining() <= before + 1
        while not env.done:
            env.step(env.demonstrations()[0])
        assert env.outcome() == 1.0
    kinds = {f"error {kind}" for kind in ("tool", "call", "line", "name", "syntax", "forbidden", "limit", "undo")}
    assert set(counts) == kinds and min(counts.values()) >= 5, counts


@pytest.mark.parametrize("text", HOSTILE_EDITS)
def test_a_hostile_edit_is_refused_or_runs_within_bounds(text: str) -> None:
    env = single("add")
    (message,) = env.step(edit(1, text))
    if message.is_error:
        assert env._progress.bodies == single("add")._progress.bodies and not env._progress.history
        assert play(env, UNDO) == ["error undo"]
    else:
        assert env._progress.wrong == {0}
        assert play(env, TEST)[0].startswith("fail m1 add ")


def test_wrong_types_are_refused() -> None:
    env = reset(0)
    for name, arguments in (
        ("edit", {"line": "1", "text": "return 0"}),
        ("edit", {"line": True, "text": "return 0"}),
        ("edit", {"line": 1}),
        ("edit", {"line": 1, "text": 0}),
        ("edit", {"line": 1, "text": "return 0", "name": "m1"}),
        ("view", {}),
        ("view", {"name": ["m1"]}),
        ("test", {"name": None}),
        ("submit", {"name": "m1"}),
    ):
        call = ToolCall(name=name, arguments=json.dumps(arguments))
        branch = env.clone()
        assert branch.step(Action(tool_calls=(call,)))[0].content == "error call", (name, arguments)
        assert not branch.done


def test_templates() -> None:
    seen = {kind for seed in range(400) for kind in reset(seed).task.template.split("+")}
    assert seen == set(TEMPLATES)
