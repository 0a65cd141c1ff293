"""Hugging Face directories in and out: config.json, tokenizer files, (sharded) safetensors; full weights, no torch.

A checkpoint is read tensor by tensor into float32 master weights and written in the dtype it is asked for; what was
bfloat16 or float32 comes back bit-equal.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file
from transformers import AutoConfig, Qwen3Config

from pivot_jax.config import Architecture
from pivot_jax.policy.hf_layout import hf_layout, layout_leaves
from pivot_jax.policy.mesh import Rules
from pivot_jax.policy.spec import Parameters, restore_targets

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
                   "vocab.json", "merges.txt", "added_tokens.json", "generation_config.json")  # fmt: skip
DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def read_architecture(directory: str | Path, *, dtype: str = "float32", remat: bool = False) -> Architecture:
    """The architecture that a directory's config.json describes; ValueError names a feature that is not supported."""
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    where = Path(directory) / "config.json"
    if config.model_type != "qwen3":
        raise ValueError(f"{where}: model_type {config.model_type!r} is not supported; only 'qwen3'")
    rope = config.rope_parameters
    unsupported = {
        "attention_bias": config.attention_bias,
        "use_sliding_window": config.use_sliding_window,
        "rope_parameters.rope_type": rope["rope_type"] != "default" and rope["rope_type"],
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
            "head_dim": config.head_dim,
            "mlp": config.intermediate_size,
            "rope_theta": rope["rope_theta"],
            "norm_eps": config.rms_norm_eps,
            "tie_embeddings": config.tie_word_embeddings,
            "dtype": dtype,
            "remat": remat,
        }
    )


def hf_config(arch: Architecture, eos_token_id: int, dtype: str) -> Qwen3Config:
    """The config.json of a policy of this architecture."""
    return Qwen3Config(
        architectures=["Qwen3ForCausalLM"],
        vocab_size=arch.vocab_size,
        hidden_size=arch.embed,
        num_hidden_layers=arch.layers,
        num_attention_heads=arch.heads,
        num_key_value_heads=arch.kv_heads,
        head_dim=arch.head_dim,
        intermediate_size=arch.mlp,
        rope_parameters={"rope_type": "default", "rope_theta": arch.rope_theta},
        rms_norm_eps=arch.norm_eps,
        tie_word_embeddings=arch.tie_embeddings,
        eos_token_id=eos_token_id,
        bos_token_id=None,
        use_cache=True,
        dtype=dtype,
    )


def read_weights(
    directory: str | Path, arch: Architecture, mesh: jax.sharding.Mesh, rules: Rules
) -> Parameters[jax.Array]:
    """The directory's weights as float32 parameters, placed where they are stored.

    Raises:
        ValueError: a tensor that is missing, unknown or of another shape than the architecture's.
    """
    tensors = _open_tensors(Path(directory))
    entries = layout_leaves(hf_layout(arch))
    expected = {name for entry in entries for name in entry.names}
    for name in sorted(expected ^ set(tensors)):
        if name in expected:
            raise ValueError(f"{directory}: tensor {name!r} is missing")
        if not (name == "lm_head.weight" and arch.tie_embeddings):
            raise ValueError(f"{directory}: tensor {name!r} is unknown to a Qwen3 dense policy")
    leaves = []
    targets = restore_targets(arch, mesh, rules)
    for entry, target in zip(entries, jax.tree.leaves(targets), strict=True):
        arrays = [entry.to_ours(tensors[name]().astype(np.float32)) for name in entry.names]
        array = np.stack(arrays) if entry.stacked else arrays[0]
        if array.shape != target.shape:
            raise ValueError(f"{directory}: {entry.names[0]!r} is {array.shape}, config.json says {target.shape}")
        leaves.append(
            jax.make_array_from_callback(array.shape, target.sharding, lambda index, array=array: array[index])
        )
    return jax.tree.unflatten(jax.tree.structure(targets), leaves)


def write_weights(
    directory: str | Path,
    params: Parameters[jax.Array],
    arch: Architecture,
    tokenizer_dir: str | Path,
    eos_token_id: int,
    *,
    dtype: str = "float32",
    max_shard_bytes: int = 4 * 2**30,
) -> None:
    """Write a complete Hugging Face directory; it appears whole (written beside, then renamed).

    Raises:
        FileExistsError: the directory is there already and holds something.
    """
    directory = Path(directory)
    if directory.exists() and any(directory.iterdir()):
        raise FileExistsError(f"{directory}: exists and is not empty; remove it or name another")
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    hf_config(arch, eos_token_id, dtype).save_pretrained(partial)
    for name in TOKENIZER_FILES:
        if (Path(tokenizer_dir) / name).exists():
            shutil.copyfile(Path(tokenizer_dir) / name, partial / name)
    _write_shards(partial, _hf_tensors(params, arch, DTYPES[dtype]), max_shard_bytes)
    if directory.exists():
        directory.rmdir()
    os.replace(partial, directory)


def _open_tensors(directory: Path) -> dict[str, Callable[[], np.ndarray]]:
    """name → a function that reads that tensor alone."""
    index = directory / INDEX
    if index.exists():
        files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    elif (directory / SINGLE).exists():
        files = [SINGLE]
    else:
        raise ValueError(f"{directory}: neither {SINGLE} nor {INDEX} is there")
    tensors: dict[str, Callable[[], np.ndarray]] = {}
    for file in files:
        reader = safe_open(directory / file, framework="numpy")
        for name in reader.keys():  # noqa: SIM118  (safe_open is no dict)
            tensors[name] = lambda reader=reader, name=name: reader.get_tensor(name)
    return tensors


def _hf_tensors(params: Parameters[jax.Array], arch: Architecture, dtype: np.dtype) -> Iterator[tuple[str, np.ndarray]]:
    for entry, leaf in zip(layout_leaves(hf_layout(arch)), jax.tree.leaves(params), strict=True):
        array = np.asarray(jax.device_get(leaf))
        for name, part in zip(entry.names, array if entry.stacked else [array], strict=True):
            yield name, np.ascontiguousarray(entry.to_theirs(part).astype(dtype))


def _write_shards(directory: Path, tensors: Iterator[tuple[str, np.ndarray]], max_bytes: int) -> None:
    shards: list[dict[str, np.ndarray]] = [{}]
    size = 0
    for name, array in tensors:
        if shards[-1] and size + array.nbytes > max_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = array
        size += array.nbytes
    if len(shards) == 1:
        save_file(shards[0], directory / SINGLE, metadata={"format": "pt"})
        return
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for file, shard in zip(names, shards, strict=True):
        save_file(shard, directory / file, metadata={"format": "pt"})
    weight_map = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
    total = sum(array.nbytes for shard in shards for array in shard.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
