"""The planner: which changes are still to be made, and whether they still can be.

It looks at the tree alone, never at how it came about, so any command that has the right effect counts. Damage that
cannot be undone is: a text that is still needed and stands nowhere any more; a directory of the start that is gone;
a directory where a file belongs or the reverse; two needed files in each other's place. An extra file or directory
is not damage as long as it can be removed: it costs one turn. So does a wrong text under a new file's name, which the
right command may overwrite at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pivot_jax.domains.terminal.filesystem import FileSystem, parent
from pivot_jax.domains.terminal.goals import TRANSFORMS
from pivot_jax.domains.terminal.tasks import Effect, Task


@dataclass(frozen=True, slots=True)
class Change:
    """One command's worth of change: `source` and `target` are paths, `effect` says how a text is derived."""

    kind: Literal["make", "move", "copy", "derive", "remove"]
    source: str
    target: str
    effect: Effect | None = None


def plan_changes(task: Task, tree: FileSystem) -> tuple[Change, ...] | None:
    """The changes that lead from `tree` to the goal, in the order of the request; None after damage."""
    goal, entries = task.goal.entries, dict(tree.entries)
    if entries == goal:
        return ()
    for path, text in goal.items():
        if path in entries and (entries[path] is None) != (text is None):
            return None
        if path not in entries and text is None and path in task.start.entries:
            return None
    plan: list[Change] = []
    wanted = dict.fromkeys([effect.target for effect in task.effects if effect.target in goal] + list(goal))
    while missing := [path for path in wanted if goal[path] is not None and entries.get(path) != goal[path]]:
        steps = (_place(task, entries, missing, path) for path in missing)
        change = next((step for step in steps if step is not None), None)
        if change is None:
            return None
        folder = parent(change.target)
        if folder and folder not in entries:
            plan.append(Change("make", "", folder))
            entries[folder] = None
        if entries.get(change.target) is not None and change.target not in task.start.entries:
            plan.append(Change("remove", "", change.target))
        plan.append(change)
        entries[change.target] = _text_after(entries, change)
        if change.kind == "move":
            del entries[change.source]
    extra = sorted(path for path in entries if path not in goal)
    plan += [Change("remove", "", path) for path in extra if parent(path) not in extra]
    return tuple(plan)


def _text_after(entries: dict[str, str | None], change: Change) -> str | None:
    return entries[change.source] if change.effect is None else change.effect.result


def _place(task: Task, entries: dict[str, str | None], missing: list[str], path: str) -> Change | None:
    """The change that puts the right text at `path`, if it can be made now without losing another text."""
    goal = task.goal.entries
    derived = next((e for e in task.effects if e.target == path and (e.kind in TRANSFORMS or e.kind == "append")), None)
    held = entries.get(path)
    # What an append adds to is needed right here, so it is not in the way.
    ready = derived is not None and held == derived.base
    if held is not None and not ready and _needed(task, entries, missing, path):
        return None
    source = _spare(goal, entries, goal[path])
    if source is not None:
        return Change("move" if goal.get(source) != goal[path] else "copy", source, path)
    if derived is None:
        return None
    if derived.kind == "append" and not ready:
        source = _spare(goal, entries, derived.base)
        return Change("move", source, path) if source is not None else None
    source = _spare(goal, entries, task.sources[derived.source].text)
    return Change("derive", source, path, derived) if source is not None and source != path else None


def _spare(goal: Mapping[str, str | None], entries: dict[str, str | None], text: str | None) -> str | None:
    """A path that holds the text, if any: best one where it does not belong, so that it can be moved."""
    holders = sorted(path for path, held in entries.items() if held == text)
    return next((path for path in holders if goal.get(path) != text), holders[0] if holders else None)


def _needed(task: Task, entries: dict[str, str | None], missing: list[str], path: str) -> bool:
    """Whether the text at `path` is needed for another place and stands nowhere else."""
    text = entries[path]
    if sum(held == text for held in entries.values()) > 1:
        return False
    sources = {task.sources[effect.source].text for effect in task.effects if effect.target in missing}
    bases = {effect.base for effect in task.effects if effect.kind == "append" and effect.target in missing}
    return text in sources | bases or any(task.goal.entries[other] == text for other in missing if other != path)


def is_done(task: Task, tree: FileSystem, effect: Effect) -> bool:
    """Whether one effect is reached (and, for a move or a removal, nothing is left behind)."""
    text = task.sources[effect.source].text
    if effect.target and tree.entries.get(effect.target) != effect.result:
        return False
    if effect.kind in TRANSFORMS or effect.kind in ("append", "copy"):
        return True
    return all(task.goal.entries.get(path) == text for path, held in tree.files() if held == text)


def undone(task: Task, tree: FileSystem, effect: Effect) -> FileSystem:
    """The tree without that one effect: what a check must be able to tell from `tree`."""
    source = task.sources[effect.source]
    if not effect.target:
        return FileSystem({**tree.entries, source.path: source.text})
    return FileSystem({**tree.entries, effect.target: effect.base}) if effect.base else tree.remove(effect.target)
