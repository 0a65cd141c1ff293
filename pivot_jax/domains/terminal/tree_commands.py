"""Commands that list and change the tree: ls, find, mv, cp, rm, mkdir, touch.

Each behaves as the GNU tool does in the C locale, for the options it accepts; others are refused. Directory entries,
whose order a real file system does not define, come in byte order.
"""

from __future__ import annotations

import fnmatch
import re

from pivot_jax.domains.terminal.filesystem import FileSystem, Refused, name, parent
from pivot_jax.domains.terminal.process import Process, options, unlines


def ls(process: Process) -> None:
    flags, _, operands = options(process.arguments, "R1")
    files: list[str] = []
    folders: list[tuple[str, str]] = []
    for operand in sorted(operands or ["."]):
        try:
            path = process.tree.resolve(operand)
        except Refused as refused:
            process.fail(str(refused), 2)
            continue
        if process.tree.is_directory(path):
            folders.append((operand, path))
        elif process.tree.is_file(path):
            files.append(operand)
        else:
            process.fail("no such file", 2)
    blocks = [unlines(files)] if files else []
    while folders:
        label, path = folders.pop(0)
        names = [entry for entry in process.tree.names(path) if not entry.startswith(".")]
        header = f"{label}:\n" if "R" in flags or len(operands) > 1 else ""
        blocks.append(header + unlines(names))
        if "R" in flags:
            base, prefix = label if label.endswith("/") else f"{label}/", f"{path}/" if path else ""
            inside = [(base + entry, prefix + entry) for entry in names]
            folders = [(shown, p) for shown, p in inside if process.tree.is_directory(p)] + folders
    process.stdout.append("\n".join(blocks))


def find(process: Process) -> None:
    rest = list(process.arguments)
    starts: list[str] = []
    while rest and not rest[0].startswith("-"):
        starts.append(rest.pop(0))
    pattern, wanted = "*", "fd"
    while rest:
        test, value = rest.pop(0), rest.pop(0) if rest else ""
        if test == "-name" and value and pattern == "*" and not re.search(r"[\[\]\\]", value):
            pattern = value
        elif test == "-type" and value in ("f", "d") and wanted == "fd":
            wanted = value
        else:
            raise Refused("bad option")
    for start in starts or ["."]:
        try:
            path = process.tree.resolve(start)
            if not process.tree.exists(path):
                raise Refused("no such file")
        except Refused as refused:
            process.fail(str(refused))
            continue
        base, skip = start if start.endswith("/") else f"{start}/", len(path) + 1 if path else 0
        found = [(start, path), *((base + p[skip:], p) for p in process.tree.below(path))]
        process.stdout.append(
            unlines(
                [
                    shown
                    for shown, p in found
                    if ("d" if process.tree.is_directory(p) else "f") in wanted
                    and fnmatch.fnmatchcase(name(shown.rstrip("/")) or "/", pattern)
                ]
            )
        )


def mkdir(process: Process) -> None:
    flags, _, operands = options(process.arguments, "p", required=1)
    for operand in operands:
        try:
            _make(process, operand, parents="p" in flags)
        except Refused as refused:
            process.fail(str(refused))


def _make(process: Process, operand: str, *, parents: bool) -> None:
    if parents and "/" in operand.rstrip("/"):
        above = operand.rstrip("/").rpartition("/")[0]
        _make(process, above or "/task", parents=True)
    path = process.tree.resolve(operand)
    if process.tree.exists(path):
        if parents and process.tree.is_directory(path):
            return
        raise Refused("file exists")
    process.tree = process.tree.make_directory(path)


def touch(process: Process) -> None:
    _, _, operands = options(process.arguments, "", required=1)
    for operand in operands:
        try:
            path = process.tree.resolve(operand)
            if not process.tree.exists(path):
                if operand.endswith("/"):
                    raise Refused("no such file")
                process.tree = process.tree.write(path, "")
        except Refused as refused:
            process.fail(str(refused))


