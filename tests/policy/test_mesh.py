"""The rule table, and every shipped mesh type-checked against every shipped model without devices."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from pivot_jax.config import MeshSection
from pivot_jax.config_files import load
from pivot_jax.policy.decoder import Branches
from pivot_jax.policy.logprobs import branch_logprobs
from pivot_jax.policy.mesh import Rules, abstract_mesh, batch_multiple, make_mesh
from pivot_jax.policy.spec import restore_targets
from pivot_jax.policy.weights import read_architecture

ROOT = Path(__file__).parents[2]
MESH_FILES = sorted((ROOT / "configs" / "mesh").glob("*.toml"))


@pytest.mark.parametrize("file", MESH_FILES, ids=lambda path: path.stem)
def test_every_shipped_mesh_fits_every_shipped_model(file):
    section = load([file]).mesh
    mesh, rules = abstract_mesh(section), Rules.make(section.rules)
    models = [read_architecture(ROOT / "pivot_jax" / "base_policy")]
    models += [load([path]).pretrain.architecture for path in (ROOT / "configs").glob("*policy*.toml")]
    rows = batch_multiple(mesh, rules)
    for arch in models:

        def tokens(*shape, axes):
            return jax.ShapeDtypeStruct(shape, jnp.int32, sharding=NamedSharding(mesh, rules.computed(*axes)))

        trunks = tokens(rows, 16, axes=("batch", "seq"))
        branches = tokens(rows, 2, 4, axes=("batch", "branch", "token"))
        start = tokens(rows, 2, axes=("batch", "branch"))

        def logprobs(params, trunks, branches, start, arch=arch):
            return branch_logprobs(params, trunks, Branches(branches, start), arch, rules)

        with jax.sharding.use_abstract_mesh(mesh):
            out = jax.eval_shape(logprobs, restore_targets(arch, mesh, rules), trunks, branches, start)
        assert out.shape == (rows, 2, 4)


def test_stored_and_computed_placements():
    rules = Rules.make()
    assert rules.stored("embed", "mlp") == PartitionSpec("fsdp", "tensor")
    assert rules.computed("embed", "mlp") == PartitionSpec(None, "tensor")
    assert rules.computed("batch", "seq") == PartitionSpec(("data", "fsdp"), "context")


def test_an_override_changes_one_row_and_keeps_the_rest():
    rules = Rules.make({"mlp": ((), ())})
    assert rules.stored("embed", "mlp") == PartitionSpec("fsdp", None)
    assert rules.stored("kv_heads") == PartitionSpec("tensor")


def test_bad_rules_are_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"mesh\.rules\.embd: unknown logical axis; one of .*embed"):
        Rules.make({"embd": ((), ())})
    with pytest.raises(ValueError, match=r"mesh\.rules\.embed: unknown mesh axis 'fdsp'; one of data, fsdp"):
        Rules.make({"embed": (("fdsp",), ())})
    with pytest.raises(ValueError, match="mesh axis twice"):
        Rules.make({"embed": (("tensor",), ())}).stored("embed", "mlp")


def test_sizes_fill_and_must_fit():
    assert MeshSection(fsdp=2, tensor=2).sizes(8) == (2, 2, 1, 1, 2)
    assert MeshSection(context=4).sizes(8) == (2, 1, 1, 4, 1)
    with pytest.raises(ValueError, match=r"fsdp\*expert\*context\*tensor=3 does not divide the 8 devices; lower"):
        MeshSection(fsdp=3).sizes(8)
    with pytest.raises(ValueError, match=r"=4, but there are 8 devices; choose sizes .* data = -1"):
        MeshSection(data=2, tensor=2).sizes(8)
    with pytest.raises(ValueError, match=r"mesh\.data: -1 takes .* set it"):
        MeshSection().sizes()


def test_slices_split_the_batch_first_and_alone():
    mesh = make_mesh(MeshSection(data=4, tensor=2, slices=2))
    assert [[d.id for d in row.flat] for row in np.split(mesh.devices, 2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(ValueError, match=r"mesh\.data: 1 is not a multiple of mesh\.slices=2.*; use 2, or fewer"):
        MeshSection(data=1, tensor=8, slices=2)
    with pytest.raises(ValueError, match=r"topology='4x4' with slices=2 has 32 chips, but .*=16; change"):
        MeshSection(data=16, slices=2, topology="4x4")
