"""Progress bars with rates for long stages; plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")

QUIET_SECONDS = 15.0
"""Between two lines of progress where there is no terminal."""


def progress(
    items: Iterable[Item], stage: str, console: Console, *, unit: str, total: int, each: int = 1, done: int = 0
) -> Iterator[Item]:
    """Yield `items`, showing how many units of the total are done and how many a second.

    Args:
        items: the work; each item is `each` units (the last may be fewer).
        stage: what is shown in front.
        console: where to show it.
        unit: what is counted.
        total, done: units overall, and done before this call (a resumed stage).
    """
    began, first = time.monotonic(), done
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(stage, total=total, completed=done, rate="")
        spoken = began
        for item in items:
            yield item
            done = min(done + each, total)
            rate = (done - first) / max(time.monotonic() - began, 1e-9)
            line = f"{done}/{total} {unit}, {rate:.1f}/s"
            bar.update(task, completed=done, rate=line)
            if not console.is_terminal and (time.monotonic() - spoken > QUIET_SECONDS or done == total):
                console.print(f"{stage}: {line}")
                spoken = time.monotonic()
