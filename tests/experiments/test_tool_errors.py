"""Errors of held-out episodes: summed within a run, averaged over runs, and named."""

from __future__ import annotations

import sys

import pytest

from pivot_jax.pipeline.artifacts import read_json, write_json
from tests.experiments.scripts import script


@pytest.fixture
def runs(tmp_path):
    """Two seeds of two arms, four episodes each; the second seed has an arm more."""

    def suite(wins, turns, **errors):
        return {"outcomes": [1] * wins + [0] * (4 - wins), "turns": turns, "tool_errors": errors}

    for seed, missing in ((0, 2), (1, 4)):
        for arm in ("pivotrl", "base", *(["late"] if seed else [])):
            suites = {"shop": suite(2, [3, 3, 3, 3], missing=missing, odd=1), "other": suite(0, [1, 1, 1, 1])}
            write_json(tmp_path / f"seed_{seed}" / "evaluation" / f"{arm}.json", {"in_domain": suites})
    return tmp_path


def call(monkeypatch, capsys, *words):
    module = script("tool_errors")
    monkeypatch.setattr(module, "machine_of_children", lambda: {"platform": "test"})
    monkeypatch.setattr(sys, "argv", ["tool_errors.py", *map(str, words)])
    module.main()
    return capsys.readouterr().out


def test_rows_are_means_over_runs_of_what_all_have(runs, monkeypatch, capsys):
    out = runs / "found.json"
    words = ["shops", f"a={runs}/seed_[01]", "--domains", "shop", "--errors", "missing", "gone"]
    text = call(monkeypatch, capsys, *words, "--out", out)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]
    # 2 and 4 in four episodes: 50 and 100 a hundred, whose Student interval is 75 ± 12.7 * 25
    assert [row[:4] for row in rows] == [["a", "base", "shop", "8"], ["a", "pivotrl", "shop", "8"]]
    assert rows[0][4:] == ["50.0 [50.0, 50.0]", "3.0", "75 [0, 393]", "0 [0, 0]"]
    written = read_json(out)
    one = call(monkeypatch, capsys, "x", f"b={runs}/seed_1", "--arms", "late", "base", "--errors", "odd", "--out", out)
    assert "| b | late | other | 4 | 0.0 | 1.0 | 0 |\n| b | base | shop | 4 | 50.0 | 3.0 | 25 |" in one
    assert written["groups"]["a"][1]["arms"]["late"]["shop"]["errors"] == {"missing": 4, "odd": 1}
    assert "other" not in written["groups"]["a"][0]["arms"]["base"]


def test_what_is_wrong_is_said(runs, monkeypatch, capsys):
    with pytest.raises(SystemExit, match=r"seed_0: give it a label, LABEL="):
        call(monkeypatch, capsys, "x", runs / "seed_0", "--errors", "missing")
    with pytest.raises(SystemExit, match=r"seed_0: late is not evaluated; it has base, pivotrl"):
        call(monkeypatch, capsys, "x", f"a={runs}/seed_0", "--arms", "late", "--errors", "missing")
    with pytest.raises(SystemExit, match=r"seed_\*: there is no such directory"):
        call(monkeypatch, capsys, "x", f"a={runs}/absent/seed_*", "--errors", "missing")
    (runs / "absent").mkdir()
    with pytest.raises(SystemExit, match=r"absent/evaluation holds no ARM\.json; run the stage 'evaluate'"):
        call(monkeypatch, capsys, "x", f"a={runs}/absent", "--errors", "missing")
