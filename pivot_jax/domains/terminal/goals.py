"""What a task can ask for: new files made from old ones, files put elsewhere, and questions about a file.

Each kind has its words in the request, its meaning, commands that reach it (the first is the canonical one) and
slips: commands of the same shape that do something else. In the commands `{f}` is the file, `{o}` the new file,
`{w}` a word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pivot_jax.domains.terminal.process import lines, unlines


@dataclass(frozen=True)
class Transform:
    """A new text made from the text of a file (and a word)."""

    phrase: str
    apply: Callable[[list[str], str], list[str]]
    commands: tuple[str, ...]
    slips: tuple[str, ...]

    def result(self, text: str, word: str) -> str:
        return unlines(self.apply(lines(text), word))


@dataclass(frozen=True)
class Question:
    """A fact about a file to be submitted.

    `alternatives` are texts the file might hold for all that is known before it was inspected. An output tells the
    fact when it would have been another one for each of them; so they must differ wherever the fact could.
    """

    phrase: str
    answer: Callable[[list[str], str], str]
    alternatives: Callable[[list[str], str], list[list[str]]]
    commands: tuple[str, ...]
    slips: tuple[str, ...]


TRANSFORMS: dict[str, Transform] = {
    "sort": Transform(
        "sort {f} into {o}",
        lambda rows, word: sorted(rows),
        ("sort {f} > {o}", "cat {f} | sort > {o}", "sort < {f} > {o}", "sort ./{f} > ./{o}"),
        ("sort -r {f} > {o}", "sort {f} > {f}", "sort {f}", "sort {x} > {o}"),
    ),
    "reverse": Transform(
        "reverse sort {f} into {o}",
        lambda rows, word: sorted(rows, reverse=True),
        ("sort -r {f} > {o}", "cat {f} | sort -r > {o}", "sort -r < {f} > {o}"),
        ("sort {f} > {o}", "sort -r {f} > {f}", "sort -r {x} > {o}"),
    ),
    "unique": Transform(
        "sort unique lines of {f} into {o}",
        lambda rows, word: sorted(set(rows)),
        ("sort -u {f} > {o}", "sort {f} | uniq > {o}", "sort -u < {f} > {o}"),
        ("sort {f} > {o}", "uniq {f} > {o}", "sort -u {x} > {o}"),
    ),
    "filter": Transform(
        "put lines with {w} of {f} into {o}",
        lambda rows, word: [row for row in rows if word in row],
        ("grep {w} {f} > {o}", "cat {f} | grep {w} > {o}", "grep {w} < {f} > {o}"),
        ("grep -v {w} {f} > {o}", "grep {w} {f}", "grep {w} {x} > {o}", "grep {w} {f} > {f}"),
    ),
    "drop": Transform(
        "put lines without {w} of {f} into {o}",
        lambda rows, word: [row for row in rows if word not in row],
        ("grep -v {w} {f} > {o}", "cat {f} | grep -v {w} > {o}", "grep -v {w} < {f} > {o}"),
        ("grep {w} {f} > {o}", "grep -v {w} {x} > {o}", "grep -v {w} {f}"),
    ),
    "top": Transform(
        "put first 2 lines of {f} into {o}",
        lambda rows, word: rows[:2],
        ("head -n 2 {f} > {o}", "cat {f} | head -n 2 > {o}", "head -n 2 < {f} > {o}"),
        ("tail -n 2 {f} > {o}", "head -n 1 {f} > {o}", "head -n 2 {x} > {o}"),
    ),
    "bottom": Transform(
        "put last 2 lines of {f} into {o}",
        lambda rows, word: rows[-2:],
        ("tail -n 2 {f} > {o}", "cat {f} | tail -n 2 > {o}", "tail -n 2 < {f} > {o}"),
        ("head -n 2 {f} > {o}", "tail -n 1 {f} > {o}", "tail -n 2 {x} > {o}"),
    ),
}

APPEND_COMMANDS = ("cat {f} >> {o}", "cat < {f} >> {o}", "cat ./{f} >> {o}")
APPEND_SLIPS = ("cat {f} > {o}", "cat {x} >> {o}", "mv {f} {o}")

PLACEMENTS: dict[str, str] = {
    "append": "append {f} to {o}",
    "move": "move {f} to {o}",
    "archive": "move {f} to new directory {o}",
    "copy": "copy {f} to {o}",
    "rename": "rename {f} to {o}",
    "remove": "remove {f}",
}


def _flips(rows: list[str], word: str) -> list[list[str]]:
    """The rows with one more row that has the word, and with any one of them changed as to having it."""
    changed = [[*rows[:i], "other" if word in row else f"{word} other", *rows[i + 1 :]] for i, row in enumerate(rows)]
    return [*changed, [*rows, f"{word} other"]]


def _insertions(rows: list[str], word: str) -> list[list[str]]:
    """The rows with one more row, in any place, and with the first row split, which keeps the count of words."""
    inserted = [[*rows[:i], "other", *rows[i:]] for i in range(len(rows) + 1)]
    return [*inserted, [*rows[0].split(" ", 1), *rows[1:]]]


def _firsts(rows: list[str], word: str) -> list[list[str]]:
    """The rows with another first row: a new one, or any of the rows exchanged with it."""
    swaps = [[rows[i], *rows[1:i], rows[0], *rows[i + 1 :]] for i in range(1, len(rows)) if rows[i] != rows[0]]
    return [["other", *rows[1:]], *swaps]


QUESTIONS: dict[str, Question] = {
    "count": Question(
        "count of {w} in {f}",
        lambda rows, word: str(sum(word in row for row in rows)),
        _flips,
        ("grep -c {w} {f}", "cat {f} | grep -c {w}", "grep {w} {f} | wc -l", "cat {f}"),
        ("wc -l {f}", "grep -c {w} {x}", "grep -l {w} {f}"),
    ),
    "lines": Question(
        "count of lines in {f}",
        lambda rows, word: str(len(rows)),
        _insertions,
        ("wc -l {f}", "cat {f} | wc -l", "wc -l < {f}", "cat {f}"),
        ("wc -l {x}", "head -n 1 {f}", "wc -w {f}"),
    ),
    "first": Question(
        "first line of {f}",
        lambda rows, word: rows[0],
        _firsts,
        ("head -n 1 {f}", "cat {f} | head -n 1", "head -n 1 < {f}", "cat {f}"),
        ("tail -n 1 {f}", "head -n 1 {x}", "sort {f} | head -n 1"),
    ),
    "last": Question(
        "last line of {f}",
        lambda rows, word: rows[-1],
        lambda rows, word: [rows[::-1] for rows in _firsts(rows[::-1], word)],
        ("tail -n 1 {f}", "cat {f} | tail -n 1", "tail -n 1 < {f}", "cat {f}"),
        ("head -n 1 {f}", "tail -n 1 {x}", "sort {f} | tail -n 1"),
    ),
    # Where a file is, is learnt by locating it: its text plays no part.
    "where": Question("directory of {f}", lambda rows, word: "", lambda rows, word: [], (), ()),
}

TEMPLATES: tuple[str, ...] = (
    "sort+move",
    "reverse+first",
    "unique+copy",
    "filter+rename",
    "drop+count",
    "top+archive",
    "bottom+where",
    "append+lines",
    "copy+last",
    "archive+count",
    "filter+remove",
    "move+lines",
    "sort+move+count",
    "sort+copy+where",
    "reverse+archive+last",
    "unique+rename+lines",
    "filter+move+lines",
    "filter+copy+count",
    "drop+rename+first",
    "drop+remove+count",
    "top+move+last",
    "bottom+copy+where",
    "append+move+first",
    "append+archive+count",
    "sort+filter+move+count",
    "unique+append+move+lines",
    "top+bottom+archive+last",
    "filter+drop+rename+count",
    "reverse+copy+append+first",
    "sort+append+rename+lines",
    "bottom+filter+copy+where",
    "drop+unique+move+last",
)
"""Goal templates: the kinds of the sub-goals in order. A question, if any, is asked last."""
