"""The real shell: contained whatever it runs, and equal to the virtual one where both apply."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from pivot_jax.domains.environment import demonstrate
from pivot_jax.domains.terminal import reset, sandbox, shell
from pivot_jax.domains.terminal.filesystem import FileSystem
from pivot_jax.domains.terminal.progress import shown
from pivot_jax.domains.terminal.shell import Result
from pivot_jax.records import Action
from tests.domains.terminal_cases import Case, random_command, random_tree, run_together

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")

TREE = FileSystem.of({"docs/a.txt": "b x\na y\n", "logs/app.log": "error disk\nwarn x\n"}, ["old"])
SHORT = sandbox.Limits(seconds=1.5, cpu_seconds=1)


def assert_equal(case: Case, virtual: Result, real: Result) -> None:
    """Same stdout, success and tree. Where a command lists directories itself, their order is the file system's."""
    tree, command = case
    unordered = ("find" in command or "grep -r" in command) and "sort" not in command
    order = sorted if unordered else list
    message = f"{command!r} on {dict(tree.entries)}: virtual {virtual}, real {real}"
    assert order(virtual.stdout.split("\n")) == order(real.stdout.split("\n")), message
    assert (virtual.code == 0) == (real.code == 0), message
    assert virtual.tree.digest() == real.tree.digest(), message


def compare(cases: list[Case]) -> None:
    succeeded = 0
    for case, real in zip(cases, run_together(cases), strict=True):
        virtual = shell.run(*case)
        assert_equal(case, virtual, real)
        succeeded += virtual.code == 0
    # Agreement on failures alone would show little.
    assert succeeded > 0.3 * len(cases)


def random_cases(seed: int, amount: int) -> list[Case]:
    rng = random.Random(seed)
    return [(random_tree(rng), random_command(rng)) for _ in range(amount)]


def task_cases(seeds: range) -> list[Case]:
    """Every demonstration and mistake along the canonical path of some tasks."""
    cases: dict[tuple[str, str], Case] = {}
    for seed in seeds:
        env = reset(seed)
        while not env.done:
            tree = env._progress.tree
            for action in (*env.demonstrations(), *env.mistakes()):
                if action.tool_calls[0].name == "bash":
                    command = action.tool_calls[0].parsed()["command"]
                    cases[tree.digest(), command] = (tree, command)
            env.step(env.demonstrations()[0])
    # The cases of a batch each have their own directory, so `pwd` is compared on its own.
    return [case for case in cases.values() if case[1] != "pwd"]


def test_random_command_lines_agree() -> None:
    compare(random_cases(0, 600))


def test_demonstrations_and_mistakes_agree() -> None:
    compare(task_cases(range(12)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 3))
def test_many_random_command_lines_agree(seed: int) -> None:
    compare(random_cases(seed, 2000))


@pytest.mark.slow
def test_demonstrations_and_mistakes_of_many_tasks_agree() -> None:
    compare(task_cases(range(12, 112)))


def test_single_invocations_agree() -> None:
    commands = [
        "pwd",
        "ls /task",
        "cat ../task/docs/a.txt",
        "cat nope",
        "mv /task/docs/a.txt old && ls -R",
        "rm -r -f /task",
    ]
    for case in [(TREE, command) for command in commands] + random_cases(99, 20):
        assert_equal(case, shell.run(*case), sandbox.run(*case))


def test_a_whole_episode_reads_the_same_in_the_real_shell() -> None:
    env, tree = reset(7), reset(7).task.start
    while not env.done:
        action = env.demonstrations()[0]
        call = action.tool_calls[0]
        (message,) = env.step(action)
        if call.name == "bash":
            result = sandbox.run(tree, call.parsed()["command"])
            tree = result.tree
            assert message.content == shown(result)
    assert env.outcome() == 1.0 and tree.digest() == env.task.goal.digest()


@pytest.mark.parametrize("command", ["cat nope", "ls docs/a.txt/", "mkdir docs", "juggle", "rm docs", "mv old old"])
def test_errors_read_the_same(command: str) -> None:
    assert sandbox.run(TREE, command).error == shell.run(TREE, command).error != ""


