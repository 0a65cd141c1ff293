"""Small policies and inputs that the policy and rollout tests share."""

from __future__ import annotations

import jax
import numpy as np

from pivot_jax.config import Architecture, MeshSection
from pivot_jax.policy.mesh import Rules, make_mesh
from pivot_jax.policy.spec import initialise

RULES = Rules.make()
DENSE = Architecture(vocab_size=64, embed=32, layers=2, heads=8, kv_heads=4, head_dim=8, mlp=48)
UNTIED = DENSE.model_copy(update={"tie_embeddings": False, "rope_theta": 1e6})
MOE = DENSE.model_copy(update={"experts": 8, "experts_per_token": 2, "expert_mlp": 16})
DATA = MeshSection(data=8)
MIXED = MeshSection(data=2, fsdp=2, tensor=2)
EXPERTS = MeshSection(data=2, fsdp=2, expert=2)
MESHES = [
    DATA,
    MIXED,
    MeshSection(data=1, fsdp=2, tensor=4),
    MeshSection(data=1, fsdp=8),
    MeshSection(data=2, context=4),
]


def policy(arch: Architecture = DENSE, shape: MeshSection = MIXED, seed: int = 0):
    """A mesh and random parameters on it."""
    mesh = make_mesh(shape)
    with jax.set_mesh(mesh):
        return mesh, initialise(jax.random.key(seed), arch, mesh, RULES)


def tokens(shape: tuple[int, ...], seed: int = 0, low: int = 0, high: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.int32)
