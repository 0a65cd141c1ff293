"""How far an episode has come: the tree, what has been learnt, what has been checked.

What is known is judged by *worlds*: the trees that the request alone would allow (the file in another directory,
with another count, ...). Every command runs in each world too, and a world whose output differs from the real one is
ruled out. A fact is known when no world is left in which it is otherwise; so any command that shows it counts, and no
command that only prints the right words does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pivot_jax.domains.terminal import shell
from pivot_jax.domains.terminal.filesystem import FileSystem
from pivot_jax.domains.terminal.planner import Change, is_done, plan_changes, undone
from pivot_jax.domains.terminal.tasks import Task

MAX_SHOWN_WORDS = 100
_UNSEEN_DIRECTORY = "elsewhere"

Worlds = tuple[FileSystem, ...]


def shown(result: shell.Result) -> str:
    """What the policy sees of a result: lines separated by `;`, then the error; `ok` or `none` for no output.

    A colon (after a name, in `ls -R` and `grep`) stands alone, which keeps the vocabulary small.
    """
    rows = [" ".join(line.split()) for line in result.stdout.replace(":", " : ").split("\n")]
    rows = [row for row in rows if row]
    words = " ; ".join([*rows, f"error {result.error}"] if result.error else rows).split(" ", MAX_SHOWN_WORDS)
    text = " ".join(words[:MAX_SHOWN_WORDS])
    return text or ("none" if result.code else "ok")


@dataclass(frozen=True, slots=True)
class Progress:
    """State of an episode between two turns.

    `look`, `located` (one for each source) and `answered` hold the worlds not yet ruled out; `unchecked` the numbers
    of the planned checks that were not made.
    """

    tree: FileSystem
    look: Worlds
    located: tuple[Worlds, ...]
    answered: Worlds
    unchecked: frozenset[int]

    def after(self, task: Task, command: str) -> tuple[Progress, shell.Result]:
        """Run one command line: the new progress, and what the command did."""
        result = shell.run(self.tree, command)
        seen = shown(result)
        advanced = Progress(
            tree=result.tree,
            look=_consistent(self.look, command, seen),
            # A world that has become the real tree no longer differs in where the file is.
            located=tuple(
                tuple(world for world in _consistent(worlds, command, seen) if world != result.tree)
                for worlds in self.located
            ),
            answered=_consistent(self.answered, command, seen),
            unchecked=self.unchecked,
        )
        # A check is a command that changes nothing and would have shown something else without the effect.
        if result.tree is self.tree:
            for number in self.unchecked:
                effect = task.effects[number]
                if is_done(task, self.tree, effect) and (
                    shown(shell.run(undone(task, self.tree, effect), command)) != seen
                ):
                    advanced = replace(advanced, unchecked=advanced.unchecked - {number})
        return advanced, result


def _consistent(worlds: Worlds, command: str, seen: str) -> Worlds:
    """The worlds in which the command shows the same, as it leaves them."""
    results = [shell.run(world, command) for world in worlds]
    return tuple([result.tree for result in results if shown(result) == seen])


def begin(task: Task) -> Progress:
    """The progress at the start of a task."""
    return Progress(
        tree=task.start,
        look=(task.start.make_directory(_UNSEEN_DIRECTORY),) if task.look else (),
        located=tuple(source.worlds for source in task.sources),
        answered=task.asked.worlds if task.asked else (),
        unchecked=task.checks,
    )


@dataclass(frozen=True, slots=True)
class Agenda:
    """What is left to do before the submit.

    `locate` are the numbers of the sources to be found, `inspect` is True when the answer is to be read from a file,
    `checks` the numbers of the effects to be looked at.
    """

    look: bool
    locate: tuple[int, ...]
    inspect: bool
    changes: tuple[Change, ...]
    checks: tuple[int, ...]

    @property
    def turns(self) -> int:
        """One turn each, and the submit."""
        return self.look + len(self.locate) + self.inspect + len(self.changes) + len(self.checks) + 1


def agenda(task: Task, progress: Progress) -> Agenda | None:
    """What is left to do; None when the task can no longer be solved.

    Looking around is left to do only as long as no file was found and no change made; a file must be found only as
    long as it is to be used.
    """
    tree = progress.tree
    changes = plan_changes(task, tree)
    if changes is None:
        return None
    used = {tree.entries.get(change.source or change.target) for change in changes}
    wanted = [index for index, source in enumerate(task.sources) if source.text in used]
    inspect = False
    if task.asked is not None and progress.answered:
        inspect = task.asked.kind != "where"
        wanted.append(task.asked.source)
        text = task.sources[task.asked.source].text
        # Equal trees give equal outputs for ever: what is unknown now stays unknown.
        if tree in progress.answered or not any(held == text for held in tree.entries.values()):
            return None
    locate = tuple(sorted({index for index in wanted if progress.located[index]}))
    begun = not all(progress.located) or any(is_done(task, tree, effect) for effect in task.effects)
    return Agenda(
        look=bool(progress.look) and not begun,
        locate=locate,
        inspect=inspect,
        changes=changes,
        checks=tuple(sorted(progress.unchecked)),
    )
