"""FLOPs of the planned step: the ledger's own formulas, and the same numbers by hand."""

from __future__ import annotations

import pytest

from pivot_jax.pipeline.flops import sampling_cost, scoring_flops
from pivot_jax.pipeline.ledger import backward_flops
from pivot_jax.planning.chips import CHIPS
from pivot_jax.planning.timing import decode_bytes, gather_sent, idle_factor, step_seconds
from pivot_jax.planning.work import phases, step_rows
from pivot_jax.policy.spec import count_active_parameters
from tests.planning.planned import planned
from tests.policy.tiny import DENSE, EXPERTS, MIXED, MOE


def by_name(work):
    return {phase.name: phase for phase in phases(work)}


def test_phases_are_those_of_the_ledger(tmp_path):
    work = planned(tmp_path, DENSE)
    rows, lengths = step_rows(work)
    assert (len(rows), len(lengths)) == (8, 24)
    found, forward = by_name(work), scoring_flops(DENSE, rows, lengths)
    rollout = found["rollout: prefill"].flops + found["rollout: decoding"].flops
    assert rollout == sampling_cost(DENSE, rows, lengths).flops
    assert found["reference"].flops == forward
    assert found["update"].flops == forward + backward_flops(forward)
    assert found["update"].recomputed == forward  # remat = "full"


@pytest.mark.parametrize("arch", [DENSE, MOE])
def test_phases_by_hand(arch, tmp_path):
    work = planned(tmp_path, arch)
    weights = 2 * (count_active_parameters(arch) - 64 * 32)  # the table is tied and multiplies sampled places alone
    pair, logit = 4 * 2 * 8 * 8, 2 * 32 * 64
    trunk = 100 * weights + pair * (100 * 101 // 2)
    # three forced tokens and twelve of an action: scored, all pass; sampled, the last is never fed back
    scored = 15 * weights + pair * (15 * 100 + 15 * 16 // 2) + 12 * logit
    decoded = 14 * weights + pair * (14 * 100 + 14 * 15 // 2) + 12 * logit
    found = by_name(work)
    assert found["rollout: prefill"].flops == 8 * trunk
    assert found["rollout: decoding"].flops == 8 * 3 * decoded
    assert found["reference"].flops == 8 * (trunk + 3 * scored)
    assert found["update"].flops == 3 * 8 * (trunk + 3 * scored)
    # five turns, four actions each, on one prefill
    assert found["profile, one trajectory"].flops == trunk + 20 * decoded


def test_a_profile_is_prefilled_again_when_its_branches_do_not_fit_on_one_row(tmp_path):
    work = planned(tmp_path, DENSE, profile={"samples": 4, "branches_per_trunk": 8})
    once = planned(tmp_path, DENSE, profile={"samples": 4, "branches_per_trunk": 20})
    prefill = by_name(work)["rollout: prefill"].flops // 8
    names = "profile, one trajectory"
    assert by_name(work)[names].flops - by_name(once)[names].flops == 2 * prefill


def test_seconds_follow_from_the_peaks(tmp_path):
    work, chip = planned(tmp_path, DENSE), CHIPS["v5e"]
    seconds = {one.phase: one for one in step_seconds(work, chip, phases(work), {})}
    assert seconds["reference"].arithmetic == pytest.approx(by_name(work)["reference"].flops / (8 * 197e12 * 0.4))
    assert seconds["update"].arithmetic == pytest.approx(4 / 3 * by_name(work)["update"].flops / (8 * 197e12 * 0.4))
    decoding = seconds["rollout: decoding"]
    assert decoding.memory == pytest.approx(15 * decode_bytes(work) / (819e9 * 0.7))
    assert decoding.network == pytest.approx(15 * gather_sent(work, work.sample) / (200e9 * 0.7))
    assert decoding.overlapped == max(decoding.arithmetic, decoding.memory, decoding.network) < decoding.apart


def test_bytes_of_a_gather_by_hand(tmp_path):
    work = planned(tmp_path, DENSE)
    # fsdp halves what is stored of every matrix: the other half is sent; norms are whole everywhere
    matrices = 64 * 32 + 2 * (32 * (8 + 4 + 4 + 8) * 8 + 3 * 32 * 48) // 2
    assert gather_sent(work, work.train) == 4 * matrices / 2


def test_devices_that_do_the_same_work_and_rows_of_padding_cost_time(tmp_path):
    # the axis of experts splits nothing of a dense policy, and everything but attention of a mixture
    for arch, mesh, factor in ((DENSE, MIXED, 1), (DENSE, EXPERTS, 2), (MOE, EXPERTS, 1)):
        work = planned(tmp_path, arch, mesh)
        assert idle_factor(work, work.train) == factor
    padded = planned(tmp_path, DENSE, MIXED, train={"pivots_per_step": 6, "group_size": 3})
    assert (padded.rows, idle_factor(padded, padded.train)) == (8, 8 / 6)
