"""The host edge of sampling: token ids come off the devices once, and become actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from pivot_jax.data.parsing import ActionFormat, Completion, read_ids
from pivot_jax.hosts.arrays import on_host
from pivot_jax.records import Action, Tool
from pivot_jax.rollout.decode import Sampled


@dataclass(frozen=True, eq=False)
class SampledAction:
    """One sampled action as the policy wrote it: ids (stop token included) and behavior log-probs."""

    ids: NDArray[np.int32]
    behavior_logprobs: NDArray[np.float32]
    finished: bool

    def completion(
        self, tokenizer: PreTrainedTokenizerBase, tools: Sequence[Tool], action_format: ActionFormat
    ) -> Completion:
        """What these tokens say: the action, and the reasoning before it."""
        return read_ids(self.ids, tokenizer, tools, action_format, finished=self.finished)

    def read(self, tokenizer: PreTrainedTokenizerBase, tools: Sequence[Tool], action_format: ActionFormat) -> Action:
        """The action that these tokens stand for; without a reading, `malformed` says why."""
        return self.completion(tokenizer, tools, action_format).action


def fetch(sampled: Sampled) -> list[list[SampledAction]]:
    """Sampled branches as host records, `[N][B]`; the one transfer from device to host of a rollout.

    Every process gets all of them: a state's actions are judged by one process, whichever devices sampled them."""
    tokens, mask, logprobs, finished = on_host(
        (sampled.tokens, sampled.action_mask, sampled.behavior_logprobs, sampled.finished)
    )
    return [
        [
            SampledAction(tokens[n, b][mask[n, b]], logprobs[n, b][mask[n, b]], bool(finished[n, b]))
            for b in range(mask.shape[1])
        ]
        for n in range(mask.shape[0])
    ]
