"""The report on a synthetic run: the contract of its JSON, its numbers recomputed, and a page that stands alone."""

from __future__ import annotations

import json
import math
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pivot_jax.pipeline.intervals import mean_of_suites, paired_difference, wilson
from pivot_jax.pipeline.ledger import Cost, Ledger
from pivot_jax.pipeline.metrics import MetricLine
from pivot_jax.pipeline.report import build_report, print_summary
from pivot_jax.pipeline.report_text import count, duration, flops, percent, points

RATES = {
    "base": ({"shop": 0.2, "files": 0.35}, {"sums": 0.7, "recall": 0.9, "sort": 0.5}),
    "sft": ({"shop": 0.5, "files": 0.55}, {"sums": 0.3, "recall": 0.6, "sort": 0.2}),
    "pivotrl": ({"shop": 0.75, "files": 0.8}, {"sums": 0.7, "recall": 0.9, "sort": 0.5}),
}
COSTS = {
    "base": {"evaluation": Cost(episodes=320, sampled_tokens=64_000, flops=3_200_000_000, seconds=12.5)},
    "sft": {"update": Cost(trained_tokens=250_000, flops=10**13, seconds=300)},
    "pivotrl": {
        "profile": Cost(rollout_turns=4_000, sampled_tokens=80_000, verifier_calls=4_000, flops=10**12, seconds=200),
        "update": Cost(trained_tokens=90_000, flops=10**13, seconds=400),
    },
}


def evaluation(arm: str, n: int = 80) -> dict[str, Any]:
    """Episodes won where a draw shared by all arms lies below the arm's rate, so that arms differ as rates do."""
    parts = []
    for suites in RATES[arm]:
        part = {}
        for name, rate in suites.items():
            rng = random.Random(name)
            draws = rng.sample([(i + 0.5) / n for i in range(n)], n)
            part[name] = {"outcomes": [int(draw < rate) for draw in draws], "seeds": list(range(1000, 1000 + n))}
        parts.append(part)
    in_domain, ood = parts
    return {"arm": arm, "in_domain": in_domain, "ood": ood, "checkpoint": f"checkpoints/{arm}", "temperature": 1.0}


def pivots() -> dict[str, Any]:
    rates = [0.0] * 40 + [0.25] * 10 + [0.5] * 12 + [0.75] * 8 + [1.0] * 29 + [None]
    return {
        "candidates": 100,
        "kept": 22,
        "by_reason": {"kept": 22, "all_fail": 40, "all_pass": 29, "too_easy": 8, "not_judged": 1},
        "mixed_fraction": 0.3,
        "uninformative_fraction": 0.69,
        "pass_rates": rates,
        "pass_rates_exact": [0.0] * 80 + [0.25] * 20,
        "threshold": 0.6,
        "k": 4,
        "by_domain": {
            "shop": {"candidates": 60, "kept": 12, "by_reason": {"kept": 12}},
            "files": {"candidates": 40, "kept": 10},
        },
    }


