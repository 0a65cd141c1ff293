"""Collectives counted from hand-written text, in every way that compilers write it, and from a compiled program."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from pivot_jax.config import MeshSection
from pivot_jax.planning.collectives import Collective, Total, collectives, shape_bytes, totals
from pivot_jax.policy.mesh import make_mesh

# ruff: noqa: E501  (a compiler's lines)
PROGRAM = """
HloModule jit_step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(f32[] %a, f32[] %b)
}

%all-reduce-scatter.1 (x: bf16[8,4]) -> bf16[2,4] {
  %x = bf16[8,4]{1,0} parameter(0)
  %reduced = bf16[8,4]{1,0:T(8,128)(2,1)} all-reduce(%x), replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
  ROOT %own = bf16[2,4]{1,0} dynamic-slice(%reduced, %place), dynamic_slice_sizes={2,4}
}

%body (carry: (s32[], bf16[8,4])) -> (s32[], bf16[8,4]) {
  %gathered = bf16[8,4]{1,0:T(8,128)(2,1)} all-gather(%part), replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}
  %scattered = bf16[2,4]{1,0} fusion(%gathered), kind=kCustom, calls=%all-reduce-scatter.1
  ROOT %next = (s32[], bf16[8,4]) tuple(%one, %gathered)
}

%condition (carry: (s32[], bf16[8,4])) -> pred[] {
  %bound.3 = s32[]{:T(128)} constant(3), metadata={op_name="lt"}
  ROOT %lt = pred[]{:T(512)} compare(%counter, %bound.3), direction=LT, metadata={op_name="lt"}
}

%token (carry: (s32[], f32[4])) -> (s32[], f32[4]) {
  %moved = f32[4]{0} all-to-all(f32[4]{0} %row), replica_groups=[4,2]<=[8], dimensions={0}
  ROOT %next = (s32[], f32[4]) tuple(%one, %moved)
}

%undecided (carry: (s32[], f32[4])) -> pred[] {
  %bound = s32[] constant(99)
  %lt = pred[] compare(s32[] %place, s32[] %bound), direction=LT
  ROOT %both = pred[] and(pred[] %lt, pred[] %open)
}

ENTRY %main (p: f32[16]) -> f32[16] {
  %p = f32[16]{0} parameter(0)
  %loop = (s32[], bf16[8,4]) while((s32[], bf16[8,4]) %start), condition=%condition, body=%body
  %again = (s32[], bf16[8,4]) while(%start), condition=%other, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %tokens = (s32[], f32[4]) while(%begin), condition=%undecided, body=%token
  %sum = (f32[16]{0}, f32[2]{0}) all-reduce(f32[16]{0} %p, f32[2]{0} %q), replica_groups={}, to_apply=%add
  %apart = f32[4]{0} reduce-scatter(f32[16]{0} %p), replica_groups=[2,4]<=[8], dimensions={0}, to_apply=%add
  %begun = (bf16[2,8]{1,0}, bf16[8,8]{1,0}) all-gather-start(%small), replica_groups=mesh['a'=8] {'a':(1)4}, dimensions={0}
  %ended = bf16[8,8]{1,0} all-gather-done(%begun)
  %sent = (f32[16]{0}, f32[16]{0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%p), source_target_pairs={{0,1}}
  %received = f32[16]{0} collective-permute-done(%sent)
  ROOT %result = f32[16]{0} copy(%received)
}
"""


def test_every_way_of_writing_is_counted_exactly():
    found = collectives(PROGRAM, devices=8)
    assert found == [
        Collective("all-gather", 64, 4, 3, False),
        Collective("reduce-scatter", 64, 4, 3, False),
        Collective("all-gather", 64, 4, 5, False),
        Collective("reduce-scatter", 64, 4, 5, False),
        Collective("all-to-all", 16, 2, 1, True),
        Collective("all-reduce", 72, 8, 1, False),
        Collective("reduce-scatter", 64, 4, 1, False),
        Collective("all-gather", 128, 4, 1, False),
        Collective("collective-permute", 64, 8, 1, False),
    ]
    assert totals(found, in_open_loop=True) == {"all-to-all": Total(1, 16, 8)}
    assert totals(found, in_open_loop=False) == {
        "all-gather": Total(9, 8 * 64 + 128, 8 * 48 + 96),
        "all-reduce": Total(1, 72, 2 * 63),
        "reduce-scatter": Total(9, 9 * 64, 9 * 48),
        "collective-permute": Total(1, 64, 64),
    }


def test_bytes_of_shapes():
    assert shape_bytes("(bf16[2,3]{1,0:T(8,128)(2,1)}, pred[5], s4[3]{0}, f32[], token[])") == [12, 5, 2, 4]


def test_text_without_an_entry_is_refused():
    with pytest.raises(ValueError, match="no ENTRY"):
        collectives("HloModule nothing\n", devices=8)


def test_groups_written_in_an_unknown_way_are_refused():
    with pytest.raises(ValueError, match=r"unknown way: .*replica_groups=everyone"):
        collectives(PROGRAM.replace("replica_groups={}", "replica_groups=everyone"), devices=8)


def test_a_scan_that_gathers_and_sums_is_counted_as_often_as_it_runs():
    layers, width = 5, 16
    mesh = make_mesh(MeshSection(data=2, fsdp=4))

    def program(weights, x):
        def layer(x, stored):
            whole = jax.reshard(stored, PartitionSpec(None, None))
            return jnp.tanh(jnp.einsum("nd,de->ne", x, whole, out_sharding=PartitionSpec("data", None))), None

        return jnp.sum(jax.lax.scan(layer, x, weights)[0])

    with jax.set_mesh(mesh):
        weights = jax.device_put(jnp.ones((layers, width, width)), PartitionSpec(None, "fsdp", None))
        x = jax.device_put(jnp.ones((4, width)), PartitionSpec("data", None))
        text = jax.jit(program).lower(weights, x).compile().as_text()
    found = totals(collectives(text, devices=8), in_open_loop=False)
    payload = layers * width * width * 4
    assert found["all-gather"] == Total(layers, payload, payload * 3 // 4)
    assert found["all-reduce"] == Total(1, 4, 4)  # one float, over the two halves of the batch
    assert set(found) == {"all-gather", "all-reduce"}
