"""Which files a path stands for, and how the rows of each are laid out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pivot_jax.data.failure import FileError
from pivot_jax.data.formats import compression
from pivot_jax.data.formats.columnar import Columns, is_datasets_folder
from pivot_jax.data.formats.rows import Document, JsonLines, RowSource

COLUMNS = (".parquet", ".arrow")
LINES = (".jsonl", ".ndjson")
DOCUMENTS = (".json", ".traj")
LINES_OR_DOCUMENT_BYTES = 1 << 20


def sources(paths: Sequence[str | os.PathLike[str]]) -> list[RowSource]:
    """The files at `paths`, in order: a folder stands for every file in it with an ending known here, sorted, unless
    it is a `datasets` folder. Each is named by its path below what all of them have in common, less its endings."""
    found: list[Path] = []
    for given in map(Path, paths):
        if not given.exists():
            raise FileError(given, "there is no such file")
        if given.is_dir() and not is_datasets_folder(given):
            inside = sorted(path for path in given.rglob("*") if path.is_file() and layout_of(path))
            if not inside:
                known = ", ".join((*LINES, *DOCUMENTS, *COLUMNS))
                raise FileError(given, f"no file in the folder has an ending known here ({known}; .gz, .zst)")
            found += inside
        else:
            found.append(given)
    common = Path(os.path.commonpath([path.absolute().parent for path in found])) if found else Path()
    return [_source(path, _stem(path.absolute().relative_to(common))) for path in found]


def _source(file: Path, name: str) -> RowSource:
    if layout_of(file) in COLUMNS and file.suffix in compression.ENDINGS:
        raise FileError(file, "columns are packed inside; unpack the file")
    if file.is_dir() or layout_of(file) in COLUMNS:
        return Columns(file, name)
    lines = file.is_fifo() or layout_of(file) in LINES
    if lines or (layout_of(file) not in DOCUMENTS and _begins_with_lines(file)):
        return JsonLines(file, name)
    return Document(file, name)


def layout_of(file: Path) -> str:
    """The ending that says how rows are laid out, what it is packed with aside; "" if none is known."""
    suffixes = [suffix for suffix in file.suffixes if suffix not in compression.ENDINGS]
    last = suffixes[-1] if suffixes else ""
    return last if last in (*LINES, *DOCUMENTS, *COLUMNS) else ""


def _stem(path: Path) -> str:
    name = path.name
    while (suffix := Path(name).suffix) in (*compression.ENDINGS, *LINES, *DOCUMENTS, *COLUMNS) and suffix:
        name = name.removesuffix(suffix)
    return path.with_name(name).as_posix()


def _begins_with_lines(file: Path) -> bool:
    """Whether a file whose ending says nothing holds JSON lines: its first line ends where a value ends."""
    try:
        with compression.open_unpacked(file) as stream:
            lines = iter(lambda: stream.readline(LINES_OR_DOCUMENT_BYTES), b"")
            first = next((line for line in lines if line.strip()), b"")
    except compression.FAULTS as error:
        raise FileError(file, f"the compressed file is damaged: {error}") from error
    return len(first) >= LINES_OR_DOCUMENT_BYTES or first.rstrip().endswith((b"}", b"]"))