def put(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    put(tmp_path / "config.json", {"name": "<tiny> & run", "train": {"steps": 40}})
    put(tmp_path / "manifest.json", {"command": "pivot-jax train configs/tiny.toml", "stages": ["profile"]})
    ledger = Ledger()
    for arm, phases in COSTS.items():
        for phase, cost in phases.items():
            ledger = ledger.charge(arm, phase, cost)  # type: ignore[arg-type]
    put(tmp_path / "ledger.json", ledger.to_json())
    put(tmp_path / "pivots.json", pivots())
    for arm in RATES:
        put(tmp_path / "evaluation" / f"{arm}.json", evaluation(arm))
    rng = random.Random(0)
    lines = [MetricLine("sft", step, {"sft/loss": 1.5 * math.exp(-step / 15) + 0.3}) for step in range(40)]
    for step in range(60):
        metrics = {
            "train/reward_mean": 0.3 + 0.4 * (1 - math.exp(-step / 20)) + rng.gauss(0, 0.04),
            "pivot/mixed_fraction": 0.9 - 0.004 * step + rng.gauss(0, 0.03),
            "policy/kl_to_reference": math.nan if step == 30 else 0.001 * step,
        }
        lines.append(MetricLine("pivotrl", step, metrics))
    (tmp_path / "metrics.jsonl").write_text("".join(line.to_text() + "\n" for line in lines))
    return tmp_path


class Page(HTMLParser):
    """Collects the text of table cells and headings, and every attribute that could load something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")
        ]

    def handle_data(self, data: str) -> None:
        self.text += f" {data.strip()}"


def page_of(run_dir: Path) -> str:
    return (run_dir / "report" / "index.html").read_text(encoding="utf-8")


def test_json_keeps_the_contract(run_dir: Path) -> None:
    report = build_report(run_dir)
    assert json.loads((run_dir / "report" / "report.json").read_text()) == report
    assert set(report) == {"headline", "arms", "differences", "pivots", "command", "config"}
    assert list(report["arms"]) == ["base", "sft", "pivotrl"]
    for arm in report["arms"].values():
        assert set(arm) == {"in_domain", "other_domains", "ood", "in_domain_mean", "ood_mean", "ledger"}
        assert arm["other_domains"] == {}
        for value in (*arm["in_domain"].values(), *arm["ood"].values(), arm["in_domain_mean"], arm["ood_mean"]):
            assert set(value) == {"mean", "ci95", "n"}
            assert value["ci95"][0] <= value["mean"] <= value["ci95"][1]
    assert set(report["pivots"]) == {"candidates", "kept", "by_reason", "mixed_fraction", "uninformative_fraction"}
    assert set(report["differences"]) == {"sft", "pivotrl"}
    assert report["command"] == "pivot-jax train configs/tiny.toml"
    assert report["config"]["train"] == {"steps": 40}


def test_numbers_are_those_of_the_outcomes(run_dir: Path) -> None:
    report = build_report(run_dir)
    for name, (in_domain, ood) in RATES.items():
        arm = report["arms"][name]
        for part, rates in (("in_domain", in_domain), ("ood", ood)):
            for suite, rate in rates.items():
                assert arm[part][suite]["mean"] == rate
                assert arm[part][suite]["ci95"] == list(wilson(round(80 * rate), 80))
                assert arm[part][suite]["n"] == 80
            mean = mean_of_suites([(round(80 * rate), 80) for rate in rates.values()])
            assert arm[f"{part}_mean"] == mean.to_json()
        assert arm["ledger"] == Ledger({name: COSTS[name]}).to_json()[name]  # type: ignore[dict-item]
    outcomes = {arm: evaluation(arm)["ood"]["sums"]["outcomes"] for arm in RATES}
    change = report["differences"]["sft"]
    assert change["ood"]["sums"] == paired_difference(outcomes["sft"], outcomes["base"]).to_json()
    assert change["ood_mean"]["mean"] == pytest.approx((-0.4 - 0.3 - 0.3) / 3)
    assert change["paired"] is True


def test_domains_not_trained_on_have_a_table_of_their_own(run_dir: Path) -> None:
    before, wins = build_report(run_dir), {"base": 4, "sft": 1, "pivotrl": 4}
    assert "Domains not trained on" not in page_of(run_dir)
    for arm, number in wins.items():
        other = {"kitchen": {"outcomes": [1] * number + [0] * (8 - number), "seeds": list(range(8))}}
        put(run_dir / "evaluation" / f"{arm}.json", {**evaluation(arm), "other_domains": other})
    report = build_report(run_dir)
    assert report["arms"]["sft"]["other_domains"]["kitchen"]["mean"] == 1 / 8
    assert report["differences"]["sft"]["other_domains"]["kitchen"]["mean"] == -3 / 8
    for arm in wins:  # they are no part of the means
        for mean in ("in_domain_mean", "ood_mean"):
            assert report["arms"][arm][mean] == before["arms"][arm][mean]
    text = Page(page_of(run_dir)).text
    assert "Domains not trained on" in text and "kitchen" in text


def test_pairs_are_matched_by_seed_and_other_seeds_are_not_paired(run_dir: Path) -> None:
    expected = build_report(run_dir)["differences"]
    shuffled = evaluation("sft")
    suite = shuffled["in_domain"]["shop"]
    suite["outcomes"], suite["seeds"] = suite["outcomes"][::-1], suite["seeds"][::-1]
    put(run_dir / "evaluation" / "sft.json", shuffled)
    assert build_report(run_dir)["differences"] == expected
    suite["seeds"] = [seed + 1 for seed in suite["seeds"]]
    put(run_dir / "evaluation" / "sft.json", shuffled)
    unpaired = build_report(run_dir)["differences"]["sft"]
    assert unpaired["paired"] is False
    assert unpaired["in_domain"]["shop"]["n"] == 160
    assert "different seeds" in page_of(run_dir)


def test_headline_says_that_the_orderings_hold(run_dir: Path) -> None:
    headline = build_report(run_dir)["headline"]
    assert "PivotRL reaches 77.5% in domain (+50.0 points) and 70.0% out of domain (0.0)" in headline
    assert "Every ordering that the method promises holds" in headline


def test_headline_names_an_ordering_that_does_not_hold(run_dir: Path) -> None:
    better_sft = evaluation("sft")
    better_sft["in_domain"]["shop"]["outcomes"] = [1] * 80
    better_sft["in_domain"]["files"]["outcomes"] = [1] * 80
    put(run_dir / "evaluation" / "sft.json", better_sft)
    headline = build_report(run_dir)["headline"]
    assert "PivotRL is better in domain than SFT (does not hold)" in headline
    assert "Of 3 promised orderings 2 hold" in headline
    assert "PivotRL is better in domain than SFT: does not hold" in Page(page_of(run_dir)).text


def test_headline_calls_a_small_lead_unresolved(run_dir: Path) -> None:
    close_sft = {**evaluation("pivotrl"), "arm": "sft"}
    close_sft["in_domain"]["shop"]["outcomes"][close_sft["in_domain"]["shop"]["outcomes"].index(1)] = 0
    put(run_dir / "evaluation" / "sft.json", close_sft)
    assert "PivotRL is better in domain than SFT (not resolved)" in build_report(run_dir)["headline"]


def test_page_stands_alone_and_shows_the_numbers(run_dir: Path) -> None:
    build_report(run_dir)
    html = page_of(run_dir)
    assert "http://" not in html
    assert "https://" not in html
    assert not re.search(r"@import|url\((?!#)", html)
    page = Page(html)
    assert page.tags.count("svg") == 3
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert all(reference.startswith("#") for reference in page.references)
    assert all(f'id="{reference[1:]}"' in html for reference in page.references)
    for shown in ("77.5%", "+50.0", "\u221233.3", "69.0%", "too easy", "11.0 TFLOP", "10 min 00 s", "SFT loss"):
        assert shown in page.text, shown
    assert '"name": "<tiny> & run"' in page.text


def test_the_same_inputs_give_the_same_bytes(run_dir: Path) -> None:
    build_report(run_dir)
    first = page_of(run_dir)
    build_report(run_dir)
    assert page_of(run_dir) == first


def test_a_run_with_only_the_base_is_reported(run_dir: Path) -> None:
    for arm in ("sft", "pivotrl"):
        (run_dir / "evaluation" / f"{arm}.json").unlink()
    (run_dir / "metrics.jsonl").unlink()
    report = build_report(run_dir)
    assert list(report["arms"]) == ["base"]
    assert report["differences"] == {}
    assert report["headline"].endswith("PivotRL has not been evaluated yet.")
    assert Page(page_of(run_dir)).text.count("not recorded") == 4


def test_a_run_without_a_profile_is_reported_without_pivots(run_dir: Path) -> None:
    (run_dir / "pivots.json").unlink()
    report = build_report(run_dir)
    assert report["pivots"] is None
    page = Page(page_of(run_dir))
    assert page.tags.count("svg") == 2 and "Pivots" not in page.text and "Ledger" in page.text
    console = Console(width=140, record=True, file=(run_dir / "terminal.txt").open("w"))
    print_summary(report, console)
    console.file.close()
    assert "uninformative" not in console.export_text()


def test_further_arms_follow_the_known_ones(run_dir: Path) -> None:
    put(run_dir / "evaluation" / "a_random_turns.json", {**evaluation("base"), "arm": "a_random_turns"})
    report = build_report(run_dir)
    assert list(report["arms"]) == ["base", "sft", "pivotrl", "a_random_turns"]
    assert report["arms"]["a_random_turns"]["ledger"] == {}


@pytest.mark.parametrize(
    ("absent", "stage"),
    [
        ("config.json", "any stage"),
        ("manifest.json", "any stage"),
        ("ledger.json", "any stage"),
    ],
)
def test_absent_file_is_named_with_its_stage(run_dir: Path, absent: str, stage: str) -> None:
    (run_dir / absent).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{re.escape(absent)} is absent; .*: {stage}"):
        build_report(run_dir)


def test_no_evaluation_is_named_with_its_stage(run_dir: Path) -> None:
    for arm in RATES:
        (run_dir / "evaluation" / f"{arm}.json").unlink()
    with pytest.raises(FileNotFoundError, match="evaluate"):
        build_report(run_dir)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arm": "base"}, "holds arm 'base'"),
        ({"ood": {}}, r"sft\.json: ood"),
        ({"in_domain": {"shop": {"outcomes": [0, 2], "seeds": [1, 2]}}}, r"in_domain\.shop\.outcomes\.1"),
        ({"in_domain": {"shop": {"outcomes": [0, 1], "seeds": [1]}}}, "2 outcomes but 1 seeds"),
        ({"ood": {"sums": {"outcomes": [0], "seeds": [1]}}}, "only one of sft and base was evaluated on recall, sort"),
    ],
)
def test_damaged_evaluation_is_refused(run_dir: Path, change: dict[str, Any], message: str) -> None:
    put(run_dir / "evaluation" / "sft.json", {**evaluation("sft"), **change})
    with pytest.raises(ValueError, match=message):
        build_report(run_dir)


def test_terminal_summary_shows_arms_share_and_ledger(run_dir: Path) -> None:
    console = Console(width=140, record=True, quiet=False, file=(run_dir / "terminal.txt").open("w"))
    print_summary(build_report(run_dir), console)
    shown = console.export_text()
    console.file.close()
    for text in ("27.5%", "77.5%", "+50.0", "69.0% of 100 candidate turns", "11.0 TFLOP", "verifier calls"):
        assert text in shown, text
    assert "environment steps" not in shown


def test_numbers_as_text() -> None:
    assert [count(value) for value in (0, 999, 1000, 12_345, 999_600, 4_560_000)] == [
        "0", "999", "1.00k", "12.3k", "1.00M", "4.56M",
    ]  # fmt: skip
    assert [flops(value) for value in (999, 3_200_000_000, 10**21)] == ["999 FLOP", "3.20 GFLOP", "1.00 ZFLOP"]
    assert [duration(value) for value in (3.21, 250.4, 7500)] == ["3.2 s", "4 min 10 s", "2 h 05 min"]
    assert [points(value) for value in (0.268, -0.112, -0.0001)] == ["+26.8", "\u221211.2", "0.0"]
    assert percent(-1e-18) == "0.0%"


def test_twelve_arms_stand_in_the_order_of_the_config(run_dir: Path) -> None:
    names = [f"arm_{letter}" for letter in "jihgfedcb"]
    put(run_dir / "config.json", {"arms": {name: {} for name in ["sft", *names, "pivotrl"]}})
    ledger = json.loads((run_dir / "ledger.json").read_text())
    for name in names:
        put(run_dir / "evaluation" / f"{name}.json", {**evaluation("sft"), "arm": name})
        ledger[name] = ledger["sft"]
    put(run_dir / "ledger.json", ledger)
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.writelines(MetricLine(name, 1, {"train/reward_mean": 0.5}).to_text() + "\n" for name in names)
    report = build_report(run_dir)
    order = ["base", "sft", "pivotrl", *names]
    assert list(report["arms"]) == order
    assert not any(name in report["headline"] for name in names)
    assert all(name in Page(page_of(run_dir)).text for name in names)
    with (run_dir / "terminal.txt").open("w") as file:
        console = Console(width=120, record=True, file=file)
        print_summary(report, console)
    lines = console.export_text().splitlines()
    for name in order[3:]:  # in both tables the arm's whole row stands on one line: nothing is folded or cut
        rates, costs = [line for line in lines if line.startswith(f"│ {name} ")]
        assert rates.count("%") == 4  # two means, two domains
        assert "10.0 TFLOP" in costs and "5 min 00 s" in costs
