"""The terminal environment: tasks, demonstrations, progress, damage, budgets."""

from __future__ import annotations

import json
import random

import pytest

from pivot_jax.domains.environment import demonstrate
from pivot_jax.domains.terminal import Knobs, Terminal, reset
from pivot_jax.domains.terminal.filesystem import FileSystem
from pivot_jax.domains.terminal.planner import plan_changes
from pivot_jax.records import Action, ToolCall

INF = float("inf")
STYLES = 4


def bash(command: str) -> Action:
    return Action.call("bash", command=command)


def play(env: Terminal, *commands: str) -> list[str]:
    """Run commands; what the policy is shown of each."""
    return [env.step(bash(command))[0].content for command in commands]


def accepted(env: Terminal, action: Action) -> bool:
    branch = env.clone()
    branch.step(action)
    return branch.remaining() < env.remaining()


def find_task(template: str) -> Terminal:
    """The first task of a template that is about one file, which it names."""
    knobs = Knobs(sub_goals=(2, 4), described=0.0, second_file=0.0, templates=(template,))
    return next(env for env in (reset(seed, knobs) for seed in range(100)) if len(env.task.sources) == 1)


def test_equal_seeds_give_equal_tasks_and_messages() -> None:
    for seed in range(30):
        assert reset(seed).task == reset(seed).task
        assert demonstrate(reset, "terminal", seed) == demonstrate(reset, "terminal", seed)
    assert len({reset(seed).task.request for seed in range(100)}) > 95


def test_the_system_message_begins_with_the_domain_and_the_request_comes_second() -> None:
    system, user = reset(0).opening()
    assert (system.role, user.role) == ("system", "user")
    assert system.content.split("\n")[0] == "terminal"
    assert user.content == reset(0).task.request


@pytest.mark.parametrize("style", range(STYLES))
def test_every_style_solves_every_task(style: int) -> None:
    for seed in range(150):
        trajectory = demonstrate(reset, "terminal", seed, style=style)
        turns = sum(message.role == "assistant" for message in trajectory.messages)
        assert trajectory.reward == 1.0, (seed, trajectory.messages)
        assert turns <= 12


def test_every_demonstration_is_accepted_and_the_canonical_path_counts_down_to_zero() -> None:
    for seed in range(100):
        env = reset(seed)
        while not env.done:
            before = env.remaining()
            assert all(accepted(env, action) for action in env.demonstrations()), (seed, env.task.request)
            env.step(env.demonstrations()[0])
            assert env.remaining() < before
        assert env.remaining() == 0 and env.outcome() == 1.0


def test_states_with_several_demonstrations_are_many() -> None:
    counts = []
    for seed in range(100):
        env = reset(seed)
        while not env.done:
            texts = {action.tool_calls[0].arguments for action in env.demonstrations()}
            assert len(texts) == len(env.demonstrations())
            counts.append(len(texts))
            env.step(env.demonstrations()[0])
    # Only the submit has a single text.
    assert sum(count >= 2 for count in counts) / len(counts) > 0.8


def test_mistakes_are_mostly_not_accepted_and_often_harmful() -> None:
    total = wrong = damaging = 0
    for seed in range(100):
        env = reset(seed)
        while not env.done:
            mistakes = env.mistakes()
            assert 2 <= len(mistakes) <= 5
            assert not set(mistakes) & set(env.demonstrations())
            for action in mistakes:
                branch = env.clone()
                branch.step(action)
                total += 1
                wrong += branch.remaining() >= env.remaining()
                damaging += branch.remaining() == INF
            env.step(env.demonstrations()[0])
    assert wrong / total > 0.95
    assert 0.1 < damaging / total < 0.6


def test_a_clone_is_independent() -> None:
    env = reset(3)
    before = env.remaining()
    branch = env.clone()
    branch.step(bash("rm -r docs data logs src old"))
    assert branch.remaining() == INF
    assert env.remaining() == before
    assert play(env, "ls") != play(branch, "ls")


