"""Hugging Face directories in and out: config.json, tokenizer files, (sharded) safetensors; full weights, no torch.

Weights become float32 master parameters, and are written in the dtype that is asked for; what was bfloat16 or float32
comes back bit-equal. The host holds one leaf's shards at a time when reading, one layer of one leaf when writing.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np

from pivot_jax.config import Architecture
from pivot_jax.hosts.arrays import on_host
from pivot_jax.hosts.exchange import wait
from pivot_jax.hosts.processes import is_first
from pivot_jax.policy.hf_config import hf_config, read_architecture
from pivot_jax.policy.hf_layout import Index, TensorMap, layout_leaves
from pivot_jax.policy.lora import merged
from pivot_jax.policy.mesh import Rules
from pivot_jax.policy.spec import Parameters, restore_targets
from pivot_jax.policy.tensor_files import DTYPES, StoredTensor, TensorSpec, open_tensors, write_tensors

__all__ = ["appearing_directory", "read_architecture", "read_weights", "write_policy", "write_weights"]

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
                   "vocab.json", "merges.txt", "added_tokens.json", "generation_config.json")  # fmt: skip


def read_weights(
    directory: str | Path, arch: Architecture, mesh: jax.sharding.Mesh, rules: Rules
) -> Parameters[jax.Array]:
    """The directory's weights as float32 parameters, placed where they are stored.

    Each process reads the slices that its own devices hold, a leaf at a time.

    Raises:
        ValueError: a tensor that is missing, unknown or of another shape than the architecture's; the message names
            the tensor, and the file or the directory.
    """
    tensors = open_tensors(Path(directory))
    entries = layout_leaves(arch)
    _check(Path(directory), tensors, entries, arch)
    targets = restore_targets(arch, mesh, rules)
    leaves = [_placed(entry, target, tensors) for entry, target in zip(entries, jax.tree.leaves(targets), strict=True)]
    return jax.tree.unflatten(jax.tree.structure(targets), leaves)


@contextmanager
def appearing_directory(directory: str | Path) -> Iterator[Path]:
    """A folder to write into, which becomes `directory` when the block ends: the whole of it appears, or nothing.

    Of several processes the first one makes it; the others go on when it is there.

    Raises:
        FileExistsError: the directory is there already and holds something.
    """
    directory = Path(directory)
    partial = directory.with_name(directory.name + ".partial")
    if is_first():
        if directory.exists() and any(directory.iterdir()):
            raise FileExistsError(f"{directory}: exists and is not empty; remove it or name another")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    yield partial
    if is_first():
        if directory.exists():
            directory.rmdir()
        os.replace(partial, directory)
    wait(f"written: {directory.name}")


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
    """Write a complete Hugging Face directory, adapters added in; it appears whole (written beside, then renamed).

    Raises:
        FileExistsError: the directory is there already and holds something.
    """
    with appearing_directory(directory) as partial:
        write_policy(partial, params, arch, tokenizer_dir, eos_token_id, dtype=dtype, max_shard_bytes=max_shard_bytes)


def write_policy(
    folder: Path,
    params: Parameters[jax.Array],
    arch: Architecture,
    tokenizer_dir: str | Path,
    eos_token_id: int,
    *,
    dtype: str = "float32",
    max_shard_bytes: int = 4 * 2**30,
) -> None:
    """The files of `write_weights`, into a folder that is there; a folder that others should see goes through
    `appearing_directory`. Of several processes the first one writes; the others help to gather the tensors."""
    tensors = _hf_tensors(params, arch)
    if not is_first():
        deque(tensors, maxlen=0)
        return
    hf_config(arch, eos_token_id, dtype).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (Path(tokenizer_dir) / name).exists():
            shutil.copyfile(Path(tokenizer_dir) / name, folder / name)
    specs = [TensorSpec(name, entry.hf_shape, DTYPES[dtype]) for entry in layout_leaves(arch) for name in _flat(entry)]
    write_tensors(folder, specs, tensors, max_shard_bytes)


def _check(directory: Path, tensors: Mapping[str, StoredTensor], entries: list[TensorMap], arch: Architecture) -> None:
    """ValueError unless the directory holds exactly the architecture's tensors, in their shapes."""
    expected = {name: entry for entry in entries for name in _flat(entry)}
    for name in expected:
        if name not in tensors:
            raise ValueError(f"{directory}: tensor {name!r} is missing")
    for name, tensor in tensors.items():
        if name == "lm_head.weight" and arch.tie_embeddings:
            continue  # some writers store the tied table twice
        if name not in expected:
            kind = "Qwen3-MoE" if arch.experts else "Qwen3 dense"
            raise ValueError(f"{tensor.file}: tensor {name!r} is unknown to a {kind} policy")
        if tensor.shape != expected[name].hf_shape:
            raise ValueError(f"{tensor.file}: {name!r} is {tensor.shape}, config.json says {expected[name].hf_shape}")


def _placed(entry: TensorMap, target: jax.ShapeDtypeStruct, tensors: Mapping[str, StoredTensor]) -> jax.Array:
    """One leaf, read shard by shard; devices that hold the same part share one reading."""
    held: dict[tuple[tuple[int, int], ...], np.ndarray] = {}

    def read(index: Index | None) -> np.ndarray:
        assert index is not None
        ranges = [range(size)[part] for size, part in zip(target.shape, index, strict=True)]
        key = tuple((part.start, part.stop) for part in ranges)
        if key not in held:
            lead = entry.names.ndim
            names = np.asarray(entry.names[index[:lead]], object)
            part, rest = entry.their_slices(index[lead:])
            held[key] = np.empty([len(part) for part in ranges], np.float32)
            for place, name in np.ndenumerate(names):
                # widened first: a transposed copy that also converts is several times slower
                held[key][place] = entry.to_ours(tensors[name].read(part).astype(np.float32), rest)
        return held[key]

    return jax.make_array_from_callback(target.shape, target.sharding, read)


def _hf_tensors(params: Parameters[jax.Array], arch: Architecture) -> Iterator[np.ndarray]:
    """Every tensor in their shape, in the order of the layout; one layer of one leaf is on the host at a time."""
    with jax.set_mesh(jax.tree.leaves(params)[0].sharding.mesh):
        params = merged(params)
    for entry, leaf in zip(layout_leaves(arch), jax.tree.leaves(params), strict=True):
        layers = range(leaf.shape[0]) if entry.names.ndim else [None]
        for layer in layers:
            array = _fetch(leaf, layer)
            for place in np.ndindex(entry.names.shape[1:]):
                yield entry.to_theirs(array[place])


def _fetch(leaf: jax.Array, layer: int | None) -> np.ndarray:
    """A leaf, or one layer of it, whole on the host."""
    if layer is None:
        return np.asarray(on_host(leaf))
    with jax.set_mesh(leaf.sharding.mesh):  # pyright: ignore[reportAttributeAccessIssue]
        return np.asarray(on_host(_layer(leaf, layer)))


@jax.jit
def _layer(leaf: jax.Array, layer: jax.Array) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(leaf, layer, keepdims=False)


def _flat(entry: TensorMap) -> list[str]:
    return [str(name) for name in entry.names.reshape(-1)]
