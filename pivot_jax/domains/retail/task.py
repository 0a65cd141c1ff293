"""The retail environment: tool calls go to the database, messages to the simulated customer."""

from __future__ import annotations

import math
from dataclasses import replace

from pivot_jax.domains.retail.customer import GIVING_UP, PATIENCE, PUZZLED, listen, opening
from pivot_jax.domains.retail.expert import bad_actions, good_actions
from pivot_jax.domains.retail.goal import Goal
from pivot_jax.domains.retail.handbook import written_policy
from pivot_jax.domains.retail.intents import Read
from pivot_jax.domains.retail.progress import Progress, turns_left
from pivot_jax.domains.retail.speech import understand
from pivot_jax.domains.retail.store import Store
from pivot_jax.domains.retail.tools import TOOLS, Reply, execute
from pivot_jax.records import Action, Message, ToolCall


class RetailTask:
    """One conversation with one customer (see `pivot_jax.domains.environment.Environment`)."""

    tools = TOOLS

    def __init__(self, goal: Goal, store: Store, progress: Progress) -> None:
        self.goal = goal
        self.store = store
        self.progress = progress

    @property
    def done(self) -> bool:
        return self.progress.done

    def opening(self) -> tuple[Message, ...]:
        """The written policy, then the customer's first message."""
        return (
            Message(role="system", content=written_policy(self.goal.notice)),
            Message(role="user", content=opening(self.goal)),
        )

    def step(self, action: Action) -> tuple[Message, ...]:
        """Execute the action; a turn that brings the goal no nearer costs some of the customer's patience."""
        if self.done:
            return ()
        before = turns_left(self.goal, self.progress)
        replies = self._call(action.tool_calls) if action.tool_calls else self._say(action)
        if not self.done and turns_left(self.goal, self.progress) >= before:
            useless = self.progress.useless + 1
            self.progress = replace(self.progress, useless=useless, abandoned=useless >= PATIENCE)
        if self.progress.abandoned:
            spoken = tuple(message for message in replies if message.role == "tool")
            return (*spoken, Message(role="user", content=GIVING_UP))
        return replies

    def clone(self) -> RetailTask:
        """An independent copy."""
        return RetailTask(self.goal, self.store.clone(), self.progress)

    def demonstrations(self) -> tuple[Action, ...]:
        """Good next actions, the canonical one first; none when the goal is out of reach."""
        finite = not self.done and not self.progress.damaged
        return good_actions(self.goal, self.progress) if finite else ()

    def mistakes(self) -> tuple[Action, ...]:
        """Plausible wrong or useless actions."""
        return bad_actions(self.goal, self.progress)

    def remaining(self) -> float:
        """Fewest turns to success; infinite once a goal is spoilt or the conversation has failed."""
        if self.progress.damaged or (self.done and not self.progress.succeeded(self.goal)):
            return math.inf
        return float(turns_left(self.goal, self.progress))

    def outcome(self) -> float:
        """1.0 when all went well and every row of the database is as the goal wants it."""
        return float(self.progress.succeeded(self.goal) and self.store.digest() == self.goal.digests[-1])

    def _say(self, action: Action) -> tuple[Message, ...]:
        if action.malformed:
            return (Message(role="user", content=PUZZLED),)
        self.progress, reply = listen(self.goal, self.progress, understand(action.content))
        return (Message(role="user", content=reply),) if reply else ()

    def _call(self, calls: tuple[ToolCall, ...]) -> tuple[Message, ...]:
        call, *others = calls
        if others:
            # The written policy allows one call at a time; of several, none is executed.
            return tuple(_tool_message(call, Reply("error wrong call", is_error=True)) for call in calls)
        reply = execute(self.store, self.goal.customer.id if self.progress.verified else "", call)
        if not reply.is_error:
            self._note(call, reply)
        return (_tool_message(call, reply),)

    def _note(self, call: ToolCall, reply: Reply) -> None:
        """Record what a successful call has brought about."""
        progress = self.progress
        if reply.wrote:
            self._judge_write()
        elif call.name.startswith("read_"):
            (key,) = call.parsed().values()
            self.progress = replace(progress, facts=progress.facts | {Read(call.name, key)})
        elif reply.content == self.goal.customer.id:
            self.progress = replace(progress, verified=True)

    def _judge_write(self) -> None:
        """A write is right when the customer agreed to it and the rows are now as the current intent wants them."""
        progress, digests, digest = self.progress, self.goal.digests, self.store.digest()
        if digest == digests[progress.settled + progress.written]:
            return  # Nothing changed: the same address again, or an exchange for the same colour.
        intent = progress.current(self.goal)
        pending = intent is not None and intent.change is not None and not progress.written
        wanted = pending and digest == digests[progress.settled + 1]
        agreed = wanted and progress.confirmed
        self.progress = replace(progress, written=progress.written or wanted, damaged=progress.damaged or not agreed)


def _tool_message(call: ToolCall, reply: Reply) -> Message:
    return Message(role="tool", content=reply.content, tool_call_id=call.id, is_error=reply.is_error)
