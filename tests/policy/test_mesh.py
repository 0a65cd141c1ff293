"""The rule table, and every shipped mesh type-checked against every shipped model without devices."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from pivot_jax.config import Architecture, ConfigError, MeshSection
from pivot_jax.config_files import load
from pivot_jax.pipeline.run import open_run
from pivot_jax.policy.decoder import Branches
from pivot_jax.policy.fit import check_fit
from pivot_jax.policy.logprobs import branch_logprobs, trunk_logprobs
from pivot_jax.policy.mesh import Rules, abstract_mesh, batch_multiple, make_mesh, to_mesh
from pivot_jax.policy.spec import restore_targets
from pivot_jax.policy.weights import read_architecture, read_weights
from tests.policy.test_fit import QWEN3_8B, QWEN3_30B_A3B

ROOT = Path(__file__).parents[2]
MESH_FILES = sorted((ROOT / "configs" / "mesh").glob("*.toml"))


def shipped_models() -> list[Architecture]:
    """The small policies, which are meant for CPU meshes."""
    models = [read_architecture(ROOT / "pivot_jax" / "base_policy")]
    return models + [load([path]).pretrain.architecture for path in (ROOT / "configs").glob("*policy*.toml")]


@pytest.mark.parametrize("file", MESH_FILES, ids=lambda path: path.stem)
def test_every_shipped_mesh_fits_every_model_that_it_is_meant_for(file):
    section = load([file]).mesh
    mesh, rules = abstract_mesh(section), Rules.make(section.rules)
    rows, on_cpu = batch_multiple(mesh, rules), section.chip == "cpu"
    S, B, T = (16, 4, 4) if on_cpu else (32_768, 16, 512)  # the second attends blockwise
    for arch in (QWEN3_8B, QWEN3_30B_A3B, *(shipped_models() if on_cpu else ())):
        check_fit(arch, mesh, rules, groups={"train.group_size": 16})

        def tokens(*shape, axes):
            return jax.ShapeDtypeStruct(shape, jnp.int32, sharding=NamedSharding(mesh, rules.computed(*axes)))

        trunks = tokens(rows, S, axes=("batch", "seq"))
        branches = tokens(rows, B, T, axes=("batch", "branch", "token"))
        start = tokens(rows, B, axes=("batch", "branch"))

        def logprobs(params, trunks, branches, start, arch=arch):
            return branch_logprobs(params, trunks, Branches(branches, start), arch, rules)

        with jax.sharding.use_abstract_mesh(mesh):
            out = jax.eval_shape(logprobs, restore_targets(arch, mesh, rules), trunks, branches, start)
        assert out.shape == (rows, B, T)


@pytest.mark.parametrize("file", MESH_FILES, ids=lambda path: path.stem)
def test_every_shipped_mesh_says_how_to_use_it_and_on_what(file):
    header = file.read_text().split("[mesh]")[0]
    assert header.startswith("# ") and "pivot-jax run " in header and f"configs/mesh/{file.name}" in header
    section = load([file]).mesh
    assert section.chip and section.data != -1
    assert bool(section.topology) == (section.chip in ("v5e", "v5p", "v6e"))


def test_a_new_mesh_is_one_file(tmp_path):
    """A mesh that nobody has written before, with a rule of its own, and the policy on it: nothing else is touched."""
    (tmp_path / "odd.toml").write_text(
        '[mesh]\ndata = 1\nfsdp = 2\ncontext = 2\ntensor = 2\nslices = 1\nchip = "cpu"\n'
        '[mesh.rules]\nbranch = [[], ["context"]]\nvocab = [[], []]\n'
    )
    ids = np.random.default_rng(0).integers(0, 500, (8, 64)).astype(np.int32)
    found = []
    for name, files in {"usual": [], "odd": [tmp_path / "odd.toml"]}.items():
        (tmp_path / f"{name}_run.toml").write_text(f'[run]\ndir = "{tmp_path / name}"\n')
        run = open_run(load([tmp_path / f"{name}_run.toml", *files]), "test")
        with jax.set_mesh(run.mesh):
            params = read_weights(run.policy_dir, run.arch, run.mesh, run.rules)
            trunks = to_mesh(ids, run.mesh, run.rules, "batch", "seq")
            found.append(
                np.asarray(jax.jit(trunk_logprobs, static_argnums=(2, 3))(params, trunks, run.arch, run.rules))
            )
        assert run.mesh.shape["context"] == (2 if name == "odd" else 1)
    # log-probs of random tokens reach -13: float32 rounding is relative
    np.testing.assert_allclose(found[1], found[0], atol=1e-5, rtol=1e-5)


def test_a_mesh_that_does_not_fit_the_policy_is_refused_when_the_run_is_opened(tmp_path):
    (tmp_path / "wide.toml").write_text(f'[run]\ndir = "{tmp_path / "run"}"\n[mesh]\ndata = 2\ntensor = 4\n')
    with pytest.raises(ConfigError, match=r"mesh: kv_heads=2 does not divide by tensor=4; use tensor = 2, or"):
        open_run(load([tmp_path / "wide.toml"]), "test")


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
    with pytest.raises(ValueError, match=r"embed, mlp twice; take it out of mesh\.rules\.embed or mesh\.rules\.mlp"):
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
