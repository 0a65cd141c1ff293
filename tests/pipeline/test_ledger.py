"""The ledger adds, never changes in place, and counts FLOPs as worked out by hand."""

import json
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivot_jax.pipeline.ledger import (
    PHASES,
    Cost,
    Ledger,
    backward_flops,
    causal_keys,
    forward_flops,
    unembedding_flops,
)

COSTS = st.builds(
    Cost,
    **{part.name: st.integers(0, 10**18) for part in fields(Cost) if part.name != "seconds"},
    seconds=st.integers(0, 10**6).map(float),
)
LEDGERS = st.dictionaries(
    st.sampled_from(["base", "sft", "pivotrl"]), st.dictionaries(st.sampled_from(PHASES), COSTS, min_size=1)
).map(Ledger)


def test_costs_add_field_by_field() -> None:
    total = Cost(rollout_turns=3, flops=10**16, seconds=1.5) + Cost(rollout_turns=4, flops=1, episodes=2, seconds=0.5)
    assert total == Cost(rollout_turns=7, episodes=2, flops=10**16 + 1, seconds=2.0)
    assert total + Cost.zero() == total


def test_counts_are_whole_and_not_negative() -> None:
    with pytest.raises(TypeError, match="flops"):
        Cost(flops=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sampled_tokens"):
        Cost(sampled_tokens=-1)
    with pytest.raises(ValueError, match="seconds"):
        Cost(seconds=float("nan"))
    json.dumps(Ledger().charge("sft", "update", Cost(trained_tokens=np.int64(5))).to_json())  # type: ignore[arg-type]


def test_charging_returns_a_new_ledger() -> None:
    empty = Ledger()
    first = empty.charge("pivotrl", "profile", Cost(rollout_turns=8))
    second = first.charge("pivotrl", "profile", Cost(rollout_turns=2)).charge("sft", "update", Cost(trained_tokens=5))
    assert empty.arms == ()
    assert first.total("pivotrl") == Cost(rollout_turns=8)
    assert second.phases("pivotrl") == {"profile": Cost(rollout_turns=10)}
    assert second.total("sft") == Cost(trained_tokens=5)
    assert second.total("base") == Cost.zero()
    with pytest.raises(ValueError, match="'sft'"):
        empty.charge("sft", "sft", Cost())  # type: ignore[arg-type]


@given(LEDGERS, LEDGERS)
def test_merging_adds_every_arm(a: Ledger, b: Ledger) -> None:
    merged = a.merge(b)
    assert set(merged.arms) == {*a.arms, *b.arms}
    for arm in merged.arms:
        assert merged.total(arm) == a.total(arm) + b.total(arm)
    assert merged == b.merge(a)


@given(LEDGERS)
def test_json_round_trip(ledger: Ledger) -> None:
    assert Ledger.from_json(json.loads(json.dumps(ledger.to_json()))) == ledger


def test_json_with_unknown_or_missing_keys_is_refused() -> None:
    good = Ledger().charge("sft", "update", Cost(trained_tokens=5)).to_json()
    with pytest.raises(ValueError, match=r"sft\.update: unknown or missing tokens"):
        Ledger.from_json({"sft": {"update": {**good["sft"]["update"], "tokens": 1}}})
    with pytest.raises(ValueError, match="unknown or missing seconds"):
        Ledger.from_json({"sft": {"update": {k: v for k, v in good["sft"]["update"].items() if k != "seconds"}}})
    with pytest.raises(ValueError, match=r"sft\.training: unknown phase"):
        Ledger.from_json({"sft": {"training": good["sft"]["update"]}})


def test_forward_flops_by_hand() -> None:
    # 3 tokens through 100 weights: 600. Pairs 1 + 2 + 3 = 6, each 4 flops in 2 layers x 5 heads x 7 dimensions: 1680.
    pairs = causal_keys(3)
    assert pairs == 6
    forward = forward_flops(n_params_non_embedding=100, layers=2, heads=5, head_dim=7, tokens=3, attended_keys=pairs)
    assert forward == 600 + 1680
    assert backward_flops(forward) == 4560
    assert unembedding_flops(embed=8, vocab=11, tokens=3) == 2 * 8 * 11 * 3


@given(st.integers(0, 40), st.integers(0, 40))
def test_causal_keys_are_the_pairs_of_a_mask(start: int, tokens: int) -> None:
    mask = np.arange(start + tokens)[None, :] <= np.arange(start, start + tokens)[:, None]
    assert causal_keys(tokens, start=start) == mask.sum()


def test_flops_of_a_sequence_do_not_depend_on_where_it_is_cut() -> None:
    def flops(tokens: int, start: int) -> int:
        keys = causal_keys(tokens, start=start)
        return forward_flops(n_params_non_embedding=9, layers=2, heads=3, head_dim=4, tokens=tokens, attended_keys=keys)

    assert flops(17, 0) == flops(5, 0) + flops(12, 5)
