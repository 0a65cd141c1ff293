"""Artifacts appear whole or not at all."""

import os
from pathlib import Path

import pytest

from pivot_jax.pipeline.artifacts import read_json, write_json, write_text


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    value = {"rate": 0.1, "counts": [1, 2], "name": "μ", "none": None}
    write_json(tmp_path / "made" / "value.json", value)
    assert read_json(tmp_path / "made" / "value.json") == value


def test_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "value.json"
    write_json(path, "old")

    def killed(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "half")
    assert read_json(path) == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["value.json"]


def test_a_number_json_cannot_say_is_refused_and_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, 1)
    with pytest.raises(ValueError, match=r"value\.json"):
        write_json(path, {"rate": float("nan")})
    assert read_json(path) == 1


def test_damaged_file_is_named_with_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    path.write_text('{"a": 1,\n "b" 2}')
    with pytest.raises(ValueError, match=r"value\.json:2:6"):
        read_json(path)
    with pytest.raises(FileNotFoundError, match=r"absent\.json"):
        read_json(tmp_path / "absent.json")
