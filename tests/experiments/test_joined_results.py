"""Arms measured apart are joined where the arms that both results have came out alike, and nowhere else."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.seed_results import Results
from tests.experiments.scripts import script, write_run

CONFIG = """
[run]
dir = "{dir}"
[data]
domains = ["retail", "terminal"]
[arms.sft]
method = "sft"
[arms.pivotrl]
method = "pivot_rl"
[arms.random]
method = "pivot_rl"
select = {{ rule = "random" }}
"""


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Results with these arms, each with its successes of seeds 0 and 1."""
    compare = script("compare_arms")
    monkeypatch.setattr(compare, "machine_of_children", lambda: "a machine")

    def results(day: str, **arms: tuple[int, int]) -> dict[str, Any]:
        path = tmp_path / "c.toml"
        path.write_text(CONFIG.format(dir=tmp_path / day))
        runs = compare.planned(str(path), "mixed", [0, 1])
        for run in runs:
            write_run(run, {arm: successes[run.seed] for arm, successes in arms.items()})
        return compare.record(str(path), "mixed", runs, day)

    return results


def test_arms_of_both_and_where_they_came_from(measured):
    join = script("joined_results").joined
    earlier = measured("monday", base=(2, 3), sft=(4, 5), pivotrl=(6, 7))
    new = measured("tuesday", base=(2, 3), pivotrl=(6, 7), random=(8, 9))
    record = join(new, earlier)
    results = Results.model_validate(record)
    assert results.arms == ("base", "sft", "pivotrl", "random")
    for place in (0, 1):
        successes = {arm: one.in_domain["retail"].successes for arm, one in results.runs[place].arms.items()}
        assert successes == {"base": 2 + place, "sft": 4 + place, "pivotrl": 6 + place, "random": 8 + place}
        assert record["runs"][place]["seconds"] == new["runs"][place]["seconds"] + earlier["runs"][place]["seconds"]
    assert [part["command"] for part in record["joined"]] == ["monday"] and record["command"] == "tuesday"
    third = join(measured("wednesday", base=(2, 3), random=(8, 9)), record)
    assert [part["command"] for part in third["joined"]] == ["monday", "tuesday"]
    assert all(f"\n| {arm} | " in script("compare_arms").section(record) for arm in results.arms)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["runs"][1]["arms"]["pivotrl"]["ood"]["sort"].update(successes=1), r"seed 1, .*pivotrl came out"),
        (lambda r: r["runs"][0]["arms"]["base"]["in_domain"]["retail"].update(episodes=9), r"seed 0, .*base came out"),
        (lambda r: r["runs"][0]["pivots"].update(retail=1), "seed 0, retail terminal: pivots differ"),
        (
            lambda r: [run.update(arms={"base": run["arms"]["base"]}) for run in r["runs"]],
            "no arm beside the base is in both",
        ),
        (lambda r: r.update(seeds=[0, 2]), r"seeds: \[0, 1\] here, \[0, 2\] there"),
        (lambda r: r["runs"].reverse(), "seed 0, retail terminal: stands where seed 1"),
    ],
)
def test_what_came_out_otherwise_is_not_joined(measured, change, message):
    new = measured("tuesday", base=(2, 3), pivotrl=(6, 7), random=(8, 9))
    earlier = copy.deepcopy(new)
    change(earlier)
    with pytest.raises(ValueError, match=message):
        script("joined_results").joined(new, earlier)


def test_the_page_names_every_command(measured, tmp_path):
    tables = script("results_tables")
    new = measured("tuesday", base=(2, 3), pivotrl=(6, 7))
    told = tables.source({**new, "joined": [{**new, "command": "monday"}]}, tmp_path / "r.json")
    assert told.startswith("`monday`, commit ") and "; then `tuesday`, commit " in told and told.endswith("r.json).")


def test_the_command_joins_or_names_the_file_that_cannot_be(measured, tmp_path, monkeypatch, capsys):
    earlier, out = tmp_path / "earlier.json", tmp_path / "out.json"
    write_json(earlier, measured("monday", base=(2, 3), sft=(4, 5), pivotrl=(6, 7)))
    measured("tuesday", base=(2, 3), pivotrl=(6, 7), random=(8, 9))
    words = ["compare_arms.py", str(tmp_path / "c.toml"), "--seeds", "0", "1", "--arms", "pivotrl", "random"]
    monkeypatch.setattr("sys.argv", [*words, "--aggregate-only", "--join", str(earlier), "--out", str(out)])
    compare = script("compare_arms")
    compare.main()
    assert Results.model_validate(read_json(out)).arms == ("base", "sft", "pivotrl", "random")
    assert f"written: {out}" in capsys.readouterr().out
    whole = out.read_bytes()
    write_json(earlier, measured("wednesday", base=(2, 4), pivotrl=(6, 7)))
    measured("tuesday", base=(2, 3), pivotrl=(6, 7), random=(8, 9))
    with pytest.raises(SystemExit, match=r"earlier.json cannot be joined: .*base"):
        compare.main()
    assert out.read_bytes() == whole
