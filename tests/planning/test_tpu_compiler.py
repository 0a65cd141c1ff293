"""The TPU compiler, where it is installed: a tiny step for a topology of which no chip is here."""

from __future__ import annotations

import pytest

from pivot_jax.config import MeshSection
from pivot_jax.planning.chips import CHIPS
from pivot_jax.planning.compiled import compile_programs
from pivot_jax.planning.memory import held_terms
from tests.planning.planned import planned
from tests.policy.tiny import DENSE

pytest.importorskip("libtpu")


@pytest.mark.slow
def test_a_tiny_step_is_compiled_for_a_described_topology(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    mesh = MeshSection(data=1, fsdp=2, tensor=2, chip="v5e", topology="2x2")
    work = planned(tmp_path / "policy", DENSE, mesh)
    (update,), (rollout,) = compile_programs(work, CHIPS["v5e"], limit=500, effort="low")
    held = {term.name: term.bytes for term in held_terms(work)}
    for one in (update, rollout):
        assert one.is_tpu and not one.error and one.compiler == "TPU compiler for v5e:2x2"
    # tiles of a TPU pad small arrays, so what is held is at least what the shapes say
    assert update.arguments >= held["policy"] + held["optimizer's two moments"]
    assert rollout.arguments >= held["policy"]
    assert update.collectives and rollout.each_round