def test_equivalent_commands_lead_equally_far() -> None:
    env = find_task("sort+move+count")
    source, out = env.task.sources[0].path, env.task.effects[0].target
    target = env.task.effects[1].target
    folder, file = target.split("/")
    play(env, f"find . -name {file}")
    start = env.remaining()
    for command in (
        f"sort {source} > {out}",
        f"cat {source} | sort > {out}",
        f"sort < {source} > {out}",
        f"sort ./{source} >./{out}",
        f"cat {source}|sort|cat > {out}",
        f"sort /task/{source} > /task/{out}",
        f"sort {source} | tee {out} | wc -l",
        f"cp {source} {out} && sort {out} > x && mv x {out}",
    ):
        branch = env.clone()
        play(branch, command)
        assert branch.remaining() == start - 1, command
    branch = env.clone()
    play(branch, f"sort {source} > {out} && cp {source} {folder} && rm {source}")
    assert branch.remaining() == start - 2
    # Half a move is not a move, the second half is.
    branch = env.clone()
    play(branch, f"cp {source} {folder}")
    assert branch.remaining() == start
    play(branch, f"rm {source}")
    assert branch.remaining() == start - 1


def test_a_fact_counts_when_it_is_shown_and_only_then() -> None:
    env = find_task("sort+move+count")
    task = env.task
    source, file, word = task.sources[0], task.sources[0].path.split("/")[1], task.asked.word
    start = env.remaining()
    for command, gain in (
        ("ls", 1),  # looking around
        (f"find . -name {file}", 2),  # found: looking is no longer needed
        (f"find . | grep {file}", 2),
        ("ls -R", 2),
        (f"grep -c {word} {source.path}", 3),  # the path guessed right, and the answer read
        (f"cat {source.path}", 3),
        ("pwd", 0),
        (f"echo {file}", 0),  # the right words, but from nowhere
        (f"echo {source.path} {task.answer}", 0),
        (f"ls -R | grep {file}", 0),  # the name without its directory
        (f"find . -name {file} > out.txt", -1),  # hidden, and one file too many
    ):
        branch = env.clone()
        play(branch, command)
        assert branch.remaining() == start - gain, command


@pytest.mark.parametrize(
    ("template", "blind", "telling"),
    [
        ("archive+count", "wc -l {f}", "grep {w} {f} | wc -l"),
        ("archive+count", "grep -v {w} {f}", "sort {f}"),
        ("append+lines", "wc -w {f}", "cat {f} | cat | wc -l"),
        ("append+lines", "head -n 2 {f}", "grep -c . {f}"),
        ("reverse+first", "sort {f}", "head -n 2 {f}"),
        ("copy+last", "head -n 1 {f}", "tail -n 2 {f}"),
    ],
)
def test_an_answer_counts_as_read_only_from_an_output_that_determines_it(
    template: str, blind: str, telling: str
) -> None:
    env = find_task(template)
    path, word = env.task.sources[0].path, env.task.asked.word
    play(env, f"find . -name {path.split('/')[1]}")
    start = env.remaining()
    for command, gain in ((blind, 0), (telling, 1)):
        branch = env.clone()
        play(branch, command.format(f=path, w=word))
        assert branch.remaining() == start - gain, command


def test_a_directory_is_known_by_elimination() -> None:
    env = find_task("sort+move")
    place = env.task.sources[0].path.split("/")[0]
    folders = [path for path, text in env.task.start.entries.items() if text is None]
    first, second = (folder for folder in folders if folder != place)
    start = env.remaining()
    play(env, "ls", f"ls {first}")
    assert env.remaining() == start - 1
    play(env, f"ls {second}")
    assert env.remaining() == start - 2


def test_damage_is_final_and_repairable_disorder_is_not() -> None:
    env = find_task("sort+move+count")
    source, out = env.task.sources[0].path, env.task.effects[0].target
    other = next(path for path, _ in env.task.start.files() if path != source)
    play(env, f"find . -name {source.split('/')[1]}")
    start = env.remaining()
    for command, expected in (
        (f"rm {source}", INF),
        (f"sort {source} > {source}", INF),
        (f"rm {other}", INF),
        (f"cat {source} >> {other}", INF),
        (f"mv {other} {source}", INF),
        (f"rm -r {other.split('/')[0]}", INF),
        ("touch extra", start + 1),
        ("mkdir -p extra/deep && touch extra/deep/x", start + 1),
        (f"mv {other} moved", start + 1),
        (f"sort -r {source} > {out}", start + 1),
        (f"mv {source} {out}x", start),  # it had to be moved anyway
    ):
        branch = env.clone()
        play(branch, command)
        assert branch.remaining() == expected, command
        assert bool(branch.demonstrations()) == (expected < INF)
        while branch.remaining() < INF and not branch.done:
            branch.step(branch.demonstrations()[-1])
        assert branch.outcome() == float(expected < INF)


