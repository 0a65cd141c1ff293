"""Similarity of two texts, as the released verifiers measure it."""

from __future__ import annotations

from difflib import SequenceMatcher


def text_similarity(first: str, second: str, most: int | None = None) -> float:
    """2 M / T, with M characters in matching blocks of the T of both texts: 0 to 1, and 1 for equal texts.

    The order of the two can matter: the matcher looks for blocks of the second in the first, and takes characters that
    are frequent in a second text of 200 or more for noise.

    Args:
        first: one text.
        second: the other.
        most: characters that both are cut to (None: all).
    """
    return SequenceMatcher(None, first[:most], second[:most]).ratio()
