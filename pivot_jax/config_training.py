"""The sections of training: the objective, the optimizer, and the three methods."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pivot_jax.config_section import Section


class LossSection(Section):
    """The group-relative objective (Eq. 7) and its relatives; `configs/preset/` names common combinations."""

    advantage: Literal["standardised", "centred", "leave_one_out", "leave_one_out_std", "none"] = "standardised"
    std_eps: float = Field(default=1e-6, gt=0)
    surrogate: Literal["clip", "gspo", "cispo"] = "clip"
    """One clipped ratio a token, one an action (GSPO), or a clipped weight that never silences a token (CISPO)."""
    clip_low: float = Field(default=0.2, gt=0, le=1)
    """How far below 1 a ratio may fall (1: as far as it likes)."""
    clip_high: float = Field(default=0.2, gt=0)
    dual_clip: float = Field(default=0.0, ge=0)
    """Largest ratio of a token with negative advantage, above 1 + clip_high (0: unbounded)."""
    kl_coef: float = Field(default=0.03, ge=0)
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    kl_weighted: bool = False
    """Weight the estimate by the importance ratio, which makes the gradient of k1 and k3 that of the divergence."""
    aggregation: Literal["token", "sequence", "constant"] = "sequence"
    constant_length: int = Field(default=24, ge=1)
    """Tokens that `constant` divides an action's sum by: usually sampling.max_new_tokens."""
    importance: Literal["truncated", "masked"] = "truncated"
    """Weights between sampler and trainer: held at importance_cap, or 0 outside [importance_floor, importance_cap]."""
    importance_level: Literal["token", "sequence"] = "token"
    importance_floor: float = Field(default=0.0, ge=0)
    importance_cap: float = Field(default=0.0, ge=0)
    """Largest weight between sampler and trainer (0: no correction)."""
    drop_cut_off: bool = False
    """Actions that met the length limit are not trained on; they still count in their group's mean."""
    message_share: float = Field(default=1.0, ge=0, le=1)
    """Largest share of a batch's pivots at which the expert sends a message; those of least spread go first."""
    surplus_penalty: float = Field(default=0.0, ge=0)
    """What each tool call beyond the expert's takes from a reward, as a share of it."""

    @model_validator(mode="after")
    def _check(self) -> LossSection:
        if self.dual_clip and self.surrogate != "clip":
            raise ValueError(
                f"dual_clip={self.dual_clip} belongs to surrogate='clip', not {self.surrogate!r}; set it to 0"
            )
        if self.dual_clip and self.dual_clip <= 1 + self.clip_high:
            raise ValueError(f"dual_clip={self.dual_clip} must be above 1 + clip_high = {1 + self.clip_high}")
        if self.surrogate == "gspo" and self.aggregation == "token":
            raise ValueError("surrogate='gspo' clips whole actions; use aggregation='sequence' or 'constant'")
        if self.kl_weighted and self.kl_estimator == "k2":
            raise ValueError("kl_weighted: the gradient of k2 is right without a weight; use k1 or k3, or unset it")
        if self.importance_cap and self.importance_floor >= self.importance_cap:
            raise ValueError(
                f"importance_floor={self.importance_floor} must be below importance_cap={self.importance_cap}"
            )
        if self.importance_floor and (self.importance == "truncated" or not self.importance_cap):
            raise ValueError("importance_floor needs importance='masked' and an importance_cap")
        return self


class OptimizerSection(Section):
    """AdamW with a linear warm-up."""

    learning_rate: float = Field(default=2e-4, gt=0)
    warmup_steps: int = Field(default=5, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    b1: float = Field(default=0.9, ge=0, lt=1)
    b2: float = Field(default=0.95, ge=0, lt=1)
    decay_steps: int = Field(default=0, ge=0)
    """Steps over which the rate falls linearly to zero (0: it stays)."""


class TrainSection(Section):
    """GRPO on pivots."""

    steps: int = Field(default=60, ge=1)
    pivots_per_step: int = Field(default=16, ge=1)
    micro_batches: int = Field(default=1, ge=1)
    """Parts that a step\'s pivots are gone through in: memory is that of a part, the step is the same."""
    group_size: int = Field(default=8, ge=2)
    """G, actions a pivot."""
    reward: Literal["functional", "exact", "tool_name"] = "functional"
    reprofile_below: float = Field(default=0.0, ge=0, le=1)
    """Choose new pivots with the current policy when the share of mixed groups since the last checkpoint is below this
    (0: never)."""
    reprofile_samples: int = Field(default=4, ge=2)
    """Actions a candidate when re-profiling."""
    reprofile_candidates: int = Field(default=256, ge=1)
    """Candidates that are re-profiled, drawn at random from all of the arm's."""
    optimizer: OptimizerSection = OptimizerSection()
    checkpoint_every: int = Field(default=20, ge=1)


class SftSection(Section):
    """Supervised fine-tuning on the same trajectories: all turns, or the pivots alone."""

    turns: Literal["all", "pivots"] = "all"
    steps: int = Field(default=100, ge=1)
    trajectories_per_step: int = Field(default=16, ge=1)
    micro_batches: int = Field(default=1, ge=1)
    """Parts that a step\'s trajectories are gone through in: memory is that of a part, the step is the same."""
    optimizer: OptimizerSection = OptimizerSection()
    checkpoint_every: int = Field(default=50, ge=1)


class E2eSection(Section):
    """End-to-end RL: whole episodes, one outcome reward for all of their turns."""

    steps: int = Field(default=30, ge=1)
    tasks_per_step: int = Field(default=8, ge=1)
    micro_batches: int = Field(default=1, ge=1)
    """Parts that a step\'s tasks are gone through in: memory is that of a part, the step is the same."""
    group_size: int = Field(default=8, ge=2)
    """Episodes a task."""
    max_turns: int = Field(default=14, ge=1)
    tasks: int = Field(default=0, ge=0)
    """Distinct training tasks a domain (0: those of the demonstrations)."""
    batch: int = Field(default=64, ge=1)
    """Episodes decoded together."""
    optimizer: OptimizerSection = OptimizerSection()
    checkpoint_every: int = Field(default=10, ge=1)
