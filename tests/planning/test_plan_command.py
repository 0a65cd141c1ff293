"""`pivot-jax plan` as it is called: what it prints, how it exits, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pivot_jax.cli import main
from pivot_jax.config import Config, MeshSection
from pivot_jax.config_files import load
from pivot_jax.planning.advice import account, in_parts, largest_pivots, smallest_change
from pivot_jax.planning.chips import CHIPS, chip_of
from pivot_jax.planning.compile_child import needed_bytes
from pivot_jax.planning.compiled import Compiled, _answer, _end, _start, failure
from pivot_jax.planning.memory import held_terms, moments, peak
from pivot_jax.planning.plan import make_plan
from pivot_jax.planning.verdict import program_total, verdict
from pivot_jax.planning.workload import read_workload
from pivot_jax.policy.spec import count_active_parameters, count_parameters
from tests.planning.planned import planned
from tests.policy.tiny import DENSE

CONFIGS = Path(__file__).parents[2] / "configs"
QWEN = {"qwen3_8b": (8_190_735_360, 8_190_735_360), "qwen3_30b_a3b": (30_532_122_624, 3_353_032_704)}


def run(words: list[str], capsys) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["plan", *words])
    out, told = capsys.readouterr()
    return int(ended.value.code or 0), out, told


def test_a_small_step_fits_and_the_page_says_so(tmp_path, capsys):
    mesh = str(CONFIGS / "mesh" / "cpu_8_mixed.toml")
    words = [str(CONFIGS / "quickstart.toml"), mesh, "--no-compile", "--out", str(tmp_path / "plan.md")]
    code, out, _ = run([*words, "--train.pivots-per-step", "8"], capsys)
    assert code == 0 and "**It fits**" in out and "8 pivots x 8 actions" in out
    assert (tmp_path / "plan.md").read_text() == out.removesuffix("\n")
    for section in ("Bytes of one device", "What a compiler says", "Model FLOPs and predicted time", "Assumed"):
        assert f"## {section}" in out


def test_a_step_that_does_not_fit_says_what_to_change(tmp_path, capsys):
    policy, mesh = tmp_path / "policy", tmp_path / "mesh.toml"
    planned(policy, DENSE.model_copy(update={"embed": 2048, "mlp": 8192, "layers": 40, "vocab_size": 150_000}))
    mesh.write_text('[mesh]\ndata = 2\nchip = "v5e"\ntopology = "1x2"\n')
    words = [str(CONFIGS / "quickstart.toml"), str(mesh), "--policy.path", str(policy), "--no-compile"]
    code, out, _ = run(words, capsys)
    assert code == 1 and "**It does not fit**" in out and "Change, fewest first: **" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.toml"], "absent.toml: cannot be read"),
        ([str(CONFIGS / "quickstart.toml"), "--mesh.data", "2", "--policy.path", "nowhere"], "holds no config.json"),
        ([str(CONFIGS / "quickstart.toml")], "mesh.data: -1 takes the devices that are left"),
        ([str(CONFIGS / "quickstart.toml"), "--mesh.data", "1", "--run.arms", "sft"], "plans the method 'pivot_rl'"),
        ([str(CONFIGS / "quickstart.toml"), "--mesh.data", "1", "--mesh.tensor", "16"], "mesh"),
        ([str(CONFIGS / "quickstart.toml"), "--train.stepz", "3"], "stepz"),
    ],
)
def test_faults_are_one_message_and_exit_2(words, message, capsys):
    code, _, told = run([*words, "--no-compile"], capsys)
    assert code == 2 and message in told and "Traceback" not in told


@pytest.mark.parametrize("model", QWEN)
@pytest.mark.parametrize("mesh", ["v5p_64", "h100_8"])
def test_the_shipped_policies_are_planned_on_the_shipped_meshes(model, mesh):
    config = load([CONFIGS / f"tau2_{model}.toml", CONFIGS / "mesh" / f"{mesh}.toml"])
    work = read_workload(replace_path(config, model))
    assert (count_parameters(work.arch), count_active_parameters(work.arch)) == QWEN[model]
    assert (work.pivots, work.group, work.trunk) == (64, 16, 32_768)
    assert peak(moments(work)).total > sum(term.bytes for term in held_terms(work))


def replace_path(config: Config, model: str) -> Config:
    """The config with its policy found from any working directory."""
    policy = config.policy.model_copy(update={"path": str(CONFIGS / "model" / model)})
    return config.model_copy(update={"policy": policy})


def test_the_largest_number_of_pivots_is_the_last_that_fits(tmp_path):
    work = planned(tmp_path, DENSE)
    chip = replace(CHIPS["v5e"], usable=account(in_parts(work, 400, 100)))  # rows come in fours: data x fsdp
    assert largest_pivots(work, chip) == 400
    assert largest_pivots(work, replace(chip, usable=chip.usable - 1)) == 396
    assert largest_pivots(work, replace(chip, usable=1000)) == 0


def test_the_change_is_the_smallest_that_fits(tmp_path):
    alone = MeshSection(data=1)  # no other mesh to try
    work = planned(tmp_path, DENSE, alone, policy={"remat": "none", "path": str(tmp_path)})
    halves = account(in_parts(work, work.rows, 2))
    found = smallest_change(work, replace(CHIPS["v5e"], usable=halves))
    assert found is not None and [change.label for change in found[0]] == ["train.micro_batches = 2"]
    assert found[1] == halves < account(work)
    # the less memory there is, the more has to change, until nothing helps
    usable, counts = account(work) - 1, []
    while (found := smallest_change(work, replace(CHIPS["v5e"], usable=usable))) is not None:
        assert found[1] <= usable and len({change.kind for change in found[0]}) == len(found[0])
        counts.append(len(found[0]))
        usable = found[1] - 1
    assert counts == sorted(counts) and {1, 2} <= set(counts)


def test_the_verdict_is_the_compilers_where_it_ended_and_the_accounts_elsewhere(tmp_path):
    work, chip = planned(tmp_path, DENSE), CHIPS["v5e"]
    reference = held_terms(work)[1].bytes
    update = Compiled("update", "TPU compiler", True, arguments=10**6, temporaries=15 * 2**30)
    told = verdict(work, chip, [[update]])
    assert told.needed == 10**6 + 15 * 2**30 + reference and "TPU compiler, program `update`" in told.decided_by
    host = Compiled("update", "XLA for 8 host devices", False, arguments=10**6, temporaries=15 * 2**30)
    assert verdict(work, chip, [[host]]).needed == account(work)
    stopped = Compiled("update", "TPU compiler", True, error="not done after 3 s")
    assert verdict(work, chip, [[stopped, host]]).needed == account(work)
    large = Compiled("update", "TPU compiler", True, error="RESOURCE_EXHAUSTED: ...", needed=19 * 2**30)
    assert program_total(work, large, chip) == 19 * 2**30 + sum(term.bytes for term in held_terms(work))
    assert not verdict(work, chip, [[large]]).fits


def test_what_the_tpu_compiler_says_of_a_program_that_is_too_large():
    said = (
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (19.05G) exceeds"
    )
    assert needed_bytes(f"{said} available HBM (15.75G).") == int(19.05 * 2**30)
    assert needed_bytes("Ran out of memory in memory space hbm. Used 120.5G of 95.74G hbm.") == int(120.5 * 2**30)
    assert needed_bytes("INTERNAL: something else") == 0


def test_a_compilation_is_ended_at_its_limit_and_says_how_to_wait_longer(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    child = _start(planned(tmp_path, DENSE).config, "update", "cpu", 8, "low")
    try:
        told = _answer(child, patience=0.2, limit=0.2)
    finally:
        _end(child)
    assert "--compile-limit SECONDS waits longer" in told["error"] and child.returncode != 0


def test_why_a_compiler_ended():
    crash = "F1125 08:55 21 emitter.cc:676] Check failed: bound == 1\nE1125 08:55 21 state.cc:708] RAW: signal 6\n"
    assert failure(crash, -6).startswith("the compiler broke off: Check failed: bound == 1; --full-effort")
    assert failure("Traceback ...\nValueError: no such topology\n", 1) == "ValueError: no such topology"
    assert failure("", 137) == "it ended with 137"


@pytest.mark.slow
def test_host_devices_are_asked_and_the_answer_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = planned(tmp_path, DENSE, run={"arms": ()}).config
    plans = [make_plan(config, "again", limit=1.0, effort="low") for _ in range(2)]
    for plan, cached in zip(plans, (False, True), strict=True):
        assert [one.cached for told in plan.compiled for one in told] == [cached, cached]
        assert all(not one.is_tpu and one.peak and one.collectives for told in plan.compiled for one in told)
    update, rollout = (told[0] for told in plans[0].compiled)
    assert not update.each_round and rollout.each_round  # the loop over tokens has no fixed length


def test_devices_without_published_peaks_share_the_memory_of_this_machine():
    assert chip_of("", 8).usable == chip_of("cpu", 4).usable // 2
    assert not chip_of("cpu", 1).known and all(chip.known for chip in CHIPS.values())
