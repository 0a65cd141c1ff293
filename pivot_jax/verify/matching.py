"""Maximum bipartite matching, for comparing batches of calls whose order does not matter."""

from __future__ import annotations

from collections.abc import Sequence


def maximum_matching(compatible: Sequence[Sequence[bool]]) -> int:
    """The largest number of pairs (row, column) that can be formed.

    Args:
        compatible: `compatible[row][column]` says whether the two may be paired; all rows are equally long.

    Returns:
        The size of a maximum matching: no row and no column is used twice.
    """
    row_of: dict[int, int] = {}

    def augment(row: int, visited: set[int]) -> bool:
        for column, allowed in enumerate(compatible[row]):
            if allowed and column not in visited:
                visited.add(column)
                if column not in row_of or augment(row_of[column], visited):
                    row_of[column] = row
                    return True
        return False

    return sum(augment(row, set()) for row in range(len(compatible)))
