"""One step on several meshes comes out the same; a fault on one of them does not go unseen."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pivot_jax.commands.equivalence import main
from pivot_jax.config import OptimizerSection
from pivot_jax.pipeline import equivalence
from pivot_jax.pipeline.artifacts import read_json
from pivot_jax.pipeline.equivalence_quantities import gradients, named
from pivot_jax.pipeline.equivalence_table import QUANTITIES, differences, failures, largest
from pivot_jax.pipeline.optimizer import apply_gradients, initial_alone

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted((CONFIGS / "mesh").glob("cpu_*.toml"))
POLICIES = {
    "dense": ["dense"],
    "moe": ["dense", "moe"],
    "dense_lora": ["dense", "lora"],
    "moe_lora": ["dense", "moe", "lora"],
}


def words(policy: str, out: Path) -> list[str]:
    """A command line for this policy on two of the shipped meshes; the next policy has the next two, all in turn."""
    first = 2 * list(POLICIES).index(policy)
    meshes = [SHIPPED[place % len(SHIPPED)] for place in (first, first + 1)]
    configs = [CONFIGS / "equivalence" / f"{name}.toml" for name in POLICIES[policy]]
    return [*map(str, configs), "--meshes", *map(str, meshes), "--json", str(out)]


def test_the_policies_together_take_every_shipped_mesh(tmp_path):
    taken = {word for policy in POLICIES for word in words(policy, tmp_path) if "/mesh/" in word}
    assert taken == {str(path) for path in SHIPPED} and len(SHIPPED) >= 4


@pytest.mark.parametrize("policy", POLICIES)
def test_a_step_is_the_same_on_shipped_meshes(policy, tmp_path, capsys):
    main(words(policy, tmp_path / "out.json"))
    written, printed = read_json(tmp_path / "out.json"), capsys.readouterr().out
    assert written["passed"] and "FAILED" not in printed
    assert [one["quantity"] for one in written["differences"]] == [quantity.name for quantity in QUANTITIES]
    worst = next(one for one in written["differences"] if one["quantity"] == "gradients")
    assert worst["leaf"].startswith("pairs." if "lora" in policy else ("blocks.", "embedding", "final_norm"))
    assert f"of the gradients, {worst['leaf']} is furthest" in printed
    assert ("8 experts" in written["inputs"]) == ("moe" in policy)


def test_faults_on_one_mesh_are_found_and_named(tmp_path, monkeypatch, capsys):
    """The second mesh samples with other keys, forgets the gradients of half of the rows, and restores a wrong bit."""
    real_sampling, real_step, real_restored = equivalence.sample_groups, equivalence.grpo_step, equivalence.restored
    meshes = []

    def on_the_second() -> bool:
        here = jax.sharding.get_abstract_mesh()
        meshes.extend([here] if here not in meshes else [])
        return meshes.index(here) == 1

    def sample(run, params, rows, row_count, step):
        return real_sampling(run, params, rows, row_count, step + on_the_second())

    def half(state, batch, reference, **fixed):
        if on_the_second():
            rows = np.arange(batch.valid.shape[0]) < batch.valid.shape[0] // 2
            batch = batch.replace(valid=jax.device_put(np.asarray(batch.valid) & rows[:, None], batch.valid.sharding))
        return real_step(state, batch, reference, **fixed)

    def restored(run, inputs, writer):
        leaves = real_restored(run, inputs, writer)
        wrong = np.nextafter(leaves["params.final_norm"], np.float32(2))
        return {**leaves, "params.final_norm": np.where(np.arange(wrong.size) == 3, wrong, leaves["params.final_norm"])}

    monkeypatch.setattr(equivalence, "sample_groups", sample)
    monkeypatch.setattr(equivalence, "grpo_step", half)
    monkeypatch.setattr(equivalence, "restored", restored)
    with pytest.raises(SystemExit) as stopped:
        main(words("dense", tmp_path / "out.json"))
    assert stopped.value.code == 1
    written, printed = read_json(tmp_path / "out.json"), capsys.readouterr().out
    wrong = {one["quantity"]: one for one in written["differences"] if not one["within"]}
    assert not written["passed"] and set(wrong) == {
        "sampled tokens", "loss", "gradients", "change of parameters", "optimizer moments", "restored",
    }  # fmt: skip
    assert wrong["restored"]["difference"] == 1 and wrong["restored"]["leaf"] == "params.final_norm"
    assert all(f"{SHIPPED[1].stem}: {name} (" in printed for name in wrong)


def test_the_first_moment_gives_the_gradients_back_clipped_or_not():
    rng = np.random.default_rng(0)
    tree = {name: jnp.asarray(rng.normal(size=(3, 4)), jnp.float32) for name in ("a", "b")}
    given = {name: jnp.asarray(rng.normal(size=(3, 4)), jnp.float32) for name in ("a", "b")}
    for most in (0.1, 100.0):
        section = OptimizerSection(max_grad_norm=most)
        state, norm = apply_gradients(initial_alone(tree, section), given, section)
        found = gradients(state, float(norm), section)
        for name, array in named(given).items():
            np.testing.assert_allclose(found[name], array, rtol=1e-5)


@pytest.mark.parametrize(
    ("expected", "found", "measure", "result"),
    [
        ([1.0, -4.0], [1.0, -4.5], "absolute", 0.5),
        ([1.0, -4.0], [1.0, -4.5], "relative", 0.125),
        ([0.0, 0.0], [0.0, 1e-9], "relative", np.inf),
        ([0.0, 0.0], [0.0, 0.0], "relative", 0.0),
        ([1.0, 2.0], [np.nan, 2.0], "absolute", np.inf),
        ([1.0, np.inf], [1.0, np.inf], "absolute", 0.0),
        ([3.0, 4.0], [3.3, 4.4], "norm", 0.1),
        ([3.0, 4.0], [np.nan, 4.0], "norm", np.inf),
        ([0.0], [1.0], "norm", np.inf),
        ([1.0, 2.0, 3.0], [1.0, 2.5, 3.5], "differing", 2.0),
        ([0.0], [-0.0], "differing", 1.0),
        ([np.nan], [np.nan], "differing", 0.0),
        ([], [], "relative", 0.0),
    ],
)
def test_the_largest_difference(expected, found, measure, result):
    trees = ({"same": np.ones(2, np.float32), "leaf": np.array(array, np.float32)} for array in (expected, found))
    difference, _, leaf = largest(*trees, measure)
    assert difference == pytest.approx(result) and (leaf == "leaf" or not result)


def test_arrays_that_are_missing_or_of_another_shape_are_an_error():
    for found in ({}, {"a": np.ones((2, 1))}):
        with pytest.raises(ValueError, match="different names or shapes"):
            largest({"a": np.ones(2)}, found, "absolute")


def test_a_tolerance_is_for_all_that_need_not_be_equal_bit_by_bit():
    ours, theirs = {"x": np.ones(2, np.float32)}, {"x": np.full(2, 1.5, np.float32)}
    pairs = {"mesh": {quantity.name: (ours, theirs) for quantity in QUANTITIES}}
    assert len(failures(differences(pairs))) == len(QUANTITIES)
    exact = {quantity.name for quantity in QUANTITIES if quantity.measure == "differing"}
    assert {one.quantity for one in failures(differences(pairs, 0.6))} == exact == {"sampled tokens", "restored"}


CPU_1 = str(CONFIGS / "mesh" / "cpu_1.toml")
FAULTS = [
    ("", [CPU_1], "--meshes: name two files or more"),
    ("", [CPU_1, CPU_1], "two files have the same name"),
    ("[policy]\ndtype = 'bfloat16'\n", [CPU_1, str(SHIPPED[1])], "policy.dtype: bfloat16 rounds"),
    ("", [CPU_1, "big"], "big: needs 64 devices, there are 8"),
    ("[policy]\npath = 'absent'\n", [CPU_1, str(SHIPPED[1])], "absent holds no config.json"),
    ("", [CPU_1, "wrong"], r"wrong: mesh.rules.embd: unknown logical axis"),
]


@pytest.mark.parametrize(("text", "meshes", "message"), FAULTS)
def test_what_cannot_be_compared_is_refused_with_one_message(tmp_path, monkeypatch, capsys, text, meshes, message):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "8")
    (tmp_path / "config.toml").write_text(text)
    (tmp_path / "big.toml").write_text("[mesh]\ndata = 64\n")
    (tmp_path / "wrong.toml").write_text("[mesh]\ndata = 8\n[mesh.rules]\nembd = [[], []]\n")
    files = [str(tmp_path / f"{name}.toml") if name in ("big", "wrong") else name for name in meshes]
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "config.toml"), "--meshes", *files])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.startswith("pivot-jax: ") and message in error
