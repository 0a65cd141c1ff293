"""Adapters as a directory that PEFT opens: adapter_config.json and adapter_model.safetensors, float32."""

from __future__ import annotations

import json
from pathlib import Path

import jax

from pivot_jax.config import Architecture
from pivot_jax.hosts.arrays import on_host
from pivot_jax.hosts.processes import is_first
from pivot_jax.policy.hf_layout import hf_layout
from pivot_jax.policy.spec import Adapters
from pivot_jax.policy.tensor_files import DTYPES, TensorSpec, write_file

EXPERT_LINEARS = ("gate", "up", "down")


def is_exportable(adapters: Adapters[jax.Array], arch: Architecture) -> bool:
    """Whether PEFT has a place for all of them: it has none for those of experts, which its models hold fused."""
    return not (arch.experts and any(target in EXPERT_LINEARS for target in adapters.pairs))


def write_adapters(directory: str | Path, adapters: Adapters[jax.Array], arch: Architecture, base: str) -> None:
    """Write the directory. Of several processes the first one writes; the others help to gather the adapters.

    Args:
        directory: made if it is not there.
        adapters: of all layers.
        arch: the policy's.
        base: the name or the directory of the policy that they belong to, as PEFT is to look for it.

    Raises:
        ValueError: adapters of experts.
    """
    if not is_exportable(adapters, arch):
        raise ValueError(f"{directory}: PEFT has no place for adapters of experts; export the merged policy instead")
    tensors, modules, rank = {}, [], 0
    blocks = hf_layout(arch).blocks
    for target, pair in adapters.pairs.items():
        a, b = on_host((pair.a, pair.b))
        rank = a.shape[-1]
        names = getattr(blocks, target).names
        modules.append(str(names[0]).split(".")[-2])
        for layer, name in enumerate(names):
            module = "base_model.model." + str(name).removesuffix(".weight")
            tensors[f"{module}.lora_A.weight"] = a[layer].reshape(-1, rank).T
            tensors[f"{module}.lora_B.weight"] = b[layer].reshape(rank, -1).T
    if not is_first():
        return
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": adapters.scale * rank,
        "target_modules": modules,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    specs = [TensorSpec(name, array.shape, DTYPES["float32"]) for name, array in tensors.items()]
    write_file(directory / "adapter_model.safetensors", specs, tensors.values())
