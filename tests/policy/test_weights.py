"""Hugging Face directories: parity with torch, bit-equal round trips, clear refusals."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pivot_jax.config import Architecture
from pivot_jax.policy.decoder import forward, unembed
from pivot_jax.policy.mesh import make_mesh, to_mesh
from pivot_jax.policy.weights import read_architecture, read_weights, write_weights
from tests.policy.tiny import DENSE, RULES, UNTIED, policy, tokens

SHAPES = [
    DENSE,
    UNTIED,
    Architecture(vocab_size=80, embed=24, layers=3, heads=4, kv_heads=4, head_dim=16, mlp=40, tie_embeddings=False),
    Architecture(vocab_size=96, embed=32, layers=1, heads=6, kv_heads=2, head_dim=4, mlp=64, rope_theta=5e5),
]


@pytest.mark.parity
@pytest.mark.parametrize("arch", SHAPES)
def test_logits_equal_torch(arch, tmp_path):
    torch = pytest.importorskip("torch")
    from transformers import Qwen3ForCausalLM

    from pivot_jax.policy.weights import hf_config

    torch.manual_seed(0)
    model = Qwen3ForCausalLM(hf_config(arch, 0, "float32")).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # norms too: ones would hide a missing scale
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    assert read_architecture(tmp_path) == arch
    ids = tokens((8, 19), high=arch.vocab_size)
    with torch.no_grad():
        expected = model(torch.from_numpy(ids).long()).logits.numpy()
    mesh = make_mesh(2, 2, 1, 2)
    with jax.set_mesh(mesh):
        params = read_weights(tmp_path, arch, mesh, RULES)

        @jax.jit
        def logits(params, ids):
            return unembed(params, forward(params, ids, None, arch, RULES).trunk, arch, RULES)

        ours = np.asarray(logits(params, to_mesh(ids, mesh, RULES, "batch", "seq")))
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(ours, expected, atol=1e-4, rtol=0)


@pytest.mark.parity
def test_torch_opens_what_we_write(tmp_path):
    torch = pytest.importorskip("torch")
    from transformers import Qwen3ForCausalLM

    mesh, params = policy(UNTIED)
    write_weights(tmp_path / "out", params, UNTIED, tmp_path, 3)
    model, info = Qwen3ForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    ids = tokens((4, 12))
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(ids).long()).logits.numpy()
    with jax.set_mesh(mesh):
        hidden = jax.jit(lambda p, t: unembed(p, forward(p, t, None, UNTIED, RULES).trunk, UNTIED, RULES))
        ours = np.asarray(hidden(params, to_mesh(ids, mesh, RULES, "batch", "seq")))
    np.testing.assert_allclose(ours, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("arch", [DENSE, UNTIED])
def test_round_trip_is_bit_equal(arch, dtype, tmp_path):
    mesh, params = policy(arch)
    write_weights(tmp_path / "a", params, arch, tmp_path, 0, dtype=dtype, max_shard_bytes=20_000)
    shards = sorted(path.name for path in (tmp_path / "a").glob("*.safetensors"))
    assert len(shards) > 2 and (tmp_path / "a" / "model.safetensors.index.json").exists()
    again = read_weights(tmp_path / "a", arch, mesh, RULES)
    write_weights(tmp_path / "b", again, arch, tmp_path, 0, dtype=dtype)
    first = {name: array for shard in shards for name, array in load_file(tmp_path / "a" / shard).items()}
    second = load_file(tmp_path / "b" / "model.safetensors")
    assert first.keys() == second.keys()
    for name in first:
        assert first[name].dtype == second[name].dtype == np.dtype(dtype)
        assert first[name].tobytes() == second[name].tobytes(), name


def test_sharded_and_whole_load_the_same_on_every_mesh(tmp_path):
    _, params = policy(DENSE)
    write_weights(tmp_path / "out", params, DENSE, tmp_path, 0, max_shard_bytes=20_000)
    for shape in [(8, 1, 1, 1), (1, 2, 1, 4)]:
        mesh = make_mesh(*shape)
        again = read_weights(tmp_path / "out", DENSE, mesh, RULES)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), params, again)
        assert again.blocks.query.sharding.mesh.shape["tensor"] == shape[3]


def test_missing_and_unknown_tensors_are_named(tmp_path):
    mesh, params = policy(DENSE)
    write_weights(tmp_path / "out", params, DENSE, tmp_path, 0)
    file = tmp_path / "out" / "model.safetensors"
    tensors = load_file(file)
    norm = tensors.pop("model.norm.weight")
    save_file(tensors, file)
    with pytest.raises(ValueError, match=r"'model\.norm\.weight' is missing"):
        read_weights(tmp_path / "out", DENSE, mesh, RULES)
    save_file({**tensors, "model.norm.weight": norm, "model.extra.weight": norm}, file)
    with pytest.raises(ValueError, match=r"'model\.extra\.weight' is unknown"):
        read_weights(tmp_path / "out", DENSE, mesh, RULES)
    save_file({**tensors, "model.norm.weight": norm[:-1]}, file)
    with pytest.raises(ValueError, match=r"model\.norm\.weight' is \(31,\), config.json says \(32,\)"):
        read_weights(tmp_path / "out", DENSE, mesh, RULES)


def test_unsupported_architectures_are_refused(tmp_path):
    _, params = policy(DENSE)
    write_weights(tmp_path / "out", params, DENSE, tmp_path, 0)
    path = tmp_path / "out" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "attention_bias": True}))
    with pytest.raises(ValueError, match="attention_bias"):
        read_architecture(tmp_path / "out")
    path.write_text(json.dumps({**config, "model_type": "llama"}))
    with pytest.raises(ValueError, match="'llama' is not supported"):
        read_architecture(tmp_path / "out")


def test_a_directory_in_use_is_not_overwritten(tmp_path):
    _, params = policy(DENSE)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    with pytest.raises(FileExistsError, match="not empty"):
        write_weights(tmp_path / "out", params, DENSE, tmp_path, 0)
    assert (tmp_path / "out" / "precious").read_text() == "x"
