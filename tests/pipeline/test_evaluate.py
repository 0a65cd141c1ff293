"""Episodes of domains that a run does not train on, beside its own and the skills."""

from __future__ import annotations

import jax
import pytest
from rich.console import Console

from pivot_jax.config import ConfigError
from pivot_jax.pipeline.evaluate import evaluate_arm
from pivot_jax.pipeline.run import open_run
from pivot_jax.policy.weights import read_weights
from tests.pipeline.small_run import small_config

pytestmark = pytest.mark.usefixtures("few_devices")


def evaluated(run_dir, domains, other_domains=()):
    run = open_run(
        small_config(run_dir, data={"domains": domains}, evaluate={"other_domains": other_domains, "episodes": 6}),
        "test",
    )
    with jax.set_mesh(run.mesh), open("/dev/null", "w") as nowhere:
        params = read_weights(run.policy_dir, run.arch, run.mesh, run.rules)
        return evaluate_arm(run, "base", params, Console(file=nowhere))


def outcomes(suite):
    return dict(zip(suite["seeds"], suite["outcomes"], strict=True)), sorted(suite["turns"])


def test_other_domains_are_played_apart_and_as_by_a_run_that_trains_on_them(tmp_path):
    alone = evaluated(tmp_path / "alone", ["retail"], ["terminal"])
    both = evaluated(tmp_path / "both", ["retail", "terminal"])
    assert set(alone["in_domain"]) == {"retail"} and set(alone["other_domains"]) == {"terminal"}
    assert both["other_domains"] == {} and alone["ood"].keys() == both["ood"].keys()
    assert outcomes(alone["in_domain"]["retail"]) == outcomes(both["in_domain"]["retail"])
    assert outcomes(alone["other_domains"]["terminal"]) == outcomes(both["in_domain"]["terminal"])
    assert alone["cost"]["episodes"] == both["cost"]["episodes"]


def test_an_unknown_other_domain_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"evaluate\.other_domains: unknown domain 'shell'; the domains are retail, "):
        open_run(small_config(tmp_path, evaluate={"other_domains": ["shell"]}), "test")
