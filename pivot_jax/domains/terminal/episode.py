"""The terminal environment: one task in progress."""

from __future__ import annotations

from pivot_jax.domains.terminal.progress import Agenda, Progress, agenda, begin, shown
from pivot_jax.domains.terminal.suggestions import bad_commands, good_commands, wrong_answer
from pivot_jax.domains.terminal.tasks import Task
from pivot_jax.records import Action, Message, Tool, ToolCall

MAX_CALLS = 4
"""Tool calls of one turn that are executed; more are answered with an error."""

_SYSTEM = (
    "terminal\nuse bash to look first then find the file and change it . check new files and submit the answer or done"
)
_REMINDER = "use bash or submit"


def _tool(tool: str, description: str, argument: str, meaning: str) -> Tool:
    schema = {
        "type": "object",
        "properties": {argument: {"type": "string", "description": meaning}},
        "required": [argument],
        "additionalProperties": False,
    }
    return Tool(name=tool, description=description, parameters=schema)


TOOLS = (
    _tool("bash", "Run a command line in the working directory.", "command", "The command line."),
    _tool("submit", "End the task with an answer.", "answer", "The fact asked for, or done."),
)
_ARGUMENTS = {"bash": "command", "submit": "answer"}


class Terminal:
    """A terminal task in progress; `Environment` says what each method is for.

    `remaining()` counts one turn for each thing left to do: look around, find each file that is still to be used,
    read the answer, make each change, check it, submit. Looking and checking are working rules, not conditions:
    leaving them out is no damage, and a command that does two things at once lowers the count by two.
    """

    tools: tuple[Tool, ...] = TOOLS

    def __init__(self, task: Task) -> None:
        self.task = task
        self._progress: Progress = begin(task)
        self._submitted: str | None = None

    @property
    def done(self) -> bool:
        return self._submitted is not None

    def opening(self) -> tuple[Message, ...]:
        return Message(role="system", content=_SYSTEM), Message(role="user", content=self.task.request)

    def step(self, action: Action) -> tuple[Message, ...]:
        if not action.tool_calls:
            return (Message(role="user", content=_REMINDER),)
        return tuple([self._answer(call, number) for number, call in enumerate(action.tool_calls)])

    def clone(self) -> Terminal:
        copy = Terminal.__new__(Terminal)
        copy.task, copy._progress, copy._submitted = self.task, self._progress, self._submitted
        return copy

    def demonstrations(self) -> tuple[Action, ...]:
        left = self._left()
        if left is None:
            return ()
        commands = good_commands(self.task, self._progress, left)
        if commands:
            return tuple([Action.call("bash", command=command) for command in dict.fromkeys(commands)])
        return (Action.call("submit", answer=self.task.answer),)

    def mistakes(self) -> tuple[Action, ...]:
        left = self._left()
        if left is None:
            # After damage the careless go on as if nothing had happened.
            return (
                () if self.done else (Action.call("submit", answer=self.task.answer), Action.call("bash", command="ls"))
            )
        commands = bad_commands(self.task, self._progress, left)
        answer = wrong_answer(self.task, left)
        return (*(Action.call("bash", command=command) for command in commands), Action.call("submit", answer=answer))

    def remaining(self) -> float:
        if self.done:
            return 0.0 if self.outcome() else float("inf")
        left = self._left()
        return float("inf") if left is None else float(left.turns)

    def outcome(self) -> float:
        answered = self._submitted == self.task.answer
        return float(answered and self._progress.tree == self.task.goal)

    def _left(self) -> Agenda | None:
        return None if self.done else agenda(self.task, self._progress)

    def _answer(self, call: ToolCall, number: int) -> Message:
        """Execute one call; the tool message it leads to."""
        argument, error = self._argument(call, number)
        if error:
            return Message(role="tool", content=f"error {error}", tool_call_id=call.id, is_error=True)
        if call.name == "submit":
            self._submitted = " ".join(argument.removeprefix("./").rstrip("/").split())
            return Message(role="tool", content="ok", tool_call_id=call.id)
        self._progress, result = self._progress.after(self.task, argument)
        return Message(role="tool", content=shown(result), tool_call_id=call.id, is_error=bool(result.error))

    def _argument(self, call: ToolCall, number: int) -> tuple[str, str]:
        """The one argument of a call, and what is wrong with the call."""
        if self._submitted is not None or number >= MAX_CALLS:
            return "", "limit reached"
        if call.name not in _ARGUMENTS:
            return "", "unknown command"
        try:
            arguments = call.parsed()
        except (ValueError, RecursionError):
            return "", "bad syntax"
        value = arguments.get(_ARGUMENTS[call.name])
        if len(arguments) != 1 or not isinstance(value, str):
            return "", "missing operand"
        return value, ""
