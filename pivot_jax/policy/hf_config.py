"""A Hugging Face config.json as an Architecture and back: Qwen3 dense and Qwen3-MoE."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, Qwen3Config, Qwen3MoeConfig

from pivot_jax.config import Architecture, Remat

MODEL_TYPES = ("qwen3", "qwen3_moe")
# theirs → ours, for the rope types that are read
ROPE_FIELDS: dict[str, dict[str, str]] = {
    "default": {},
    "linear": {"factor": "factor"},
    "yarn": {
        "factor": "factor",
        "original_max_position_embeddings": "original_positions",
        "beta_fast": "beta_fast",
        "beta_slow": "beta_slow",
        "attention_factor": "attention_factor",
    },
}


def read_architecture(
    directory: str | Path, *, dtype: str = "float32", remat: Remat = "none", frozen_router: bool = False
) -> Architecture:
    """The architecture that a directory's config.json describes; ValueError names a feature that is not supported."""
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    where = Path(directory) / "config.json"
    if config.model_type not in MODEL_TYPES:
        known = " and ".join(repr(name) for name in MODEL_TYPES)
        raise ValueError(f"{where}: model_type {config.model_type!r} is not supported; only {known}")
    unsupported = {
        "attention_bias": config.attention_bias,
        "use_sliding_window": config.use_sliding_window,
        "hidden_act": config.hidden_act != "silu" and config.hidden_act,
    }
    for field, value in unsupported.items():
        if value:
            raise ValueError(f"{where}: {field} = {value!r} is not supported")
    return Architecture.model_validate(
        {
            "vocab_size": config.vocab_size,
            "embed": config.hidden_size,
            "layers": config.num_hidden_layers,
            "heads": config.num_attention_heads,
            "kv_heads": config.num_key_value_heads,
            # the MoE config has no such field of its own: where config.json leaves it out, the heads share `embed`
            "head_dim": getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            "mlp": config.intermediate_size,
            "rope_theta": config.rope_parameters["rope_theta"],
            "rope_scaling": _rope_scaling(config.rope_parameters, where),
            "max_positions": config.max_position_embeddings,
            "norm_eps": config.rms_norm_eps,
            "tie_embeddings": config.tie_word_embeddings,
            "dtype": dtype,
            "remat": remat,
            **(_experts(config, where) | {"frozen_router": frozen_router} if config.model_type == "qwen3_moe" else {}),
        }
    )


def hf_config(arch: Architecture, eos_token_id: int, dtype: str) -> Qwen3Config | Qwen3MoeConfig:
    """The config.json of a policy of this architecture."""
    fields: dict[str, Any] = {
        "vocab_size": arch.vocab_size,
        "hidden_size": arch.embed,
        "num_hidden_layers": arch.layers,
        "num_attention_heads": arch.heads,
        "num_key_value_heads": arch.kv_heads,
        "head_dim": arch.head_dim,
        "intermediate_size": arch.mlp,
        "rope_parameters": _rope_parameters(arch),
        "max_position_embeddings": arch.max_positions,
        "rms_norm_eps": arch.norm_eps,
        "tie_word_embeddings": arch.tie_embeddings,
        "eos_token_id": eos_token_id,
        "bos_token_id": None,
        "use_cache": True,
        "dtype": dtype,
    }
    if not arch.experts:
        return Qwen3Config(architectures=["Qwen3ForCausalLM"], **fields)
    return Qwen3MoeConfig(
        architectures=["Qwen3MoeForCausalLM"],
        num_experts=arch.experts,
        num_experts_per_tok=arch.experts_per_token,
        moe_intermediate_size=arch.expert_mlp,
        norm_topk_prob=arch.norm_topk_prob,
        decoder_sparse_step=1,
        mlp_only_layers=[],
        **fields,
    )


def _experts(config: Any, where: Path) -> dict[str, Any]:
    """The fields of a mixture; none of them if its config makes every layer dense."""
    step, excepted = config.decoder_sparse_step, config.mlp_only_layers
    layers = range(config.num_hidden_layers)
    dense = [i for i in layers if i in excepted or not config.num_experts or (i + 1) % step]
    if len(dense) == len(layers):
        return {}
    if dense:
        raise ValueError(
            f"{where}: layers {dense} are dense and the others have experts (decoder_sparse_step = {step}, "
            f"mlp_only_layers = {excepted}); blocks are scanned, so all must be alike"
        )
    return {
        "experts": config.num_experts,
        "experts_per_token": config.num_experts_per_tok,
        "expert_mlp": config.moe_intermediate_size,
        "norm_topk_prob": config.norm_topk_prob,
    }


def _rope_scaling(theirs: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """The fields of RopeScaling; what would change the angles and is not understood is refused by name."""
    kind = theirs["rope_type"]
    if kind not in ROPE_FIELDS:
        raise ValueError(
            f"{where}: rope_parameters.rope_type = {kind!r} is not supported; one of {', '.join(ROPE_FIELDS)}"
        )
    names = ROPE_FIELDS[kind]
    harmless = {"rope_type": kind, "type": kind, "rope_theta": theirs["rope_theta"], "truncate": True,
                "partial_rotary_factor": 1.0}  # fmt: skip
    for field, value in theirs.items():
        if value is not None and field not in names and harmless.get(field) != value:
            raise ValueError(f"{where}: rope_parameters.{field} = {value!r} is not supported with rope_type {kind!r}")
    read = {ours: theirs[name] for name, ours in names.items() if theirs.get(name) is not None}
    return {"kind": kind, **read}


def _rope_parameters(arch: Architecture) -> dict[str, Any]:
    scaling = arch.rope_scaling
    written = {name: getattr(scaling, ours) for name, ours in ROPE_FIELDS[scaling.kind].items()}
    if not scaling.attention_factor:
        written.pop("attention_factor", None)
    return {"rope_type": scaling.kind, "rope_theta": arch.rope_theta, **written}
