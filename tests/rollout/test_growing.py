"""Episodes that grow on the devices: prefill and bursts equal one forward pass over the whole episode."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from pivot_jax.config import MeshSection, SamplingSection
from pivot_jax.policy.decoder import forward
from pivot_jax.policy.logprobs import trunk_logprobs
from pivot_jax.policy.mesh import Rules, to_mesh
from pivot_jax.rollout.growing import BurstPoints, empty_trunks, lengthen, sample_burst, take_rows
from tests.policy.tiny import DENSE, MESHES, MIXED, RULES, policy

STOP = (5, 9, 11, 17, 23)
SETTINGS = SamplingSection(max_new_tokens=6)
N, ROOM = 8, 64


def grow(
    shape: MeshSection = MIXED, burst: int = 3, turns: int = 3, rows: int = N, order: Any = None, rules: Rules = RULES
):
    """Play `turns` turns against an environment that answers 0 to 4 fixed tokens; histories and what was sampled."""
    mesh, params = policy(DENSE, shape)
    names = np.arange(rows) if order is None else np.asarray(order)
    rng = [np.random.default_rng(int(name)) for name in names]
    ids = [list(each.integers(0, 64, 2 + name % 5)) for each, name in zip(rng, names, strict=True)]
    cached, written = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
    turn = np.zeros(rows, np.int32)
    sampled: list[list[tuple[int, int, float]]] = [[] for _ in range(rows)]
    with jax.set_mesh(mesh):
        trunks = empty_trunks(rows, ROOM, mesh, DENSE, RULES)
        while (turn < turns).any():
            active = turn < turns
            fed = [ids[n][cached[n] :] if active[n] else [] for n in range(rows)]
            block = np.zeros((rows, 8), np.int32)
            for n, new in enumerate(fed):
                block[n, 8 - len(new) :] = new
            lengths = np.array([len(new) for new in fed], np.int32)
            points = BurstPoints(
                cached=to_mesh(cached, mesh, RULES, "batch"),
                fed=to_mesh(block, mesh, RULES, "batch", "token"),
                fed_length=to_mesh(lengths, mesh, RULES, "batch"),
                written=to_mesh(written, mesh, RULES, "batch"),
                uid=to_mesh(names.astype(np.uint32), mesh, RULES, "batch"),
                draw=to_mesh(np.full(rows, 1, np.uint32), mesh, RULES, "batch"),
            )
            out, trunks = sample_burst(
                params, trunks, points, jax.random.key(3),
                settings=SETTINGS, burst=burst, stop=STOP, arch=DENSE, rules=rules,
            )  # fmt: skip
            out = jax.device_get(out)
            for n in range(rows):
                if not active[n]:
                    assert not out.mask[n].any()
                    continue
                new = out.tokens[n][out.mask[n]]
                place = len(ids[n])
                chosen = out.behavior_logprobs[n][out.mask[n]]
                sampled[n] += [(place + i, int(t), float(p)) for i, (t, p) in enumerate(zip(new, chosen, strict=True))]
                cached[n] += lengths[n] + len(new) - 1
                ids[n] += [int(t) for t in new]
                written[n] += len(new)
                if out.stopped[n] or written[n] == SETTINGS.max_new_tokens:
                    turn[n], written[n] = turn[n] + 1, 0
                    ids[n] += [int(t) for t in rng[n].integers(0, 64, rng[n].integers(0, 5))]
        return mesh, params, trunks, ids, cached, sampled


def test_behavior_logprobs_equal_those_of_one_pass_over_the_whole_episode():
    mesh, params, _, ids, _, sampled = grow()
    whole = np.zeros((N, ROOM), np.int32)
    for n, row in enumerate(ids):
        whole[n, : len(row)] = row
    with jax.set_mesh(mesh):
        logprobs = np.asarray(trunk_logprobs(params, to_mesh(whole, mesh, RULES, "batch", "seq"), DENSE, RULES))
    assert sum(map(len, sampled)) > 40
    for n, tokens in enumerate(sampled):
        for place, token, logprob in tokens:
            assert ids[n][place] == token
            np.testing.assert_allclose(logprobs[n, place], logprob, atol=2e-5)


def test_the_grown_cache_equals_a_prefilled_one():
    mesh, params, trunks, ids, cached, _ = grow()
    whole = np.zeros((N, ROOM), np.int32)
    for n, row in enumerate(ids):
        whole[n, : len(row)] = row
    with jax.set_mesh(mesh):
        prefilled = forward(
            params, to_mesh(whole, mesh, RULES, "batch", "seq"), None, DENSE, RULES, keep_cache=True
        ).trunk_cache
    assert prefilled is not None
    for grown, expected in ((trunks.key, prefilled.key), (trunks.value, prefilled.value)):
        for n, length in enumerate(cached):
            np.testing.assert_allclose(np.asarray(grown)[:, n, :length], np.asarray(expected)[:, n, :length], atol=2e-5)


@pytest.mark.parametrize("shape", MESHES)
def test_episodes_are_independent_of_the_mesh(shape):
    assert grow(shape)[3] == grow()[3]


def test_an_episode_is_whole_where_the_branches_of_a_trunk_are_split():
    split = Rules.make({"branch": ((), ("context",))})
    assert grow(MeshSection(data=2, context=4), rules=split)[3] == grow()[3]


@pytest.mark.parametrize("burst", [1, 2, 6])
def test_episodes_are_independent_of_where_bursts_end(burst):
    assert grow(burst=burst)[3] == grow()[3]


def test_an_episode_is_independent_of_its_batch():
    alone, together = grow(rows=16, order=range(15, -1, -1))[3], grow()[3]
    assert alone[::-1][:N] == together


def test_rows_can_be_taken_and_lengthened():
    mesh, _, trunks, *_ = grow(turns=1)
    with jax.set_mesh(mesh):
        rows = np.array([6, 1, 3, 3])
        taken = lengthen(take_rows(trunks, jax.numpy.asarray(rows), RULES), 2 * ROOM, RULES)
    np.testing.assert_array_equal(np.asarray(taken.key)[:, :, :ROOM], np.asarray(trunks.key)[:, rows])
    assert taken.value.shape[2] == 2 * ROOM and not np.asarray(taken.value)[:, :, ROOM:].any()
