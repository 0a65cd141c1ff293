"""What an expert would do next, in several wordings, and what a careless one might do."""

from __future__ import annotations

from pivot_jax.domains.coding.progress import Agenda, Progress, is_right
from pivot_jax.domains.coding.tasks import Task
from pivot_jax.records import Action

_TEST, _LIST, _CHECK, _SUBMIT, _UNDO = (Action.call(tool) for tool in ("test", "list", "check", "submit", "undo"))


def good_actions(task: Task, progress: Progress, left: Agenda) -> tuple[Action, ...]:
    """Actions for the next thing to do, canonical first.

    The order is that of the written rules: list, test, then for each file view and repair, tests between, check,
    tests, submit.
    """
    broken = [number for number in left.repairs if number in task.bugs]
    if left.list_files:
        return (_LIST,)
    if left.first_test:
        return _tests(task, broken[0])
    damaged = [number for number in left.repairs if number not in task.bugs]
    if damaged:
        return _repairs(task, progress, damaged[0])
    if left.test_between and len(broken) < len(task.bugs):
        return _tests(task, broken[0])
    if broken:
        first = next((number for number in broken if task.functions[number].file in progress.seen), None)
        return _views(task, broken[0]) if first is None else _repairs(task, progress, first)
    if left.check:
        files = {task.functions[number].file for number in task.bugs}
        return (_CHECK, *(Action.call("check", name=file) for file in sorted(files)))
    if left.last_test:
        return _last_tests(task, progress)
    return (_SUBMIT,)


def _tests(task: Task, number: int) -> tuple[Action, ...]:
    function = task.functions[number]
    return (_TEST, Action.call("test", name=function.file), Action.call("test", name=function.name))


def _last_tests(task: Task, progress: Progress) -> tuple[Action, ...]:
    missing = [task.functions[number] for number in task.bugs if number not in progress.verified]
    files = list(dict.fromkeys(function.file for function in missing))
    narrow = [*(files if len(files) == 1 else ()), *(f.name for f in missing if len(missing) == 1)]
    return (_TEST, *(Action.call("test", name=name) for name in narrow))


def _views(task: Task, number: int) -> tuple[Action, ...]:
    file = task.functions[number].file
    inside = [function.name for function in task.functions if function.file == file]
    return (Action.call("view", name=file), *(Action.call("view", name=name) for name in inside))


def _repairs(task: Task, progress: Progress, number: int) -> tuple[Action, ...]:
    """Edits of one line that make a function right; and the undo if it does."""
    function, body = task.functions[number], progress.bodies[number]
    start = task.start_of(number) + 1
    edits: list[tuple[int, str]] = []
    for offset, line in enumerate(function.right):
        texts = function.options if offset == function.bug_line else (line,)
        for text in texts:
            changed = (*body[:offset], text, *body[offset + 1 :])
            if changed == body or not is_right(function, changed):
                break
            edits.append((start + offset, text))
    # A repair of the line that was broken comes first; the others belong to damage.
    edits.sort(key=lambda edit: edit[0] - start != function.bug_line)
    actions = [Action.call("edit", line=line, text=text) for line, text in edits or [(start, function.closed)]]
    last = progress.history[-1] if progress.history else None
    if last is not None and last[0] == number and is_right(function, last[1]):
        actions.append(_UNDO)
    return tuple(actions)


def bad_actions(task: Task, progress: Progress, left: Agenda) -> tuple[Action, ...]:
    """Plausible wrong or useless actions; some may happen not to be wrong."""
    chosen = [_SUBMIT]
    target = left.repairs[0] if left.repairs else task.bugs[0]
    function, start = task.functions[target], task.start_of(target) + 1
    body = progress.bodies[target]
    slips = [(offset, text) for offset, text in function.slips if body[offset] != text]
    chosen += [Action.call("edit", line=start + offset, text=text) for offset, text in slips[:2]]
    lines = sum(len(other.right) for other in task.functions)
    if lines > 1:
        elsewhere = start % lines + len(function.right) - 1
        chosen.append(Action.call("edit", line=elsewhere % lines + 1, text=function.right[function.bug_line]))
    chosen.append(Action.call("view", name=task.functions[(target + 1) % len(task.functions)].name))
    if progress.history:
        chosen.insert(1, _UNDO)
    return (*chosen, _TEST, _LIST, _CHECK)
