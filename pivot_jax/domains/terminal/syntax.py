"""The command line as the shell reads it: words, quotes, pipes, redirections, `&&` and `;`.

Everything else that a shell would interpret (variables, globs, substitutions, loops, background jobs) is refused,
so a line that parses here means the same to bash.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from pivot_jax.domains.terminal.filesystem import Refused

MAX_COMMAND_CHARACTERS = 400
MAX_STAGES = 12

_BAD = "bad syntax"
_TOKEN = re.compile(
    r"(?P<space> +)"
    r"|(?P<operator>&&|>>|[;|<>])"
    r"|(?P<word>(?:[A-Za-z0-9_./,:@%+=^-]+|'[^'\n]*'|\"[^\"$`\\\n]*\")+)"
)


@dataclass(frozen=True, slots=True)
class Redirect:
    """`operator` is `<`, `>` or `>>`."""

    operator: str
    target: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One command of a pipeline; `words` is empty when there are only redirections."""

    words: tuple[str, ...]
    redirects: tuple[Redirect, ...]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages joined by pipes; `conditional` when it runs only after success (`&&`)."""

    stages: tuple[Stage, ...]
    conditional: bool


@functools.lru_cache(maxsize=8192)
def parse(command: str) -> tuple[Pipeline, ...]:
    """The pipelines of a command line; Refused when a part of it is not supported or is not a command."""
    tokens = _tokens(command)
    pipelines: list[Pipeline] = []
    stages: list[Stage] = []
    words: list[str] = []
    redirects: list[Redirect] = []
    conditional = False
    # A final `;` is allowed by the shell, any other dangling operator is not.
    if tokens and tokens[-1] == (True, ";"):
        tokens = tokens[:-1]
    for is_operator, text in [*tokens, (True, ";")]:
        if not is_operator:
            if redirects and redirects[-1].target == "":
                redirects[-1] = Redirect(redirects[-1].operator, text)
            else:
                words.append(text)
            continue
        if redirects and redirects[-1].target == "":
            raise Refused(_BAD)
        if text in ("<", ">", ">>"):
            redirects.append(Redirect(text, ""))
            continue
        if not words and not redirects:
            raise Refused(_BAD)
        stages.append(Stage(tuple(words), tuple(redirects)))
        words, redirects = [], []
        if text != "|":
            pipelines.append(Pipeline(tuple(stages), conditional))
            stages, conditional = [], text == "&&"
    if sum(len(pipeline.stages) for pipeline in pipelines) > MAX_STAGES:
        raise Refused("limit reached")
    return tuple(pipelines)


def _tokens(command: str) -> list[tuple[bool, str]]:
    """(is an operator, text) of each token, quotes removed."""
    if len(command) > MAX_COMMAND_CHARACTERS:
        raise Refused("limit reached")
    tokens: list[tuple[bool, str]] = []
    end = 0
    command = command.strip(" ")
    while end < len(command):
        match = _TOKEN.match(command, end)
        if match is None:
            raise Refused(_BAD)
        start, end = end, match.end()
        if match["operator"]:
            # `2>` names a stream, `;;` belongs to `case`: neither is supported.
            if start and command[start - 1].isdigit() and match["operator"] in ("<", ">", ">>"):
                raise Refused(_BAD)
            tokens.append((True, match["operator"]))
        elif match["word"]:
            text = re.sub(r"'([^']*)'|\"([^\"]*)\"", lambda m: m[1] or m[2] or "", match["word"])
            if not text.isascii() or not (text == "" or text.isprintable()):
                raise Refused(_BAD)
            tokens.append((False, text))
    return tokens
