"""docs/results.md says what the results files say."""

from __future__ import annotations

import re

import pytest

from pivot_jax.pipeline.artifacts import read_json, write_json
from tests.experiments.scripts import script


@pytest.fixture(scope="module")
def tables():
    return script("results_tables")


def test_the_page_is_up_to_date(tables):
    page = tables.PAGE.read_text(encoding="utf-8")
    assert tables.refreshed(page) == page, "refresh it: python experiments/results_tables.py --write"


def test_every_results_file_stands_on_a_page_and_every_block_is_known(tables):
    page = tables.PAGE.read_text(encoding="utf-8")
    blocks = {name for _, name, _, _ in tables.BLOCK.findall(page)}
    assert len(blocks) == page.count("<!-- table:") == page.count("<!-- end -->")
    for path in tables.RESULTS.glob("*.json"):
        shown = path.stem in blocks or path.name in (tables.PAGE.parent / "theory.md").read_text(encoding="utf-8")
        assert shown or path.stem == "compare_ablations_mixed", f"{path.name} is on no page"


def test_a_block_without_results_is_empty_and_an_unknown_one_an_error(tables):
    empty = "<!-- table: compare_never_run -->\nold\n<!-- end -->"
    assert tables.refreshed(empty) == "<!-- table: compare_never_run -->\n<!-- end -->"
    with pytest.raises(ValueError, match="table gossip: no experiment writes"):
        tables.refreshed("<!-- table: gossip -->\n<!-- end -->")


def test_the_page_follows_the_results(tables, tmp_path, monkeypatch):
    record = read_json(tables.RESULTS / "adaptive_profiling.json")
    population = next(iter(record["results"]))
    record["results"][population]["arms"]["fixed 8"]["jaccard_k32"]["mean"] = 0.1234
    write_json(tmp_path / "adaptive_profiling.json", record)
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    page = tables.refreshed(tables.PAGE.read_text(encoding="utf-8"))
    assert re.search(r"fixed 8 \| 8\.0 \[8\.0, 8\.0\] \| 12\.3 \[", page)
    assert f"`{record['command']}`" in page
