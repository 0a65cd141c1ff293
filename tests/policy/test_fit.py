"""What is said of a policy that does not fit a mesh: the axis, the number, what to change; all before any array."""

from __future__ import annotations

import re

from pivot_jax.config import Architecture, LoraSection, MeshSection
from pivot_jax.policy.fit import check_fit
from pivot_jax.policy.mesh import Rules, abstract_mesh

QWEN3_8B = Architecture(
    vocab_size=151_936, embed=4096, layers=36, heads=32, kv_heads=8, head_dim=128, mlp=12_288, rope_theta=1e6,
    max_positions=40_960, tie_embeddings=False, dtype="bfloat16",
)  # fmt: skip
QWEN3_30B_A3B = QWEN3_8B.model_copy(
    update={"embed": 2048, "layers": 48, "kv_heads": 4, "mlp": 6144, "experts": 128, "experts_per_token": 8,
            "expert_mlp": 768}
)  # fmt: skip


def faults(arch: Architecture, section: MeshSection, rules=None, **options) -> list[str]:
    """What is wrong, a line each."""
    try:
        check_fit(arch, abstract_mesh(section), Rules.make(rules), **options)
    except ValueError as error:
        return str(error).splitlines()
    return []


def test_more_tensor_than_kv_heads():
    assert faults(QWEN3_8B, MeshSection(data=1, tensor=8)) == []
    (fault,) = faults(QWEN3_8B, MeshSection(data=1, tensor=16))
    assert fault == (
        "mesh: kv_heads=8 does not divide by tensor=16; use tensor = 8, or leave 'tensor' out of "
        "rules.kv_heads (kv_heads may stay whole where rules.heads_per_kv takes its place)"
    )
    moved = {"kv_heads": ((), ()), "heads_per_kv": (("tensor",), ("tensor",))}
    assert faults(QWEN3_8B, MeshSection(data=1, tensor=4), moved) == []


def test_every_dimension_that_does_not_divide_is_named_once():
    found = faults(QWEN3_30B_A3B, MeshSection(data=1, fsdp=3, expert=5))
    assert [fault.split(" does")[0] for fault in found] == ["mesh: embed=2048", "mesh: experts=128"]
    assert all(re.search(r"use \w+ = 1, or leave '\w+' out of rules\.\w+$", fault) for fault in found)
    both = {"embed": (("fsdp", "expert"), ())}
    (fault,) = faults(QWEN3_8B, MeshSection(data=1, fsdp=64, expert=128), both)
    assert fault.startswith("mesh: embed=4096 does not divide by fsdp*expert=8192; use sizes whose product divides")


def test_a_mesh_axis_twice_on_one_array():
    found = faults(QWEN3_8B, MeshSection(data=1, tensor=4), {"embed": (("tensor",), ())})
    assert found[0] == (
        "mesh: 'tensor' would split blocks.query and 3 more twice, by embed and by kv_heads; "
        "take 'tensor' out of rules.embed or rules.kv_heads"
    )
    (fault,) = faults(QWEN3_8B, MeshSection(data=1, context=4), {"batch": ((), ("data", "context"))})
    assert fault.startswith("mesh: 'context' would split hidden states of trunks and 4 more twice, by batch and")


def test_axes_that_must_stay_whole():
    found = faults(QWEN3_30B_A3B, MeshSection(data=1, context=4), {"token": ((), ("context",))}, name="sampling_mesh")
    assert found[0] == (
        "sampling_mesh: rules.token is split over 'context' while computed on, but a query sees all keys of its "
        "branch; its second list must be empty"
    )
    found = faults(QWEN3_30B_A3B, MeshSection(data=1), {"embed": (("fsdp",), ("fsdp",))})
    assert "logits are products of whole embeddings" in found[0]


def test_groups_and_adapters():
    split = {"branch": ((), ("context",))}
    groups = {"train.group_size": 16, "e2e.group_size": 6}
    (fault,) = faults(QWEN3_8B, MeshSection(data=1, context=4), split, groups=groups)
    assert fault.startswith("mesh: e2e.group_size=6 does not divide by context=4; use context = 2, or")
    over_rank = {"rank": (("expert",), ())}
    (fault,) = faults(QWEN3_8B, MeshSection(data=1, expert=4), over_rank, lora=LoraSection(rank=6))
    assert fault.startswith("mesh: lora.rank=6 does not divide by expert=4; use expert = 2")
