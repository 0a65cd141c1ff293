"""A small immutable tree of files: what a command reads, and what it leaves behind.

Paths are relative to the working directory and normalised (`docs/app.log`; the working directory itself is `""`).
Text holds one character a byte, so that bytes read from a real file (latin-1) fit too. Every change returns a new
tree and shares the text of the old one, so a clone costs nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

WORKING_DIRECTORY = "/task"
MAX_ENTRIES = 128
MAX_FILE_CHARACTERS = 16_384
MAX_NAME_CHARACTERS = 255


class Refused(Exception):
    """A command, or one operand of it, that cannot be carried out; the text is the short error the policy reads."""


@dataclass(frozen=True, slots=True)
class FileSystem:
    """`entries` maps each path to the text of a file, or to None for a directory."""

    entries: Mapping[str, str | None]

    @classmethod
    def of(cls, files: Mapping[str, str], directories: Iterable[str] = ()) -> FileSystem:
        """A tree with these files and directories, and every directory above them."""
        entries: dict[str, str | None] = {}
        for path in [*directories, *files]:
            parts = path.split("/")
            for depth in range(1, len(parts)):
                entries["/".join(parts[:depth])] = None
            entries[path] = files.get(path)
        return cls(entries)

    def is_file(self, path: str) -> bool:
        return self.entries.get(path) is not None

    def is_directory(self, path: str) -> bool:
        return path == "" or (path in self.entries and self.entries[path] is None)

    def exists(self, path: str) -> bool:
        return path == "" or path in self.entries

    def text(self, path: str) -> str:
        """The text of a file; Refused when there is no such file."""
        text = self.entries.get(path)
        if text is None:
            raise Refused("is a directory" if self.is_directory(path) else "no such file")
        return text

    def files(self) -> Iterator[tuple[str, str]]:
        """Every file as (path, text)."""
        return ((path, text) for path, text in self.entries.items() if text is not None)

    def names(self, path: str) -> list[str]:
        """Names of the entries of a directory in byte order."""
        prefix = f"{path}/" if path else ""
        start = len(prefix)
        return sorted(p[start:] for p in self.entries if p.startswith(prefix) and "/" not in p[start:])

    def below(self, path: str) -> list[str]:
        """Every path under a directory, each directory before its entries, names in byte order."""
        prefix = f"{path}/" if path else ""
        return sorted((p for p in self.entries if p.startswith(prefix)), key=lambda p: p.split("/"))

    def write(self, path: str, text: str) -> FileSystem:
        """The tree with this text at `path`; Refused beyond the limits."""
        if len(text) > MAX_FILE_CHARACTERS:
            raise Refused("limit reached")
        return self._with(path, text)

    def make_directory(self, path: str) -> FileSystem:
        """The tree with an empty directory at `path`."""
        return self._with(path, None)

    def remove(self, path: str) -> FileSystem:
        """The tree without `path` and everything below it."""
        prefix = f"{path}/" if path else ""
        return FileSystem({p: text for p, text in self.entries.items() if p != path and not p.startswith(prefix)})

    def move(self, source: str, target: str) -> FileSystem:
        """The tree with `source`, and everything below it, at `target` instead of whatever stood there."""
        prefix = f"{source}/"
        entries = {p: text for p, text in self.entries.items() if p != source and not p.startswith(prefix)}
        entries[target] = self.entries[source]
        for path in self.below(source):
            entries[f"{target}/{path[len(prefix) :]}"] = self.entries[path]
        return FileSystem(entries)

    def digest(self) -> str:
        """SHA-256 of the whole tree: equal digests, equal trees."""
        return hashlib.sha256(repr(sorted(self.entries.items())).encode()).hexdigest()

    def resolve(self, word: str) -> str:
        """The normalised path that `word` names; its last part need not exist.

        Raises:
            Refused: the way there does not exist, leads through a file or out of the working directory, or a
                trailing slash follows a file.
        """
        if word in self.entries:
            return word
        if not word:
            raise Refused("no such file")
        # The working directory counts as the first part, so that `..` may leave it and come back.
        parts = [] if word.startswith("/") else [WORKING_DIRECTORY[1:]]
        words = [part for part in word.split("/") if part]
        for index, part in enumerate(words):
            last = index == len(words) - 1
            if part == "..":
                parts = parts[:-1]
            elif part != ".":
                parts.append(part)
            if len(part) > MAX_NAME_CHARACTERS or (parts and parts[0] != WORKING_DIRECTORY[1:]):
                raise Refused("no such file")
            path = "/".join(parts[1:])
            if (not last or word.endswith("/") or part in (".", "..")) and self.is_file(path):
                raise Refused("not a directory")
            if not last and parts and not self.is_directory(path):
                raise Refused("no such file")
        if not parts:
            raise Refused("no such file")
        return "/".join(parts[1:])

    def _with(self, path: str, text: str | None) -> FileSystem:
        if path not in self.entries and len(self.entries) >= MAX_ENTRIES:
            raise Refused("limit reached")
        return FileSystem({**self.entries, path: text})


def parent(path: str) -> str:
    """The directory of a path."""
    return path.rpartition("/")[0]


def name(path: str) -> str:
    """The last part of a path."""
    return path.rpartition("/")[2]
