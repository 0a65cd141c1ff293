"""The search environment: one question in progress."""

from __future__ import annotations

from dataclasses import replace

from pivot_jax.domains.search.expert import bad_actions, good_actions
from pivot_jax.domains.search.lexicon import GIVING_UP, PUZZLED
from pivot_jax.domains.search.progress import Progress, begin, turns_left
from pivot_jax.domains.search.task import Task
from pivot_jax.domains.search.tools import TOOLS, Failed, execute
from pivot_jax.records import Action, Message, Tool

MOST_MISTAKES = 5


class Search:
    """A question over a collection of documents; `Environment` says what each method is for.

    `remaining()` counts one turn for each thing left to do: find each needed document, open it, do the chores that
    are due after it, answer. A query that shows two needed documents lowers it by two. An answer that is right counts
    whatever was read; chores that are due come before it. Opening needs a document that was shown.
    """

    tools: tuple[Tool, ...] = TOOLS

    def __init__(self, task: Task, progress: Progress | None = None) -> None:
        self.task = task
        self.progress = progress or begin(task)

    @property
    def done(self) -> bool:
        return self.progress.done

    def opening(self) -> tuple[Message, ...]:
        return Message(role="system", content=self.task.policy), Message(role="user", content=self.task.request)

    def step(self, action: Action) -> tuple[Message, ...]:
        """Execute the action; a turn that brings the goal no nearer costs some of the user's patience."""
        if self.done:
            return ()
        before = self.remaining()
        replies = self._call(action) if action.tool_calls else (Message(role="user", content=PUZZLED),)
        if not self.done and self.remaining() >= before:
            self.progress = replace(self.progress, useless=self.progress.useless + 1)
        if self.progress.abandoned:
            spoken = tuple(message for message in replies if message.role == "tool")
            return (*spoken, Message(role="user", content=GIVING_UP))
        return replies

    def clone(self) -> Search:
        # The task is read-only, its collection included; the progress is frozen.
        return Search(self.task, self.progress)

    def demonstrations(self) -> tuple[Action, ...]:
        """Good next actions, each of which brings the goal exactly one turn nearer."""
        if self.done:
            return ()
        return tuple(action for action in good_actions(self.task, self.progress) if self._gain(action) == 1)

    def mistakes(self) -> tuple[Action, ...]:
        """Plausible wrong actions, none of which brings the goal nearer."""
        if self.done:
            return ()
        candidates = dict.fromkeys(bad_actions(self.task, self.progress))
        return tuple(action for action in candidates if self._gain(action) <= 0)[:MOST_MISTAKES]

    def remaining(self) -> float:
        return turns_left(self.task, self.progress)

    def outcome(self) -> float:
        return float(self.progress.right)

    def _gain(self, action: Action) -> float:
        """By how many turns an action would bring the goal nearer; `-inf` when it loses it."""
        branch = self.clone()
        branch.step(action)
        return self.remaining() - branch.remaining()

    def _call(self, action: Action) -> tuple[Message, ...]:
        call, *others = action.tool_calls
        try:
            if others:
                # One call at a time; of several, none is executed.
                raise Failed("wrong call")
            self.progress, content = execute(self.task, self.progress, call)
        except Failed as failed:
            return tuple([_error(str(failed), call.id) for call in action.tool_calls])
        return (Message(role="tool", content=content, tool_call_id=call.id),)


def _error(reason: str, call_id: str) -> Message:
    return Message(role="tool", content=f"error {reason}", tool_call_id=call_id, is_error=True)