@pytest.mark.parametrize(
    "command", ["while :; do :; done", "sleep 60", ":(){ :|:; }; :", "i=0; while :; do : > f$((i+=1)); done"]
)
def test_endless_commands_end(command: str) -> None:
    start = time.monotonic()
    result = sandbox.run(TREE, command, SHORT)
    assert time.monotonic() - start < 15
    assert result.code != 0 and result.error == "limit reached"


def test_processes_are_limited_and_none_outlives_the_command() -> None:
    result = sandbox.run(TREE, "for i in $(seq 200); do sleep 30 & done; jobs | wc -l", SHORT)
    assert result.code != 0 or int(result.stdout) < 100
    start = time.monotonic()
    assert sandbox.run(TREE, "sleep 30 & echo started").stdout == "started\n"
    sandbox.run(TREE, ":(){ :|:& };:")
    assert sandbox.run(TREE, "ls").code == 0
    assert time.monotonic() - start < 10


def test_output_files_and_memory_are_limited() -> None:
    limits = sandbox.Limits(output=1000, file=1 << 20, memory=256 << 20)
    flood = sandbox.run(TREE, "yes", limits)
    assert flood.error == "limit reached" and len(flood.stdout) == 1000
    big = sandbox.run(TREE, "yes > big", limits)
    assert big.error == "limit reached" and len(big.tree.text("big")) <= limits.file
    many = sandbox.run(TREE, "for i in $(seq 40); do head -c 1000000 /dev/zero > big$i; done; ls | wc -l", limits)
    assert sum(len(text) for _, text in many.tree.files()) <= limits.tree
    hog = sandbox.run(TREE, "x=$(head -c 900000000 /dev/zero | tr '\\0' a); echo ${#x}", limits)
    assert hog.code != 0 and hog.stdout == ""


def test_nothing_outside_can_be_written_read_or_reached(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for command in (
        "touch /outside",
        "touch /usr/outside",
        "touch /dev/shm/outside",
        "touch /etc/outside",
        f"cat {secret}",
        f"touch {tmp_path}/outside",
        "cat /proc/1/environ",
        "cat < /dev/tcp/127.0.0.1/22",
        "mount -t tmpfs none /usr",
    ):
        result = sandbox.run(TREE, command)
        assert result.code != 0, command
        assert result.tree.digest() == TREE.digest(), command
    assert sorted(tmp_path.iterdir()) == [secret]
    interfaces = sandbox.run(TREE, "compgen -e | sort").stdout.split()
    assert set(interfaces) <= {"HOME", "LC_ALL", "PATH", "PWD", "OLDPWD", "SHLVL", "_"}


def test_links_and_odd_names_come_back_as_text() -> None:
    result = sandbox.run(TREE, "ln -s /etc/passwd link && mkfifo pipe && echo x > $'\\xff'")
    assert result.tree.entries["link"] == "\0/etc/passwd"
    assert result.tree.entries["pipe"] == "\0"
    assert result.tree.entries["\xff"] == "x\n"


def test_killing_everything_is_only_a_failed_command() -> None:
    result = sandbox.run(TREE, "kill -9 -1")
    assert result.code != 0
    assert result.tree == TREE


def test_a_missing_bubblewrap_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RuntimeError, match="Debian package bubblewrap"):
        sandbox.run(TREE, "ls")


def test_noisy_episodes_end_in_the_same_tree() -> None:
    """A trajectory with mistakes, replayed as one line of commands."""
    for seed in range(4):
        trajectory = demonstrate(reset, "terminal", seed, error_rate=0.4)
        actions = [Action.of(message) for message in trajectory.messages if message.role == "assistant"]
        env, commands = reset(seed), []
        for action in actions:
            env.step(action)
            commands += [call.parsed()["command"] for call in action.tool_calls if call.name == "bash"]
        assert sandbox.run(env.task.start, "\n".join(commands)).tree.digest() == env._progress.tree.digest()
