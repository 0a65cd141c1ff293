"""Hugging Face directories: bit-equal round trips, reading by slices, clear refusals."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pivot_jax.config import MeshSection
from pivot_jax.policy.hf_layout import hf_layout
from pivot_jax.policy.mesh import Rules, make_mesh
from pivot_jax.policy.weights import read_architecture, read_weights, write_weights
from tests.policy.tiny import DATA, DENSE, MOE, RULES, UNTIED, policy


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("arch", [DENSE, UNTIED, MOE], ids=["tied", "untied", "moe"])
def test_round_trip_is_bit_equal(arch, dtype, tmp_path):
    mesh, params = policy(arch)
    write_weights(tmp_path / "a", params, arch, tmp_path, 0, dtype=dtype, max_shard_bytes=20_000)
    shards = sorted(path.name for path in (tmp_path / "a").glob("*.safetensors"))
    assert len(shards) > 2 and (tmp_path / "a" / "model.safetensors.index.json").exists()
    assert read_architecture(tmp_path / "a") == arch
    again = read_weights(tmp_path / "a", arch, mesh, RULES)
    write_weights(tmp_path / "b", again, arch, tmp_path, 0, dtype=dtype)
    first = {name: array for shard in shards for name, array in load_file(tmp_path / "a" / shard).items()}
    second = load_file(tmp_path / "b" / "model.safetensors")
    assert first.keys() == second.keys()
    assert max((tmp_path / "a" / shard).stat().st_size for shard in shards) < 20_000 + 8_000  # a header, no more
    for name in first:
        assert first[name].dtype == second[name].dtype == np.dtype(dtype)
        assert first[name].tobytes() == second[name].tobytes(), name


@pytest.mark.parametrize("arch", [DENSE, MOE], ids=["dense", "moe"])
def test_sharded_and_whole_load_the_same_on_every_mesh(arch, tmp_path):
    _, params = policy(arch)
    write_weights(tmp_path / "out", params, arch, tmp_path, 0, max_shard_bytes=20_000)
    for shape in [DATA, MeshSection(data=1, fsdp=2, tensor=4), MeshSection(data=1, fsdp=2, expert=4)]:
        mesh = make_mesh(shape)
        again = read_weights(tmp_path / "out", arch, mesh, RULES)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), params, again)
        assert again.blocks.query.sharding.mesh.shape["tensor"] == shape.tensor


def test_axes_that_are_folded_there_can_be_split_here(tmp_path):
    """Query heads within a kv head, and head_dim, lie inside a folded axis of theirs."""
    rules = Rules.make({"kv_heads": ((), ()), "heads_per_kv": (("tensor",), ()), "head_dim": (("fsdp",), ()),
                        "embed": ((), ())})  # fmt: skip
    mesh, params = policy(DENSE)
    write_weights(tmp_path / "out", params, DENSE, tmp_path, 0)
    again = read_weights(tmp_path / "out", DENSE, mesh, rules)
    assert again.blocks.query.sharding.shard_shape(again.blocks.query.shape)[-2:] == (1, 4)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), params, again)


def test_only_the_slices_of_a_shard_are_read():
    query = hf_layout(DENSE).blocks.query  # [D=32, M=4, G=2, H=8] from [MGH=64, D=32]
    whole = slice(None)
    read, rest = query.their_slices((slice(16, 32), slice(1, 2), whole, whole))
    assert read == (slice(16, 32), slice(16, 32)) and rest == (whole,) * 4
    theirs = np.random.default_rng(0).normal(size=(64, 32))
    ours = theirs.T.reshape(32, 4, 2, 8)
    np.testing.assert_array_equal(query.to_ours(theirs[read], rest), ours[16:32, 1:2])
    np.testing.assert_array_equal(query.to_theirs(ours), theirs)


def test_missing_and_unknown_tensors_are_named_with_their_file(tmp_path):
    mesh, params = policy(DENSE)
    write_weights(tmp_path / "out", params, DENSE, tmp_path, 0)
    file = tmp_path / "out" / "model.safetensors"
    tensors = load_file(file)
    norm = tensors.pop("model.norm.weight")
    save_file(tensors, file)
    with pytest.raises(ValueError, match=r"out: tensor 'model\.norm\.weight' is missing"):
        read_weights(tmp_path / "out", DENSE, mesh, RULES)
    save_file({**tensors, "model.norm.weight": norm, "model.extra.weight": norm}, file)
    with pytest.raises(ValueError, match=r"out/model\.safetensors: tensor 'model\.extra\.weight' is unknown"):
        read_weights(tmp_path / "out", DENSE, mesh, RULES)
    save_file({**tensors, "model.norm.weight": norm[:-1]}, file)
    with pytest.raises(ValueError, match=r"\.safetensors: 'model\.norm\.weight' is \(31,\), config.json says \(32,\)"):
        read_weights(tmp_path / "out", DENSE, mesh, RULES)
    save_file({**tensors, "model.norm.weight": norm.astype(np.int32)}, file)
    with pytest.raises(ValueError, match=r"\.safetensors: tensor 'model\.norm\.weight' is I32; one of F32, BF16"):
        read_weights(tmp_path / "out", DENSE, mesh, RULES)
    file.write_bytes(b"not a tensor file")
    with pytest.raises(ValueError, match=r"out/model\.safetensors: not a safetensors file"):
        read_weights(tmp_path / "out", DENSE, mesh, RULES)


def test_an_index_that_does_not_tell_the_truth_is_refused(tmp_path):
    mesh, params = policy(MOE)
    write_weights(tmp_path / "out", params, MOE, tmp_path, 0, max_shard_bytes=20_000)
    path = tmp_path / "out" / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    assert index["metadata"]["total_size"] == 4 * sum(leaf.size for leaf in jax.tree.leaves(params))
    first, last = (sorted(set(index["weight_map"].values()))[i] for i in (0, -1))
    moved = {**index["weight_map"], "model.norm.weight": first, "model.layers.0.mlp.experts.9.up_proj.weight": first}
    path.write_text(json.dumps({**index, "weight_map": moved}))
    with pytest.raises(ValueError, match=rf"{first}: tensor 'model.layers.0.mlp.experts.9.up_proj.weight' is missing"):
        read_weights(tmp_path / "out", MOE, mesh, RULES)
    path.write_text(json.dumps(index))
    (tmp_path / "out" / last).unlink()
    with pytest.raises(ValueError, match=rf"{last}: the file is missing"):
        read_weights(tmp_path / "out", MOE, mesh, RULES)


def test_a_directory_in_use_is_not_overwritten(tmp_path):
    _, params = policy(DENSE)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    with pytest.raises(FileExistsError, match="not empty"):
        write_weights(tmp_path / "out", params, DENSE, tmp_path, 0)
    assert (tmp_path / "out" / "precious").read_text() == "x"
