"""What an episode is: a game to be played, and its tokens, actions and outcome as it is played."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pivot_jax.data.rendered import TokenIds
from pivot_jax.domains.environment import Environment
from pivot_jax.records import Message
from pivot_jax.rollout.actions import SampledAction


@dataclass(frozen=True)
class Game:
    """An episode to be played: `name` and `draw` seed its random keys, so episodes of a group differ in `draw`."""

    name: str
    start: Callable[[], Environment]
    """Makes the fresh environment, when there is room for it."""
    draw: int = 0


@dataclass(frozen=True, eq=False)
class Fragment:
    """What one burst sampled of an action; `stopped` when its stop token is in it."""

    ids: TokenIds
    behavior_logprobs: NDArray[np.float32]
    stopped: bool


@dataclass(frozen=True)
class Feed:
    """One pass over `tokens` tokens of an episode that continue from `start` cached ones."""

    start: int
    tokens: int


@dataclass(eq=False)
class Episode:
    """One environment being played. `ids` is the whole history; what the policy wrote stays in it token by token."""

    game: Game
    env: Environment | None
    """None where another process steps it."""
    messages: list[Message]
    """Known to the process that steps the environment."""
    ids: TokenIds
    cached: int = 0
    """Tokens whose keys and values are on the devices."""
    fragments: list[Fragment] = field(default_factory=list)
    """Of the action that is being sampled."""
    actions: list[SampledAction] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    """Where in `ids` each action begins."""
    feeds: list[Feed] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """Error messages that tools answered with, in order."""
    done: bool = False
    """The environment ended the episode."""
    outcome: float = 0.0
    """Of an episode that is over, be it by `max_turns`."""
    rewritten: bool = False
    """The chat template rewrote earlier turns, so `ids` is not what every action was sampled after."""

    @property
    def name(self) -> str:
        return self.game.name

    @property
    def turns(self) -> int:
        return len(self.actions)

    @property
    def written(self) -> int:
        """Tokens sampled so far of the unfinished action."""
        return sum(len(fragment.ids) for fragment in self.fragments)
