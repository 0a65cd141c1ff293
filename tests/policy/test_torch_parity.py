"""Logits of random Qwen3 and Qwen3-MoE checkpoints equal torch's, whichever side wrote them."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from pivot_jax.config import MeshSection
from pivot_jax.config_policy import Architecture, RopeScaling
from pivot_jax.policy.decoder import forward, unembed
from pivot_jax.policy.hf_config import hf_config, read_architecture
from pivot_jax.policy.mesh import make_mesh, to_mesh
from pivot_jax.policy.weights import read_weights, write_weights
from tests.policy.tiny import DENSE, EXPERTS, MIXED, MOE, RULES, UNTIED, policy, tokens

LINEAR = RopeScaling(kind="linear", factor=3.0)
YARN = RopeScaling(kind="yarn", factor=4.0, original_positions=16)
SHAPES = {
    "tied": DENSE,
    "untied": UNTIED,
    "no_gqa": DENSE.model_copy(
        update={"vocab_size": 80, "embed": 24, "layers": 3, "heads": 4, "kv_heads": 4, "head_dim": 16, "mlp": 40}
    ),
    "narrow_heads": Architecture(
        vocab_size=96, embed=32, layers=1, heads=6, kv_heads=2, head_dim=4, mlp=64, rope_theta=5e5
    ),
    "one_kv_head": DENSE.model_copy(update={"kv_heads": 1, "head_dim": 12, "tie_embeddings": False}),
    "linear": UNTIED.model_copy(update={"rope_scaling": LINEAR}),
    "yarn": UNTIED.model_copy(update={"rope_scaling": YARN, "head_dim": 32, "rope_theta": 1e4}),
    "yarn_attention_factor": DENSE.model_copy(
        update={"rope_scaling": YARN.model_copy(update={"attention_factor": 1.7, "beta_fast": 8.0}), "head_dim": 16}
    ),
    "moe_top_2": MOE,
    "moe_top_1": MOE.model_copy(update={"experts_per_token": 1, "norm_topk_prob": False, "tie_embeddings": False}),
    "moe_top_1_normed": MOE.model_copy(update={"experts_per_token": 1}),
    "moe_top_4": MOE.model_copy(update={"experts_per_token": 4, "norm_topk_prob": False}),
    "moe_top_4_normed": MOE.model_copy(update={"experts": 16, "experts_per_token": 4, "rope_theta": 1e6}),
    "moe_yarn": MOE.model_copy(
        update={"kv_heads": 2, "head_dim": 20, "experts": 4, "rope_scaling": YARN, "expert_mlp": 24}
    ),
}
pytestmark = pytest.mark.parity


def our_logits(params, arch: Architecture, mesh, ids: np.ndarray) -> np.ndarray:
    with jax.set_mesh(mesh):
        logits = jax.jit(lambda p, t: unembed(p, forward(p, t, None, arch, RULES).trunk, arch, RULES))
        return np.asarray(logits(params, to_mesh(ids, mesh, RULES, "batch", "seq")))


def torch_logits(model, ids: np.ndarray) -> np.ndarray:
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return model.eval()(torch.from_numpy(ids).long()).logits.numpy()


def mesh_for(arch: Architecture):
    return make_mesh(EXPERTS if arch.experts else MIXED if arch.kv_heads > 1 else MeshSection(data=2, fsdp=4))


@pytest.mark.parametrize("name", SHAPES)
def test_logits_equal_torch(name, tmp_path):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    arch = SHAPES[name]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(hf_config(arch, 0, "float32"))
    with torch.no_grad():
        for parameter in model.parameters():  # norms too: ones would hide a missing scale
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    assert read_architecture(tmp_path) == arch
    ids = tokens((8, 48), high=arch.vocab_size)
    expected = torch_logits(model, ids)
    mesh = mesh_for(arch)
    ours = our_logits(read_weights(tmp_path, arch, mesh, RULES), arch, mesh, ids)
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(ours, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["untied", "yarn", "moe_top_2"])
def test_torch_opens_what_we_write(name, tmp_path):
    pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    arch = SHAPES[name]
    mesh, params = policy(arch, EXPERTS)
    write_weights(tmp_path / "out", params, arch, tmp_path, 3, max_shard_bytes=30_000)
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    ids = tokens((4, 12))
    np.testing.assert_allclose(our_logits(params, arch, mesh, ids), torch_logits(model, ids), atol=1e-4, rtol=0)
