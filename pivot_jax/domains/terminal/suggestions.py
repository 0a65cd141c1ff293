"""What an expert would do next, in several wordings, and what a careless one might do."""

from __future__ import annotations

from collections.abc import Iterable

from pivot_jax.domains.terminal.filesystem import FileSystem, name, parent
from pivot_jax.domains.terminal.goals import APPEND_COMMANDS, APPEND_SLIPS, QUESTIONS, TRANSFORMS
from pivot_jax.domains.terminal.planner import Change, is_done
from pivot_jax.domains.terminal.progress import Agenda, Progress
from pivot_jax.domains.terminal.tasks import Task

_MAX_MISTAKES = 5


def good_commands(task: Task, progress: Progress, left: Agenda) -> tuple[str, ...]:
    """Command lines for the next thing to do, canonical first; empty when only the submit is left."""
    if left.look:
        return ("ls", "ls .", "ls -R", "find . -type d")
    done = [number for number in left.checks if is_done(task, progress.tree, task.effects[number])]
    if done:
        return _check_commands(task, done[0])
    source = next_source(task, progress, left)
    if source is not None and source in left.locate:
        return _locate_commands(task, source)
    if left.inspect and task.asked is not None and task.asked.source == source:
        return tuple(_fill(task, progress, command) for command in QUESTIONS[task.asked.kind].commands)
    if left.changes:
        commands = change_commands(left.changes[0], progress.tree)
        if left.changes[0].kind == "make" and len(left.changes) > 1 and _is_known(task, progress, left.changes[1]):
            return (*commands, f"{commands[0]} && {change_commands(left.changes[1], progress.tree)[0]}")
        return commands
    return ()


def next_source(task: Task, progress: Progress, left: Agenda) -> int | None:
    """The source that the next change, or else the question, is about."""
    for change in left.changes:
        text = progress.tree.entries.get(change.source or change.target)
        for index, source in enumerate(task.sources):
            if source.text == text:
                return index
        if change.kind != "make":
            return None
    return task.asked.source if task.asked is not None else None


def _is_known(task: Task, progress: Progress, change: Change) -> bool:
    text = progress.tree.entries.get(change.source)
    return not any(worlds for source, worlds in zip(task.sources, progress.located, strict=True) if source.text == text)


def change_commands(change: Change, tree: FileSystem) -> tuple[str, ...]:
    """Command lines that make one change to the tree."""
    source, target = change.source, change.target
    folder = parent(target) or "."
    into = folder if name(source) == name(target) else target
    if change.kind == "make":
        return (f"mkdir {target}", f"mkdir -p {target}", f"mkdir ./{target}")
    if change.kind == "move":
        return (
            f"mv {source} {into}",
            f"mv {source} {target}",
            f"cp {source} {into} && rm {source}",
            f"mv ./{source} {into}",
        )
    if change.kind == "copy":
        return (f"cp {source} {into}", f"cat {source} > {target}", f"cp {source} {target}", f"cp ./{source} {into}")
    if change.effect is not None:
        kind = change.effect.kind
        commands = APPEND_COMMANDS if kind == "append" else TRANSFORMS[kind].commands
        return tuple(command.format(f=source, o=target, w=change.effect.word) for command in commands)
    command = "rm -r" if tree.is_directory(target) else "rm"
    return (f"{command} {target}", f"{command} ./{target}", f"{command} -f {target}")


def _locate_commands(task: Task, source: int) -> tuple[str, ...]:
    described = task.sources[source].word
    if described:
        return (
            f"grep -rl {described} .",
            f"grep -r -l {described} .",
            f"grep -rl {described}",
            f"grep -r {described} .",
        )
    file = name(task.sources[source].path)
    return (f"find . -name {file}", f"find . | grep {file}", f"find . -type f | grep {file}", f"find -name {file}")


def _check_commands(task: Task, number: int) -> tuple[str, ...]:
    effect = task.effects[number]
    if effect.kind in TRANSFORMS or effect.kind == "append":
        return (f"cat {effect.target}", f"wc -l {effect.target}", f"head {effect.target}", f"cat ./{effect.target}")
    folder = parent(effect.target or task.sources[effect.source].path)
    return (f"ls {folder}", f"find {folder}", f"ls ./{folder}", f"ls -R {folder}")


def _fill(task: Task, progress: Progress, command: str) -> str:
    """A command of the question with the file as it stands now, its word, and another file."""
    if task.asked is None:
        raise ValueError(f"task {task.request!r} asks no question")
    text = task.sources[task.asked.source].text
    file = min(path for path, held in progress.tree.files() if held == text)
    return command.format(f=file, w=task.asked.word, x=_other_file(progress, file))


def _other_file(progress: Progress, file: str) -> str:
    return next((path for path, _ in sorted(progress.tree.files()) if path != file), file)


def bad_commands(task: Task, progress: Progress, left: Agenda) -> tuple[str, ...]:
    """Plausible wrong or useless command lines at this state."""
    chosen = list(_slips(task, progress, left))
    if not left.look:
        chosen.append("ls")
    chosen.append("pwd")
    good = good_commands(task, progress, left)
    return tuple(dict.fromkeys(command for command in chosen if command not in good))[: _MAX_MISTAKES - 1]


def _slips(task: Task, progress: Progress, left: Agenda) -> Iterable[str]:
    source = next_source(task, progress, left)
    if left.look or (source is not None and source in left.locate):
        wanted = task.sources[source or 0]
        wrong = next(f for f in sorted(task.goal.entries) if task.goal.is_directory(f) and f != parent(wanted.path))
        yield f"cat {name(wanted.path)}" if not wanted.word else f"cat {wanted.word}"
        yield f"ls {wrong}"
        yield f"find . -name {name(_other_file(progress, wanted.path))}"
        return
    if left.inspect and task.asked is not None and task.asked.source == source:
        yield from (_fill(task, progress, command) for command in QUESTIONS[task.asked.kind].slips)
        return
    if not left.changes:
        return
    change = left.changes[0]
    folders = [path for path in sorted(progress.tree.entries) if progress.tree.is_directory(path)]
    elsewhere = next(
        (folder for folder in folders if folder not in (parent(change.target), parent(change.source))), "."
    )
    if change.effect is not None:
        kind, other = change.effect.kind, _other_file(progress, change.source)
        for command in APPEND_SLIPS if kind == "append" else TRANSFORMS[kind].slips:
            yield command.format(f=change.source, o=change.target, w=change.effect.word, x=other)
    elif change.kind == "make":
        yield f"mv {left.changes[-1].source or change.target} {change.target}"
        yield f"ls {change.target}"
    elif change.kind == "remove":
        yield f"rm {_other_file(progress, change.target)}"
        yield f"mv {change.target} {elsewhere}"
    else:
        yield f"mv {change.source} {elsewhere}"
        yield f"mv {_other_file(progress, change.source)} {parent(change.target) or '.'}"
        yield f"cp {change.source} {elsewhere}"
        yield f"rm {change.source}"


def wrong_answer(task: Task, left: Agenda) -> str:
    """What a careless expert would submit now: too early, or wrongly read."""
    if task.answer.isdigit():
        return str(int(task.answer) + 1)
    return "done" if task.asked is not None or left.changes else "1"
