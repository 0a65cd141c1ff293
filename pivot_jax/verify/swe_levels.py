"""The levels of the released verifier of software-engineering turns: tool, target, similarity of the arguments."""

from __future__ import annotations

from pivot_jax.verify.similarity import text_similarity
from pivot_jax.verify.swe_calls import (
    Arguments,
    Kind,
    command_of,
    edit_text_of,
    editor_command_of,
    kind_of,
    path_end,
    path_of,
    paths_in,
    program_of,
    text_of,
    view_range_of,
)

MOST_CHARACTERS = 2000
"""Texts are cut to this before they are compared."""
LEAST_OVERLAP = 0.8
"""Share of the expected lines that a view must show."""
LEAST_COMMAND_SIMILARITY = 0.3
LONGEST_EDIT = 500
"""Characters of an edit from which the penalty on its length no longer grows."""


def same_tool(expected: str, actual: str) -> bool:
    """Level 0: equal names without regard to case, or tools of one known kind."""
    kind = kind_of(expected)
    return expected.lower() == actual.lower() or (kind is not None and kind == kind_of(actual))


def same_target(
    expected_kind: Kind | None, expected: Arguments, actual_kind: Kind | None, actual: Arguments, *, released: bool
) -> bool:
    """Level 1: the same file, lines or program, as far as both calls name them.

    Args:
        expected_kind: kind of the expert's tool.
        expected: its arguments.
        actual_kind: kind of the sampled tool.
        actual: its arguments.
        released: as the released verifier has it: a sampled command that is absent passes, and a view of one line, or
            to the end of the file, is not even itself.
    """
    kinds = (expected_kind, actual_kind)
    if kinds == ("edit", "edit"):
        return _same_edit(expected, actual, released)
    if kinds == ("bash", "bash"):
        return _same_program(command_of(expected), command_of(actual), released)
    if expected_kind in ("search", "read") and actual_kind in ("search", "read"):
        return _same_end(path_of(expected), path_of(actual), 3)
    return True


def argument_similarity(
    expected_kind: Kind | None, expected: Arguments, actual_kind: Kind | None, actual: Arguments, *, released: bool
) -> float:
    """Level 2: similarity of what an edit replaces and writes (the lesser of the two), or of shell commands; 1 where
    there is nothing to compare. Arguments as for level 1."""
    kinds = (expected_kind, actual_kind)
    if kinds == ("edit", "edit"):
        parts = [(text_of(expected, key), text_of(actual, key)) for key in ("old_str", "new_str")]
        if all(any(texts) for texts in zip(*parts, strict=True)):
            return min(_similarity(*texts) for texts in parts)
        return _similarity(edit_text_of(expected), edit_text_of(actual))
    if kinds == ("bash", "bash"):
        commands = command_of(expected), command_of(actual)
        return _similarity(*commands) if all(commands) else float(released or not commands[0])
    return 1.0


def length_penalty(kind: Kind | None, arguments: Arguments, most: float) -> float:
    """Share of the reward that the length of an edit costs, 0 to `most`."""
    return most * min(len(edit_text_of(arguments)) / LONGEST_EDIT, 1.0) if kind == "edit" else 0.0


def _similarity(expected: str, actual: str) -> float:
    if not (expected and actual):
        return float(expected == actual)
    return text_similarity(actual, expected, MOST_CHARACTERS)


def _same_edit(expected: Arguments, actual: Arguments, released: bool) -> bool:
    commands = editor_command_of(expected), editor_command_of(actual)
    if all(commands) and commands[0] != commands[1]:
        return False
    if not _same_end(path_of(expected), path_of(actual), 2):
        return False
    return commands != ("view", "view") or _shows(view_range_of(expected), view_range_of(actual), released)


def _shows(expected: tuple[int, int] | None, actual: tuple[int, int] | None, released: bool) -> bool:
    """Whether a view shows enough of the expected lines; a view without a range shows the whole file."""
    if expected is None or actual is None or (expected == actual and not released):
        return True
    shared = max(0, min(expected[1], actual[1]) - max(expected[0], actual[0]))
    return shared / max(1, expected[1] - expected[0]) >= LEAST_OVERLAP


def _same_program(expected: str, actual: str, released: bool) -> bool:
    if not expected or not actual:
        return released or not expected
    if program_of(expected) != program_of(actual):
        return False
    ends = [{path_end(path, 3) for path in paths_in(command)} - {""} for command in (expected, actual)]
    if all(ends) and not ends[0] & ends[1]:
        return False
    return _similarity(expected, actual) >= LEAST_COMMAND_SIMILARITY


def _same_end(expected: str, actual: str, components: int) -> bool:
    return not (expected and actual) or path_end(expected, components) == path_end(actual, components)
