"""config.json of the published models in and out; what is not supported is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from pivot_jax.config import MeshSection
from pivot_jax.config_policy import Architecture, RopeScaling
from pivot_jax.policy.decoder import forward, unembed
from pivot_jax.policy.hf_config import hf_config, read_architecture
from pivot_jax.policy.mesh import abstract_mesh
from pivot_jax.policy.spec import count_active_parameters, count_parameters, restore_targets
from tests.policy.tiny import RULES

# hidden, layers, heads, kv heads, intermediate, tied, parameters (exactly, a tied table counted once)
DENSE_MODELS = {
    "Qwen3-0.6B": (1024, 28, 16, 8, 3072, True, 596_049_920),
    "Qwen3-1.7B": (2048, 28, 16, 8, 6144, True, 1_720_574_976),
    "Qwen3-4B": (2560, 36, 32, 8, 9728, True, 4_022_468_096),
    "Qwen3-8B": (4096, 36, 32, 8, 12288, False, 8_190_735_360),
    "Qwen3-14B": (5120, 40, 40, 8, 17408, False, 14_768_307_200),
    "Qwen3-32B": (5120, 64, 64, 8, 25600, False, 32_762_123_264),
}
MOE_MODEL = (2048, 48, 32, 4, 6144, False, 30_532_122_624)
MOE_FIELDS = {
    "decoder_sparse_step": 1, "mlp_only_layers": [], "moe_intermediate_size": 768, "norm_topk_prob": True,
    "num_experts": 128, "num_experts_per_tok": 8, "output_router_logits": False, "router_aux_loss_coef": 0.001,
}  # fmt: skip


def published(name: str) -> dict[str, Any]:
    """config.json of a published model, as it is on the hub."""
    is_moe = name not in DENSE_MODELS
    hidden, layers, heads, kv_heads, intermediate, tied, _ = MOE_MODEL if is_moe else DENSE_MODELS[name]
    return {
        "architectures": ["Qwen3MoeForCausalLM" if is_moe else "Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": intermediate,
        "max_position_embeddings": 40960,
        "max_window_layers": layers,
        "model_type": "qwen3_moe" if is_moe else "qwen3",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.51.0",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": 151936,
        **(MOE_FIELDS if is_moe else {}),
    }


def read(directory: Path, config: dict[str, Any], **options: Any) -> Architecture:
    (directory / "config.json").write_text(json.dumps(config))
    return read_architecture(directory, **options)


@pytest.mark.parametrize("name", DENSE_MODELS)
def test_published_dense_models_load_with_their_parameter_counts(name, tmp_path):
    hidden, layers, heads, kv_heads, intermediate, tied, parameters = DENSE_MODELS[name]
    arch = read(tmp_path, published(name))
    assert (arch.embed, arch.layers, arch.heads, arch.kv_heads, arch.mlp) == (
        hidden, layers, heads, kv_heads, intermediate,
    )  # fmt: skip
    assert (arch.head_dim, arch.vocab_size, arch.rope_theta, arch.tie_embeddings) == (128, 151936, 1e6, tied)
    assert arch.experts == 0 and arch.max_positions == 40960 and arch.rope_scaling == RopeScaling()
    assert count_parameters(arch) == count_active_parameters(arch) == parameters


def test_the_published_moe_model_loads_with_its_parameter_counts(tmp_path):
    arch = read(tmp_path, published("Qwen3-30B-A3B"), dtype="bfloat16", remat="full", frozen_router=True)
    assert (arch.experts, arch.experts_per_token, arch.expert_mlp, arch.norm_topk_prob) == (128, 8, 768, True)
    assert arch.frozen_router and arch.remat == "full" and arch.dtype == "bfloat16"
    assert count_parameters(arch) == MOE_MODEL[-1]
    assert count_active_parameters(arch) == 3_353_032_704  # published as "3.3B activated"


@pytest.mark.parity
@pytest.mark.parametrize("name", [*DENSE_MODELS, "Qwen3-30B-A3B"])
def test_parameter_counts_equal_torch(name, tmp_path):
    torch = pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModelForCausalLM

    arch = read(tmp_path, published(name))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    assert sum(parameter.numel() for parameter in model.parameters()) == count_parameters(arch)


@pytest.mark.parametrize("name", ["Qwen3-0.6B", "Qwen3-32B", "Qwen3-30B-A3B"])
def test_published_models_type_check_on_a_large_mesh(name, tmp_path):
    arch = read(tmp_path, published(name), dtype="bfloat16", remat="full")
    mesh = abstract_mesh(MeshSection(data=4, fsdp=16, expert=2, tensor=4))

    def loss(params, tokens):
        return jnp.sum(unembed(params, forward(params, tokens, None, arch, RULES).trunk, arch, RULES))

    sharding = jax.sharding.NamedSharding(mesh, RULES.computed("batch", "seq"))
    with jax.sharding.use_abstract_mesh(mesh):
        params = restore_targets(arch, mesh, RULES)
        tokens = jax.ShapeDtypeStruct((64, 4096), jnp.int32, sharding=sharding)
        gradients = jax.eval_shape(jax.grad(loss), params, tokens)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        stored = params
        for part in path:
            stored = getattr(stored, part.name)
        assert gradient.shape == stored.shape and gradient.sharding.spec == stored.sharding.spec, path


@pytest.mark.parametrize(
    "scaling",
    [
        RopeScaling(),
        RopeScaling(kind="linear", factor=2.0),
        RopeScaling(kind="yarn", factor=4.0),
        RopeScaling(kind="yarn", factor=8.0, original_positions=4096, beta_fast=16.0, attention_factor=1.25),
    ],
    ids=["default", "linear", "yarn", "yarn_all_fields"],
)
@pytest.mark.parametrize("name", ["Qwen3-0.6B", "Qwen3-8B", "Qwen3-30B-A3B"])
def test_an_architecture_comes_back_from_the_config_it_writes(name, scaling, tmp_path):
    arch = read(tmp_path, published(name)).model_copy(update={"rope_scaling": scaling})
    hf_config(arch, 151645, "bfloat16").save_pretrained(tmp_path)
    assert read_architecture(tmp_path) == arch
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["architectures"] == published(name)["architectures"]
    assert written["max_position_embeddings"] == 40960


def test_yarn_as_the_model_cards_write_it(tmp_path):
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    arch = read(tmp_path, {**published("Qwen3-8B"), "rope_scaling": yarn, "max_position_embeddings": 131072})
    assert arch.rope_scaling == RopeScaling(kind="yarn", factor=4.0, original_positions=32768)
    assert arch.max_positions == 131072
    old_name = {"type": "linear", "factor": 2.0}
    arch = read(tmp_path, {**published("Qwen3-8B"), "rope_scaling": old_name})
    assert arch.rope_scaling == RopeScaling(kind="linear", factor=2.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention_bias": True}, "attention_bias = True is not supported"),
        ({"use_sliding_window": True, "sliding_window": 4096}, "use_sliding_window = True"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ({"model_type": "llama"}, "model_type 'llama' is not supported; only 'qwen3' and 'qwen3_moe'"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type = 'dynamic' is not supported; one of d"),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 9, "mscale": 2}},
            "rope_parameters.mscale = 2 is not supported with rope_type 'yarn'",
        ),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5"),
    ],
    ids=["bias", "window", "activation", "model_type", "rope_type", "mscale", "partial_rotary"],
)
def test_what_is_not_supported_is_refused_by_name(change, message, tmp_path):
    with pytest.raises(ValueError, match=rf"config\.json: .*{message}"):
        read(tmp_path, {**published("Qwen3-8B"), **change})


def test_layers_must_be_alike(tmp_path):
    moe = {**published("Qwen3-30B-A3B"), "num_hidden_layers": 4}
    with pytest.raises(ValueError, match=r"layers \[0, 2\] are dense and the others have experts \(decoder_sparse_st"):
        read(tmp_path, {**moe, "decoder_sparse_step": 2})
    with pytest.raises(ValueError, match=r"layers \[1\] are dense .* mlp_only_layers = \[1\].*must be alike"):
        read(tmp_path, {**moe, "mlp_only_layers": [1]})
    assert read(tmp_path, {**moe, "mlp_only_layers": [0, 1, 2, 3]}).experts == 0


def test_architecture_checks():
    for change, message in [
        ({"heads": 6, "kv_heads": 4}, "heads=6 is not a multiple of kv_heads=4"),
        ({"head_dim": 7}, "head_dim=7 must be even"),
        ({"experts": 4, "experts_per_token": 5, "expert_mlp": 8}, "experts_per_token=5 must be between 1 and exp"),
        ({"experts": 4, "experts_per_token": 2}, "expert_mlp=0 must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            Architecture(**change)
