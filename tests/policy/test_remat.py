"""Rematerialisation by name: the same numbers under every name, less memory, and no product twice where it says so."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

from pivot_jax.config import Config, ConfigError
from pivot_jax.config_files import load
from pivot_jax.pipeline.run import pin_config
from pivot_jax.policy.logprobs import branch_logprobs, trunk_logprobs
from pivot_jax.policy.mesh import to_mesh
from tests.policy.test_decoder import inputs
from tests.policy.tiny import DENSE, MOE, RULES, policy, tokens

NAMES = ("none", "dots", "offload", "full")
DEEP, DEEP_MOE = (arch.model_copy(update={"layers": 8}) for arch in (DENSE, MOE))


def named(arch, remat: str):
    return arch.model_copy(update={"remat": remat})


def gradient(arch):
    """Log-probs of branches and the gradient of a loss on them, as one traceable function."""

    def loss(params, trunks, branches):
        logprobs = branch_logprobs(params, trunks, branches, arch, RULES)
        return jnp.mean(logprobs**2), logprobs

    return jax.grad(loss, has_aux=True)


@pytest.mark.parametrize("arch", [DEEP, pytest.param(DEEP_MOE, marks=pytest.mark.slow)], ids=["dense", "moe"])
def test_every_name_gives_the_same_numbers_and_keeps_less_than_the_one_before(arch):
    """What is kept between forward and backward decides; on a CPU the host's memory and the device's are one."""
    mesh, params = policy(arch)
    held, results = {}, {}
    with jax.set_mesh(mesh):
        trunks = to_mesh(tokens((8, 64)), mesh, RULES, "batch", "seq")
        for name in NAMES:

            def loss(params, trunks, name=name):
                logprobs = trunk_logprobs(params, trunks, named(arch, name), RULES)
                return jnp.mean(logprobs**2), logprobs

            compiled = jax.jit(jax.grad(loss, has_aux=True)).lower(params, trunks).compile()
            held[name] = compiled.memory_analysis().temp_size_in_bytes
            grads, logprobs = compiled(params, trunks)
            results[name] = [np.asarray(leaf) for leaf in (logprobs, *jax.tree.leaves(grads))]
    for name in NAMES[1:]:
        for plain, ours in zip(results["none"], results[name], strict=True):
            np.testing.assert_allclose(ours, plain, atol=2e-6 * np.abs(plain).max(), rtol=0, err_msg=name)
    inputs_of_blocks = arch.layers * (8 // 4) * 64 * arch.embed * 4  # bytes: of a device's two rows, in float32
    assert inputs_of_blocks < held["full"] == held["offload"]
    assert held["full"] < 0.9 * held["dots"] < 0.6 * held["none"]


@pytest.mark.parametrize(
    ("arch", "product"), [(DENSE, "dot_general"), (MOE, "ragged_dot_general")], ids=["dense", "moe"]
)
def test_dots_computes_no_projection_twice_and_full_does(arch, product):
    mesh, params = policy(arch)
    with jax.set_mesh(mesh):
        args = (params, *inputs(mesh))
        counts = {
            name: _without_batch(jax.make_jaxpr(gradient(named(arch, name)))(*args), product)
            for name in ("none", "dots", "full")
        }
    assert counts["none"] == counts["dots"] < counts["full"]


def _without_batch(jaxpr: ClosedJaxpr, product: str) -> int:
    """How often a product without batch dimensions stands in a program, in its loops and calls too."""
    found = 0
    for equation in jaxpr.jaxpr.eqns if isinstance(jaxpr, ClosedJaxpr) else jaxpr.eqns:
        if equation.primitive.name == product:
            found += product != "dot_general" or not equation.params["dimension_numbers"][1][0]
        for value in jax.tree.leaves(equation.params, is_leaf=lambda leaf: isinstance(leaf, ClosedJaxpr | Jaxpr)):
            if isinstance(value, ClosedJaxpr | Jaxpr):
                found += _without_batch(value, product)
    return found


def test_the_switch_of_older_configs_is_read_as_a_name(tmp_path):
    for switch, name in [("true", "full"), ("false", "none"), ("'dots'", "dots")]:
        file = tmp_path / "old.toml"
        file.write_text(f"[policy]\nremat = {switch}\n[pretrain.architecture]\nremat = {switch}\n")
        config = load([file])
        assert (config.policy.remat, config.pretrain.architecture.remat) == (name, name)
    file.write_text("[policy]\nremat = 'some'\n")
    with pytest.raises(ConfigError, match=r"policy\.remat: .*'none', 'dots', 'offload' or 'full' \(got 'some'\)"):
        load([file])


def test_a_run_that_was_pinned_with_the_switch_goes_on(tmp_path):
    new = Config.model_validate({"policy": {"remat": "full"}})
    old = new.model_dump(mode="json")
    old["policy"]["remat"], old["pretrain"]["architecture"]["remat"] = True, False
    (tmp_path / "config.json").write_text(json.dumps(old))
    pin_config(tmp_path, new)
    with pytest.raises(ConfigError, match=r"policy\.remat: was 'full', now 'dots'"):
        pin_config(tmp_path, Config.model_validate({"policy": {"remat": "dots"}}))
