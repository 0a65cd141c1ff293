from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from pivot_jax.records import Action, Candidate, Message
from pivot_jax.verify.execution import ExecutionVerifier
from pivot_jax.verify.verifier import Unjudgeable, judge
from tests.verify.candidates import candidate


@dataclass
class Stairs:
    """A task of climbing to step 0; an action says by how many steps, and `fall` breaks a leg."""

    left: float
    steps: list[Action] = field(default_factory=list)

    def clone(self) -> Stairs:
        return Stairs(self.left, list(self.steps))

    def step(self, action: Action) -> tuple[Message, ...]:
        self.steps.append(action)
        self.left = math.inf if action.content == "fall" else self.left - int(action.content)
        return ()

    def remaining(self) -> float:
        return self.left


class Restore:
    """Restores stairs with as many steps as the task id says; remembers what it made."""

    def __init__(self) -> None:
        self.made: list[Stairs] = []

    def __call__(self, candidate: Candidate) -> Stairs:
        seed = int(candidate.task_id.rpartition("/")[2])
        if seed == 13:
            raise Unjudgeable("no stairs")
        self.made.append(Stairs(left=float(seed)))
        return self.made[-1]


@pytest.mark.parametrize(
    ("action", "reward", "after"),
    [("1", 1.0, 4.0), ("2", 1.0, 3.0), ("0", 0.0, 5.0), ("-1", 0.0, 6.0), ("fall", 0.0, -1.0)],
)
def test_as_far_forward_as_the_expert(action: str, reward: float, after: float) -> None:
    restore = Restore()
    verdict = ExecutionVerifier(restore)(candidate(Action.say("1"), task_id="d/5"), Action.say(action))
    assert verdict.reward == reward
    assert verdict.components == {"remaining_before": 5.0, "remaining_after": after, "expert_after": 4.0}
    assert restore.made[0].steps == [], "the restored state was changed"


def test_less_progress_than_the_expert_is_not_enough() -> None:
    assert ExecutionVerifier(Restore())(candidate(Action.say("2"), task_id="d/5"), Action.say("1")).reward == 0.0


@pytest.mark.parametrize("expert", ["0", "-1", "fall"])
def test_a_label_that_brings_nothing_forward_is_an_error(expert: str) -> None:
    judged = judge([ExecutionVerifier(Restore())], candidate(Action.say(expert), task_id="d/5"), [Action.say("1")])
    assert judged["execution"][0].status == "error"
    assert "brings nothing forward" in judged["execution"][0].reason


def test_a_state_that_cannot_be_restored_is_an_error() -> None:
    judged = judge([ExecutionVerifier(Restore())], candidate(Action.say("1"), task_id="d/13"), [Action.say("1")])
    assert (judged["execution"][0].status, judged["execution"][0].reason) == ("error", "no stairs")


def test_malformed_scores_zero_without_execution() -> None:
    restore = Restore()
    broken = Action(content="1", malformed="cut off")
    verdict = ExecutionVerifier(restore)(candidate(Action.say("1"), task_id="d/5"), broken)
    assert (verdict.status, verdict.reward, verdict.reason, restore.made) == ("judged", 0.0, "cut off", [])


def test_states_are_restored_once_and_the_least_recent_is_dropped() -> None:
    restore = Restore()
    verifier = ExecutionVerifier(restore, capacity=2)
    tasks = [candidate(Action.say("1"), task_id=f"d/{seed}") for seed in (5, 6, 7)]
    for task in (tasks[0], tasks[1], tasks[0], tasks[1], tasks[0], tasks[2], tasks[0], tasks[1]):
        assert verifier(task, Action.say("1")).reward == 1.0
    assert [stairs.left for stairs in restore.made] == [5.0, 6.0, 7.0, 6.0]


def test_two_recordings_under_one_id_are_two_states() -> None:
    verifier = ExecutionVerifier(Restore())
    small, large = (candidate(Action.say(size), task_id="d/5") for size in ("1", "2"))
    assert small.id == large.id
    assert verifier(small, Action.say("1")).reward == 1.0
    assert verifier(large, Action.say("1")).reward == 0.0
