"""Packed streams: what goes in comes out; a stream cut short or damaged is an error, never a shorter file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pivot_jax.data.failure import DataError, FileError
from pivot_jax.data.formats import extras
from pivot_jax.data.formats.atomic import appearing
from pivot_jax.data.formats.compression import FAULTS, open_unpacked
from pivot_jax.data.formats.registry import read
from pivot_jax.data.formats.writing import write
from tests.data.episodes import shop_episode

LINES = b"".join(b"line %d with some words\n" % number for number in range(60_000))


def packed(tmp_path: Path, ending: str, content: bytes = LINES) -> Path:
    if ending == ".zst":
        pytest.importorskip("zstandard")
    file = tmp_path / f"lines{ending}"
    with appearing(file) as into:
        into.write(content)
    return file


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_bytes_survive_and_equal_content_gives_equal_files(ending: str, tmp_path: Path) -> None:
    first = packed(tmp_path, ending).read_bytes()
    assert packed(tmp_path, ending).read_bytes() == first
    assert len(first) == len(LINES) if not ending else len(first) < len(LINES) / 3
    with open_unpacked(tmp_path / f"lines{ending}") as stream:
        assert list(stream) == LINES.splitlines(keepends=True)


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_parts_packed_one_after_the_other_are_one_file(ending: str, tmp_path: Path) -> None:
    lines = packed(tmp_path, ending).read_bytes()
    file = packed(tmp_path, ending, b"more\n")
    file.write_bytes(lines + file.read_bytes() * 2)
    with open_unpacked(file) as stream:
        assert stream.read() == LINES + b"more\nmore\n"


@pytest.mark.parametrize("ending", [".gz", ".zst"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_stream_cut_short_is_an_error(ending: str, share: float, tmp_path: Path) -> None:
    file = packed(tmp_path, ending)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with open_unpacked(file) as stream, pytest.raises(FAULTS):
        stream.read()


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_damaged_file_of_rows_names_the_line_and_is_not_skipped(ending: str, tmp_path: Path) -> None:
    if ending == ".zst":
        pytest.importorskip("zstandard")
    file = tmp_path / f"rows.jsonl{ending}"
    write(file, [shop_episode(f"shop/{number}") for number in range(2000)])
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    rejects = tmp_path / "rejects.jsonl"
    found = []
    with pytest.raises(DataError, match="compressed file is damaged") as caught:
        found.extend(read(file, "chat", on_bad_row="skip", rejects=rejects))
    assert caught.value.line > 1
    assert rejects.read_text() == ""


def test_the_ending_lies(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl.gz").write_bytes(b"{}\n")
    with pytest.raises(DataError, match=r"rows\.jsonl\.gz:1: .*compressed file is damaged"):
        list(read(tmp_path / "rows.jsonl.gz", "chat"))


@pytest.mark.parametrize(
    ("name", "extra", "library"), [("rows.jsonl.zst", "zstd", "zstandard"), ("rows.parquet", "parquet", "pyarrow")]
)
def test_an_absent_library_names_its_extra(
    name: str, extra: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(module: str) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=library)

    monkeypatch.setattr(extras.importlib, "import_module", absent)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(FileError, match=rf"needs {library}; pip install 'pivot-jax\[{extra}\]'"):
        list(read(tmp_path / name, "chat"))
    with pytest.raises(FileError, match=rf"pivot-jax\[{extra}\]"):
        write(tmp_path / name, [])


def test_a_library_that_is_there_but_broken_is_not_called_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(module: str) -> None:
        raise ModuleNotFoundError("No module named 'cffi'", name="cffi")

    monkeypatch.setattr(extras.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="cffi"):
        extras.optional("zstandard", "zstd", tmp_path)