def test_a_removed_and_an_overwritten_new_file_can_be_made_again() -> None:
    env = find_task("sort+move")
    source, out = env.task.sources[0].path, env.task.effects[0].target
    play(env, f"find . -name {source.split('/')[1]}")
    start = env.remaining()
    play(env, f"sort -r {source} > {out}")
    assert accepted(env, bash(f"rm {out}"))
    play(env, f"sort {source} > {out}")
    assert env.remaining() == start - 1


@pytest.mark.parametrize("answer", ["", "7", "done."])
def test_a_wrong_or_early_submit_fails(answer: str) -> None:
    env = reset(1)
    env.step(Action.call("submit", answer=answer))
    assert env.done and env.outcome() == 0.0 and env.remaining() == INF
    early = reset(1)
    early.step(Action.call("submit", answer=early.task.answer))
    assert early.done and early.outcome() == 0.0


def test_a_right_submit_with_an_extra_file_fails() -> None:
    env = reset(2)
    while env.remaining() > 1:
        env.step(env.demonstrations()[0])
    spoilt = env.clone()
    play(spoilt, "touch extra")
    for branch, reward in ((spoilt, 0.0), (env, 1.0)):
        branch.step(Action.call("submit", answer=f" {env.task.answer} "))
        assert branch.outcome() == reward


def test_hostile_and_malformed_actions_are_answered() -> None:
    env = reset(5)
    before = env.remaining()
    calls = [
        ToolCall(name="bash", arguments="not json"),
        ToolCall(name="bash", arguments="[" * 5000),
        ToolCall(name="bash", arguments="{}"),
        ToolCall(name="bash", arguments='{"command": 3}'),
        ToolCall(name="bash", arguments='{"command": "ls", "more": 1}'),
        ToolCall(name="bash", arguments='{"command": "\\ud800 \\u0000"}'),
        ToolCall(name="rm", arguments='{"command": "ls"}'),
        ToolCall(name="submit", arguments='{"answer": null}'),
        ToolCall(name="bash", arguments=json.dumps({"command": "ls " * 5000})),
    ]
    for call in calls:
        (message,) = env.step(Action(tool_calls=(call,)))
        assert message.role == "tool" and message.is_error and message.content.startswith("error ")
    for action in (Action.say("hello"), Action(malformed="no call"), Action()):
        assert env.step(action)[0].role == "user"
    assert env.remaining() == before and not env.done
    messages = env.step(
        Action(tool_calls=tuple(ToolCall(name="bash", arguments='{"command": "ls"}') for _ in range(9)))
    )
    assert [message.is_error for message in messages] == [False] * 4 + [True] * 5


def test_nothing_happens_after_the_end() -> None:
    env = reset(1)
    env.step(Action.call("submit", answer="done"))
    assert env.step(bash("ls"))[0].is_error
    assert env.demonstrations() == () and env.mistakes() == ()


def test_random_episodes_keep_the_promises() -> None:
    """Whatever was done, a task that is not lost has demonstrations, and each is accepted."""
    for seed in range(120):
        rng = random.Random(seed)
        env = reset(seed)
        for _ in range(20):
            if env.done or env.remaining() == INF:
                break
            assert all(accepted(env, action) for action in env.demonstrations()), (seed, env.demonstrations())
            paths = [*env._progress.tree.entries, "new.txt", "x", "x/y", "."]
            first, second = rng.choice(paths), rng.choice(paths)
            disorder = rng.choice(
                [
                    f"mv {first} {second}",
                    f"cp {first} {second}",
                    f"mkdir {first}",
                    f"sort {first} > {second}",
                    "touch x",
                ]
            )
            env.step(rng.choice([*env.demonstrations(), bash(disorder), *env.mistakes()[:1]]))


def test_the_planner_gives_up_on_two_files_in_each_others_place() -> None:
    task = find_task("sort+move").task
    first, second = sorted(path for path, _ in task.goal.files())[:2]
    entries = dict(task.goal.entries)
    entries[first], entries[second] = entries[second], entries[first]
    assert plan_changes(task, task.goal) == ()
    assert plan_changes(task, FileSystem(entries)) is None
