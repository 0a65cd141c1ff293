"""A skill as an environment: one question, one answer, no tools."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from pivot_jax.domains.environment import Reset
from pivot_jax.records import Action, Message, Tool

SYSTEM = "skills\nAnswer the question with the answer alone."


@dataclass(frozen=True)
class Question:
    """A question with its one right answer and a few plausible wrong ones; words stand apart by single spaces."""

    text: str
    answer: str
    mistakes: tuple[str, ...]


class SkillTask:
    """A question waiting for its answer; the first action, whatever it is, ends the episode."""

    tools: tuple[Tool, ...] = ()

    def __init__(self, question: Question) -> None:
        self._question = question
        self._right: bool | None = None

    @property
    def done(self) -> bool:
        return self._right is not None

    def opening(self) -> tuple[Message, ...]:
        return Message(role="system", content=SYSTEM), Message(role="user", content=self._question.text)

    def step(self, action: Action) -> tuple[Message, ...]:
        if not self.done:
            speaks = not action.tool_calls and not action.malformed
            self._right = speaks and _normalised(action.content) == self._question.answer
        return ()

    def clone(self) -> SkillTask:
        copy = SkillTask(self._question)
        copy._right = self._right
        return copy

    def demonstrations(self) -> tuple[Action, ...]:
        return () if self.done else (Action.say(self._question.answer),)

    def mistakes(self) -> tuple[Action, ...]:
        return () if self.done else tuple(Action.say(answer) for answer in self._question.mistakes)

    def remaining(self) -> float:
        if self._right is None:
            return 1.0
        return 0.0 if self._right else float("inf")

    def outcome(self) -> float:
        return float(self._right is True)


def skill(name: str, ask: Callable[[random.Random], Question]) -> Reset:
    """The domain of one skill: a seed picks a question, and equal seeds of different skills are unrelated."""

    def reset(seed: int) -> SkillTask:
        return SkillTask(ask(random.Random(f"{name}/{seed}")))

    return reset


def question(text: str, answer: str, *slips: str) -> Question:
    """A question whose mistakes are the `slips`, each once, without those that hit the answer by chance."""
    return Question(text, answer, tuple(slip for slip in dict.fromkeys(slips) if slip != answer))


def _normalised(text: str) -> str:
    return " ".join(text.lower().split())
