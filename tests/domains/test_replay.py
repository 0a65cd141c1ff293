from __future__ import annotations

from dataclasses import dataclass

import pytest

from pivot_jax.domains.environment import Environment, Reset, demonstrate
from pivot_jax.domains.replay import restore
from pivot_jax.records import Action, Candidate, Message, Tool, Trajectory, Turn
from pivot_jax.verify.execution import ExecutionVerifier
from pivot_jax.verify.verifier import Unjudgeable, judge


@dataclass
class Countdown:
    """Say the numbers from `left` down to 1; a wrong number costs a turn."""

    left: int
    tools: tuple[Tool, ...] = ()

    @property
    def done(self) -> bool:
        return self.left == 0

    def opening(self) -> tuple[Message, ...]:
        return Message(role="system", content="countdown"), Message(role="user", content=f"from {self.left}")

    def step(self, action: Action) -> tuple[Message, ...]:
        if action.content != str(self.left):
            return (Message(role="user", content="no"),)
        self.left -= 1
        return (Message(role="user", content=f"{self.left} left"),) if self.left else ()

    def clone(self) -> Countdown:
        return Countdown(self.left)

    def demonstrations(self) -> tuple[Action, ...]:
        return (Action.say(str(self.left)),) if self.left else ()

    def mistakes(self) -> tuple[Action, ...]:
        return (Action.say("0"),)

    def remaining(self) -> float:
        return float(self.left)

    def outcome(self) -> float:
        return float(self.done)


REGISTRY: dict[str, Reset] = {"countdown": Countdown}


def at(trajectory: Trajectory, position: int) -> Candidate:
    """The candidate of the assistant message at `position`."""
    messages = trajectory.messages
    index = sum(message.role == "assistant" for message in messages[:position])
    return Candidate(
        turn=Turn(trajectory_id=trajectory.id, index=index, position=position),
        domain=trajectory.domain,
        task_id=trajectory.task_id,
        state=messages[:position],
        tools=trajectory.tools,
        expert=Action.of(messages[position]),
    )


def candidates(trajectory: Trajectory) -> list[Candidate]:
    return [at(trajectory, place) for place, message in enumerate(trajectory.messages) if message.role == "assistant"]


def edited(candidate: Candidate, index: int, **changes: object) -> Candidate:
    state = list(candidate.state)
    state[index] = state[index].model_copy(update=changes)
    return candidate.model_copy(update={"state": tuple(state)})


@pytest.fixture
def trajectory() -> Trajectory:
    return demonstrate(Countdown, "countdown", 4)


def test_every_state_of_an_episode_is_restored(trajectory: Trajectory) -> None:
    states = [restore(candidate, REGISTRY) for candidate in candidates(trajectory)]
    assert [state.remaining() for state in states] == [4.0, 3.0, 2.0, 1.0]


def test_mistakes_are_replayed_too() -> None:
    noisy = demonstrate(Countdown, "countdown", 4, error_rate=0.5)
    remaining = [restore(candidate, REGISTRY).remaining() for candidate in candidates(noisy)]
    assert len(remaining) > 4, "the seed makes no mistake, choose another"
    assert remaining == sorted(remaining, reverse=True)


def test_ids_of_calls_and_error_flags_need_not_survive(trajectory: Trajectory) -> None:
    candidate = edited(candidates(trajectory)[2], 3, is_error=True, tool_call_id="7")
    assert restore(candidate, REGISTRY).remaining() == 2.0


@pytest.mark.parametrize("index", [0, 1, 3, 5])
def test_a_difference_is_named(trajectory: Trajectory, index: int) -> None:
    with pytest.raises(Unjudgeable, match=rf"#3: message {index} differs"):
        restore(edited(candidates(trajectory)[3], index, content="something else"), REGISTRY)


def test_a_changed_action_shows_in_the_answer_to_it(trajectory: Trajectory) -> None:
    with pytest.raises(Unjudgeable, match="message 5 differs"):
        restore(edited(candidates(trajectory)[3], 4, content="2"), REGISTRY)


def test_messages_the_replay_does_not_give(trajectory: Trajectory) -> None:
    last = candidates(trajectory)[1]
    longer = last.model_copy(update={"state": (*last.state, Message(role="user", content="hurry up"))})
    with pytest.raises(Unjudgeable, match=r"message 4 \(user\) does not occur"):
        restore(longer, REGISTRY)
    shorter = last.model_copy(update={"state": last.state[:-1]})
    with pytest.raises(Unjudgeable, match="ends before message 3"):
        restore(shorter, REGISTRY)


@pytest.mark.parametrize(
    ("domain", "task_id"),
    [("countdown", "countdown/x"), ("countdown", "4"), ("chess", "chess/4"), ("chess", "countdown/4")],
)
def test_tasks_that_nobody_knows(trajectory: Trajectory, domain: str, task_id: str) -> None:
    unknown = candidates(trajectory)[0].model_copy(update={"domain": domain, "task_id": task_id})
    with pytest.raises(Unjudgeable, match="task"):
        restore(unknown, REGISTRY)


def test_execution_verifier_on_replayed_states() -> None:
    def restored(candidate: Candidate) -> Environment:
        return restore(candidate, REGISTRY)

    noisy = demonstrate(Countdown, "countdown", 4, error_rate=0.5)
    for candidate in candidates(noisy):
        right = restore(candidate, REGISTRY).demonstrations()[0]
        verdicts = judge([ExecutionVerifier(restored)], candidate, [right, Action.say("0")])["execution"]
        if candidate.expert == right:
            assert [(verdict.status, verdict.reward) for verdict in verdicts] == [("judged", 1.0), ("judged", 0.0)]
        else:
            assert {verdict.status for verdict in verdicts} == {"error"}
