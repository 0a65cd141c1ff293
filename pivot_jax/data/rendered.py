"""A rendered trajectory: the token ids of every state and action, kept as they are from here on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pivot_jax.data.failure import RenderError

TokenIds = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class RenderedTurn:
    """Turn `index`: `state_ids`, the history with the generation prompt, and `action_ids`, exactly what a policy would
    have sampled, from the first token after the generation prompt up to and including the end-of-turn token."""

    index: int
    state_ids: TokenIds
    action_ids: TokenIds


@dataclass(frozen=True, eq=False)
class TokenSequence:
    """Token ids to train on, and the action mask: True on the tokens that the policy would have sampled."""

    ids: TokenIds
    action_mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Rendered:
    """The turns of one trajectory as token ids, in order; never empty."""

    trajectory_id: str
    turns: tuple[RenderedTurn, ...]

    @property
    def prefix_preserving(self) -> bool:
        """True when every state starts with the previous state and action, id by id."""
        return len(self.sequences()) == 1

    @property
    def ids(self) -> TokenIds:
        """The whole trajectory up to its last action; RenderError unless `prefix_preserving`."""
        return self._whole().ids

    @property
    def action_mask(self) -> NDArray[np.bool_]:
        """The action mask of `ids`; RenderError unless `prefix_preserving`."""
        return self._whole().action_mask

    def sequences(self) -> tuple[TokenSequence, ...]:
        """The fewest runs of consecutive turns that each read as one sequence: one when the template preserves
        prefixes, else one for each stretch between rewritings of the history. Every action is in exactly one mask."""
        runs: list[list[RenderedTurn]] = []
        for turn in self.turns:
            if runs and _continues(runs[-1][-1], turn):
                runs[-1].append(turn)
            else:
                runs.append([turn])
        return tuple(_joined(run) for run in runs)

    def _whole(self) -> TokenSequence:
        sequence, *others = self.sequences()
        if others:
            reason = f"the template rewrites history: {1 + len(others)} sequences, not one; use sequences()"
            raise RenderError(self.trajectory_id, None, reason)
        return sequence


def _continues(earlier: RenderedTurn, later: RenderedTurn) -> bool:
    before = np.concatenate([earlier.state_ids, earlier.action_ids])
    return np.array_equal(later.state_ids[: len(before)], before)


def _joined(run: list[RenderedTurn]) -> TokenSequence:
    ids = np.concatenate([run[-1].state_ids, run[-1].action_ids])
    action_mask = np.zeros(len(ids), dtype=np.bool_)
    for turn in run:
        action_mask[len(turn.state_ids) :][: len(turn.action_ids)] = True
    return TokenSequence(ids=ids, action_mask=action_mask)
