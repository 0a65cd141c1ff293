"""The sections that describe a policy: its shape, and the adapters that are trained on it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pivot_jax.config_section import Section


def _named(remat: Any) -> Any:
    """Configs from before the names had a switch: `true` recomputed all of a block, `false` nothing."""
    return {True: "full", False: "none"}[remat] if isinstance(remat, bool) else remat


Remat = Annotated[Literal["none", "dots", "offload", "full"], BeforeValidator(_named)]
"""What each block keeps of its forward pass for the backward pass: all of it, the results of its matrix products (not
attention's), or its input, in host memory or on the device; the rest is computed again (docs/memory.md)."""


class RopeScaling(Section):
    """How rotary frequencies are stretched beyond the context that the policy was pretrained with."""

    kind: Literal["default", "linear", "yarn"] = "default"
    factor: float = Field(default=1.0, ge=1)
    """Times the pretrained context."""
    original_positions: int = Field(default=32_768, ge=1)
    """The pretrained context, in tokens (yarn)."""
    beta_fast: float = Field(default=32.0, gt=0)
    beta_slow: float = Field(default=1.0, gt=0)
    """Pairs that turn more often than `beta_fast` in that context keep their frequency; fewer than `beta_slow`, all of
    it is divided by `factor`; in between a ramp (yarn)."""
    attention_factor: float = Field(default=0.0, ge=0)
    """What rotated queries and keys are multiplied with (yarn; 0: 0.1 ln(factor) + 1)."""


class Architecture(Section):
    """Shape of a Qwen3 decoder, dense or with experts in every block (static: a change recompiles)."""

    vocab_size: int = Field(default=512, ge=1)
    embed: int = Field(default=128, ge=1)
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    kv_heads: int = Field(default=2, ge=1)
    head_dim: int = Field(default=32, ge=2)
    mlp: int = Field(default=384, ge=1)
    """Width of a dense block's MLP; not used when there are experts."""
    experts: int = Field(default=0, ge=0)
    """Experts a block (0: a dense MLP)."""
    experts_per_token: int = Field(default=0, ge=0)
    expert_mlp: int = Field(default=0, ge=0)
    """Width of one expert."""
    norm_topk_prob: bool = True
    """The weights of a token's chosen experts are made to sum to one."""
    frozen_router: bool = False
    """The router is not trained: which experts a token goes to changes only as its hidden state does."""
    rope_theta: float = Field(default=10_000.0, gt=0)
    rope_scaling: RopeScaling = RopeScaling()
    max_positions: int = Field(default=32_768, ge=1)
    """Longest sequence that the checkpoint's config.json declares; nothing is cut to it."""
    norm_eps: float = Field(default=1e-6, gt=0)
    tie_embeddings: bool = True
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute dtype; parameters are always stored in float32."""
    remat: Remat = "none"

    @model_validator(mode="after")
    def _check(self) -> Architecture:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads={self.heads} is not a multiple of kv_heads={self.kv_heads}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim={self.head_dim} must be even: rotary embedding turns pairs")
        if self.experts and not 1 <= self.experts_per_token <= self.experts:
            raise ValueError(f"experts_per_token={self.experts_per_token} must be between 1 and experts={self.experts}")
        if self.experts and not self.expert_mlp:
            raise ValueError(f"expert_mlp={self.expert_mlp} must be at least 1 with experts={self.experts}")
        return self


class LoraSection(Section):
    """Train low-rank additions to some linears of each block, W + alpha / rank · A B, and leave the policy as it is."""

    rank: int = Field(default=0, ge=0)
    """Of the additions (0: train the whole policy)."""
    alpha: float = Field(default=32.0, gt=0)
    targets: tuple[Literal["query", "key", "value", "output", "gate", "up", "down"], ...] = Field(
        default=("query", "key", "value", "output", "gate", "up", "down"), min_length=1
    )
    """The linears; where a block has experts, `gate`, `up` and `down` are each expert's own."""
