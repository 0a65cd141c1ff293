"""One running command: its arguments and streams, the tree it changes, its error and exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pivot_jax.domains.terminal.filesystem import FileSystem, Refused

MAX_READ_CHARACTERS = 65_536
"""Text that one command may read, from all of its operands together."""


@dataclass(slots=True)
class Process:
    """A command while it runs.

    `input_path` and `output_path` are the files that stdin and stdout are redirected to, if they are; `output_size`
    is what the latter held when the command began.
    """

    tree: FileSystem
    arguments: tuple[str, ...]
    stdin: str = ""
    input_path: str | None = None
    output_path: str | None = None
    output_size: int = 0
    stdout: list[str] = field(default_factory=list)
    error: str = ""
    code: int = 0
    read: int = 0

    def fail(self, error: str, code: int = 1) -> None:
        """Note a failure and go on, as commands with several operands do; the first error is the one shown."""
        self.error = self.error or error
        self.code = max(self.code, code)

    def text(self, operand: str) -> str:
        """The text of an operand, `-` being stdin; Refused when it cannot be read."""
        if operand == "-":
            text, self.stdin = self.stdin, ""
        else:
            path = self.tree.resolve(operand)
            text = self.tree.text(path)
        self.read += len(text)
        if self.read > MAX_READ_CHARACTERS:
            raise Refused("limit reached")
        return text

    def texts(self, operands: list[str], code: int = 1) -> Iterator[tuple[str, str]]:
        """(operand, text) of every operand that can be read, stdin when there is none; the others are failures."""
        for operand in operands or ["-"]:
            try:
                text = self.text(operand)
            except Refused as refused:
                self.fail(str(refused), code)
                continue
            yield operand, text


Command = Callable[[Process], None]
"""Runs a process in place; may raise Refused, which ends it with an error and exit code 1."""


def options(
    arguments: tuple[str, ...], flags: str, valued: str = "", *, required: int = 0
) -> tuple[set[str], dict[str, str], list[str]]:
    """Split arguments as GNU getopt does, options anywhere before `--`.

    Args:
        arguments: what follows the command's name.
        flags: letters of the options that take no value.
        valued: letters of the options that take one, attached or as the next argument.
        required: the least number of operands.

    Returns:
        The flags that are set, the values, the operands.

    Raises:
        Refused: an option that is not listed, a value or an operand that is missing.
    """
    chosen: set[str] = set()
    values: dict[str, str] = {}
    operands: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            operands += rest
            break
        if len(word) < 2 or word[0] != "-":
            operands.append(word)
            continue
        for index, letter in enumerate(word[1:], start=1):
            if letter in valued:
                attached = word[index + 1 :]
                if not attached and not rest:
                    raise Refused("missing operand")
                values[letter] = attached or rest.pop(0)
                break
            if letter not in flags:
                raise Refused("bad option")
            chosen.add(letter)
    if len(operands) < required:
        raise Refused("missing operand")
    return chosen, values, operands


def lines(text: str) -> list[str]:
    """The lines of a text, without their ends."""
    return text[:-1].split("\n") if text.endswith("\n") else text.split("\n") if text else []


def unlines(items: list[str]) -> str:
    """The text that has these lines."""
    return "\n".join(items) + "\n" if items else ""
