"""What every environment offers. Environments are seeded, deterministic, cheap to clone, and never import jax."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from pivot_jax.records import Action, Message, Tool, Trajectory

MAX_TURNS = 24
"""Assistant turns after which a demonstration is cut, unless its caller says otherwise."""


class Environment(Protocol):
    """A task in progress. All randomness comes from the seed it was made with; `step` is a pure function of
    (state, action), so replaying the same actions gives the same messages for ever."""

    tools: tuple[Tool, ...]

    @property
    def done(self) -> bool:
        """True when the episode is over (solved, submitted, refused, or ended by the user)."""
        ...

    def opening(self) -> tuple[Message, ...]:
        """The messages before the first turn: the system message, then the user's first message."""
        ...

    def step(self, action: Action) -> tuple[Message, ...]:
        """Execute one action in place; the tool and user messages it leads to. Never raises on a bad action: a
        wrong tool, argument or malformed text is answered with an error message, as a real tool would."""
        ...

    def clone(self) -> Environment:
        """An independent copy of the task as it stands now."""
        ...

    def demonstrations(self) -> tuple[Action, ...]:
        """Good next actions, one for each style that differs here (the first is the canonical one); never empty
        while `remaining()` is finite and the episode is not done. Every one of them is accepted."""
        ...

    def mistakes(self) -> tuple[Action, ...]:
        """Plausible wrong or useless actions at this state: what an imperfect expert might do."""
        ...

    def remaining(self) -> float:
        """Fewest turns from here to success: 0 when solved, `inf` after irreversible damage or a failed end."""
        ...

    def outcome(self) -> float:
        """Outcome reward: 1.0 when the episode is done, the final state equals the goal, nothing else changed and
        every answer is right; else 0.0."""
        ...


Reset = Callable[[int], Environment]
"""A domain is a function from a seed to a fresh environment: the same seed gives the same task for ever."""


def demonstrate(
    reset: Reset, domain: str, seed: int, *, error_rate: float = 0.0, style: int = 0, max_turns: int = MAX_TURNS
) -> Trajectory:
    """Play one expert episode and record it.

    Args:
        reset: the domain.
        domain: its name, recorded in the trajectory; the task id is `f"{domain}/{seed}"`.
        seed: the task.
        error_rate: probability, at each turn, of a plausible mistake in place of a demonstration.
        style: picks which demonstrations are preferred; the same style is kept through the trajectory.
        max_turns: the record ends after this many turns, done or not.

    Returns:
        The trajectory, with the outcome reward in `reward`.
    """
    env = reset(seed)
    rng = random.Random(f"{domain}/{seed}/{style}/{error_rate}")
    messages = list(env.opening())
    for _ in range(max_turns):
        mistakes = env.mistakes()
        options = env.demonstrations() if env.remaining() < float("inf") else ()
        if mistakes and (not options or rng.random() < error_rate):
            action = rng.choice(mistakes)
        else:
            action = options[style % len(options)]
        messages += [action.message(), *env.step(action)]
        if env.done:
            break
    return Trajectory(
        id=f"{domain}/{seed}/{style}",
        domain=domain,
        task_id=f"{domain}/{seed}",
        messages=tuple(messages),
        tools=env.tools,
        reward=env.outcome(),
        metadata={"style": style, "error_rate": error_rate},
    )