def rm(process: Process) -> None:
    flags, _, operands = options(process.arguments, "rf")
    if not operands and "f" not in flags:
        raise Refused("missing operand")
    for operand in operands:
        try:
            _remove(process, operand, flags)
        except Refused as refused:
            if "f" not in flags or str(refused) not in ("no such file", "not a directory"):
                process.fail(str(refused))


def _remove(process: Process, operand: str, flags: set[str]) -> None:
    path = process.tree.resolve(operand)
    if not process.tree.exists(path):
        raise Refused("no such file")
    if process.tree.is_directory(path) and ("r" not in flags or name(operand.rstrip("/")) in (".", "..")):
        raise Refused("is a directory")
    process.tree = process.tree.remove(path)
    if not path:
        # The working directory itself is a mount point: it is emptied and stays.
        raise Refused("is a directory")


def mv(process: Process) -> None:
    _, _, operands = options(process.arguments, "f", required=2)
    for source, operand, target in _pairs(process, operands):
        try:
            _check_place(process.tree, operand, source, target)
            if process.tree.is_directory(source) and process.tree.names(target):
                raise Refused("file exists")
            process.tree = process.tree.move(source, target)
        except Refused as refused:
            process.fail(str(refused))


def cp(process: Process) -> None:
    flags, _, operands = options(process.arguments, "r", required=2)
    # A source given twice is copied once, with a warning only.
    for source, operand, target in dict.fromkeys(_pairs(process, operands)):
        try:
            if process.tree.is_directory(source) and "r" not in flags:
                raise Refused("is a directory")
            _check_place(process.tree, operand, source, target)
            process.tree = _copied(process.tree, source, target)
        except Refused as refused:
            process.fail(str(refused))


def _pairs(process: Process, operands: list[str]) -> list[tuple[str, str, str]]:
    """(source path, target operand, target path) of each source that exists; the others are failures."""
    *sources, last = operands
    place = process.tree.resolve(last)
    into = process.tree.is_directory(place)
    if len(sources) > 1 and not into:
        raise Refused("not a directory")
    pairs: list[tuple[str, str, str]] = []
    taken: dict[str, str] = {}
    for operand in sources:
        try:
            source = process.tree.resolve(operand)
            if not process.tree.exists(source):
                raise Refused("no such file")
            if not source or name(operand.rstrip("/")) in (".", ".."):
                raise Refused("is a directory")
        except Refused as refused:
            process.fail(str(refused))
            continue
        target = (f"{place}/" if place else "") + name(source) if into else place
        if taken.setdefault(target, source) != source:
            process.fail("file exists")
            continue
        pairs.append((source, "" if into else last, target))
    return pairs


def _check_place(tree: FileSystem, operand: str, source: str, target: str) -> None:
    """Refused when `source` cannot be put at `target`, which the command calls `operand`."""
    if not tree.exists(source):
        raise Refused("no such file")
    if source == target:
        raise Refused("same file")
    if target.startswith(f"{source}/"):
        raise Refused("same file")
    if tree.is_directory(source):
        if tree.is_file(target):
            raise Refused("not a directory")
    elif tree.is_directory(target):
        raise Refused("is a directory")
    elif operand.endswith("/"):
        raise Refused("not a directory")
    if not tree.is_directory(parent(target)):
        raise Refused("no such file")


def _copied(tree: FileSystem, source: str, target: str) -> FileSystem:
    """The tree with a copy of `source` at `target`, merged into what is there."""
    if tree.is_file(source):
        return tree.write(target, tree.text(source))
    if not tree.exists(target):
        tree = tree.make_directory(target)
    for path in tree.below(source):
        place = target + path[len(source) :]
        text = tree.entries[path]
        if tree.exists(place) and tree.is_directory(place) != (text is None):
            raise Refused("not a directory")
        if text is not None:
            tree = tree.write(place, text)
        elif not tree.exists(place):
            tree = tree.make_directory(place)
    return tree
