"""The real interpreter: equal to the in-process engine where both apply, and contained whatever it runs."""

from __future__ import annotations

import random
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pivot_jax.domains.coding import engine, reset, truth
from pivot_jax.domains.coding.language import Refused
from pivot_jax.domains.coding.truth import Job
from pivot_jax.domains.terminal import sandbox
from pivot_jax.records import Action
from tests.domains.coding_cases import HOSTILE_PROGRAMS, edit, random_function

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")

WIDE = sandbox.Limits(seconds=120, cpu_seconds=60, file=16 << 20, tree=32 << 20)
SHORT = sandbox.Limits(seconds=1.5, cpu_seconds=1, memory=256 << 20, file=1 << 20)
INPUTS: tuple[engine.Arguments, ...] = (
    (0, 0, []),
    (2, 1, [4, 3, 1]),
    (-3, 5, [5]),
    (1, 1, [0, -2, 1, 7]),
    (7, 2, [2, 2]),
)


def compare(jobs: Sequence[Job]) -> None:
    """Every call comes to the same in both; what the engine's meter ends may take longer in the real one."""
    report = truth.run(jobs, WIDE, seconds=0.1)
    assert report.outcomes is not None, report
    values = 0
    for job, real in zip(jobs, report.outcomes, strict=True):
        for arguments, here, there in zip(job.cases, engine.outcomes(job.source, job.cases), real, strict=True):
            if here.error in ("error time", "error memory"):
                continue
            assert (here, type(here.value)) == (there, type(there.value)), (job.source, arguments)
            values += not here.error
    # Agreement on failures alone would show little.
    assert values > 0.25 * sum(len(job.cases) for job in jobs)


def task_jobs(seeds: range) -> list[Job]:
    """The reference, the bug and every equal and wrong text known, with some of the hidden tests and all visible."""
    jobs: dict[str, Job] = {}
    for seed in seeds:
        for function in reset(seed).task.functions:
            bodies = [function.start, function.right, (function.closed, *function.right[1:])]
            for line, text in [*((function.bug_line, text) for text in function.options), *function.slips]:
                bodies.append((*function.right[:line], text, *function.right[line + 1 :]))
            cases = tuple([arguments for arguments, _ in (*function.visible, *function.hidden[:25])])
            for body in bodies:
                source = function.source(body)
                jobs[source] = Job(source, function.name, cases)
    return list(jobs.values())


def random_jobs(seed: int, amount: int) -> list[Job]:
    rng = random.Random(seed)
    jobs: list[Job] = []
    while len(jobs) < amount:
        source = random_function(rng)
        try:
            engine.load(source)
        except Refused:
            continue
        jobs.append(Job(source, "f", INPUTS))
    return jobs


def test_references_bugs_and_equal_texts_agree() -> None:
    compare(task_jobs(range(60)))


def test_random_functions_agree() -> None:
    compare(random_jobs(0, 400))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 3))
def test_many_random_functions_agree(seed: int) -> None:
    compare(random_jobs(seed, 1000))


def test_the_verdict_of_every_edit_along_an_episode_agrees() -> None:
    """Right by the engine is right by the real interpreter, on all hidden tests."""
    jobs: list[Job] = []
    wanted: list[list[object]] = []
    verdicts: list[bool] = []
    for seed in range(12):
        env = reset(seed)
        while not env.done:
            for action in (*env.demonstrations(), *env.mistakes()):
                branch = env.clone()
                branch.step(action)
                for number, function in enumerate(env.task.functions):
                    body = branch._progress.bodies[number]
                    if body != env._progress.bodies[number]:
                        cases = tuple([arguments for arguments, _ in function.hidden])
                        jobs.append(Job(function.source(body), function.name, cases))
                        wanted.append([value for _, value in function.hidden])
                        verdicts.append(number not in branch._progress.wrong)
            env.step(env.demonstrations()[0])
    report = truth.run(jobs, WIDE)
    assert report.outcomes is not None
    found = [
        [outcome.value for outcome in real] == values for real, values in zip(report.outcomes, wanted, strict=True)
    ]
    assert found == verdicts and 0.2 < sum(verdicts) / len(verdicts) < 0.8


def test_kinds_of_failure_agree() -> None:
    bodies = {
        "return 1 % 0": "error",
        "return t": "error",
        "return x [ 99 ]": "error",
        "return f ( a , b , x )": "error time",
        "while True : pass": "error time",
    }
    jobs = [Job(f"def f(a, b, x):\n    {body}\n", "f", INPUTS[1:2]) for body in bodies]
    report = truth.run(jobs, seconds=0.2)
    assert report.outcomes is not None
    for job, real, error in zip(jobs, report.outcomes, bodies.values(), strict=True):
        assert real == tuple(engine.outcomes(job.source, job.cases)) == (engine.Outcome(error=error),)


@pytest.mark.parametrize("name", HOSTILE_PROGRAMS)
def test_hostile_programs_are_contained(name: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        body = HOSTILE_PROGRAMS[name].format(secret=secret, port=server.getsockname()[1])
        start = time.monotonic()
        report = truth.run([Job(f"def f(a):\n    {body}\n", "f", ((1,),))], SHORT, seconds=0.3)
        with pytest.raises(TimeoutError):
            server.accept()
    assert time.monotonic() - start < 12
    # Whatever happened, no call came to a value, and the host is as it was.
    assert report.outcomes is None or report.outcomes[0][0].error in ("error", "error time", "error memory"), report
    assert sorted(tmp_path.iterdir()) == [secret] and secret.read_text() == "secret"
    assert not Path("/outside").exists() and not Path("/usr/outside").exists()
    assert len(report.stdout) <= SHORT.output
    expected = {
        "endless": "error time",
        "recursion": "error time",
        "list": "error memory",
        "text": "error memory",
        "outside": "error",
        "system": "error",
        "secret": "error",
        "beside": "error",
        "socket": "error",
    }
    if name in expected:
        assert report.outcomes is not None and report.outcomes[0][0].error == expected[name]
    # The sandbox is as good as new.
    assert truth.run([Job("def f(a):\n    return a\n", "f", ((1,),))]).outcomes == ((engine.Outcome(1),),)


@pytest.mark.parametrize("name", HOSTILE_PROGRAMS)
def test_the_same_programs_are_refused_or_bounded_in_process(name: str) -> None:
    for text in HOSTILE_PROGRAMS[name].split("\n"):
        env = reset(0)
        before = env.remaining()
        (message,) = env.step(edit(1, text.strip()))
        bounded = text.strip() in ("while True: pass", "return 10 ** 10 ** 10", "return len([0] * (10 ** 9))")
        assert message.is_error != bounded, (text, message)
        (shown,) = env.step(Action.call("test"))
        assert not bounded or "error " in shown.content
        assert env.remaining() < before


def test_what_a_program_leaves_is_reported() -> None:
    report = truth.run([Job("def f(a):\n    open('left', 'w').write('x')\n    print('said')\n", "f", ((1,),))])
    assert report.left == {"left"} and report.stdout == "said\n" and report.code == 0
