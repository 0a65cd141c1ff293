"""The coding environment: one task in progress."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pivot_jax.domains.coding.display import shown_file, shown_tests
from pivot_jax.domains.coding.expert import bad_actions, good_actions
from pivot_jax.domains.coding.language import Refused
from pivot_jax.domains.coding.lint import complaint
from pivot_jax.domains.coding.progress import PATIENCE, Progress, agenda, begin
from pivot_jax.domains.coding.tasks import Task
from pivot_jax.records import Action, Message, Tool, ToolCall

MAX_CALLS = 4
"""Tool calls of one turn that are executed; more are answered with an error."""
MAX_MISTAKES = 5

_RULES = """
Repair the functions with the tools. Each docstring says what its function must do; only lines with a number can be
edited, and no other function may change what it does. The first line of this message gives the order of work: run the
tests first (list the files before them, if it says list), view a file and edit its wrong lines, run the tests again
between two repairs if it says again, check the files if it says check, run the tests after the last edit, submit."""
_REMINDER = "use test or submit"
_GIVING_UP = "stop"

_NAME = {"name": {"type": "string", "description": "A file or a function."}}
_EDIT = {
    "line": {"type": "integer", "description": "The number of the line."},
    "text": {"type": "string", "description": "Its new text, without indentation."},
}


def _tool(name: str, description: str, properties: dict[str, Any], required: tuple[str, ...] = ()) -> Tool:
    schema = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    return Tool(name=name, description=description, parameters=schema)


TOOLS = (
    _tool("test", "Run the visible tests, of everything or of one file or function.", _NAME),
    _tool("list", "List the files and their functions.", {}),
    _tool("view", "Show a file, given its name or that of a function in it.", _NAME, ("name",)),
    _tool("edit", "Replace one line.", _EDIT, ("line", "text")),
    _tool("undo", "Take the last edit back.", {}),
    _tool("check", "Look for parameters that are not used.", _NAME),
    _tool("submit", "End the task.", {}),
)
_SCHEMAS = {tool.name: tool.parameters for tool in TOOLS}


class Coding:
    """A coding task in progress; `Environment` says what each method is for.

    `remaining()` counts one turn for each thing left to do: the first tests, a view of each file with a broken
    function, an edit for each function that is wrong, the last tests, the submit, and the further routine that the
    system message names. Routine turns and views are working rules, not conditions: leaving them out is no damage, so
    a right repair made blind lowers the count by what it saves, and so does a submit without the last tests. Only a
    submit with a wrong function, or too many useless turns, is final.
    """

    tools: tuple[Tool, ...] = TOOLS

    def __init__(self, task: Task) -> None:
        self.task = task
        self._progress: Progress = begin(task)

    @property
    def done(self) -> bool:
        return bool(self._progress.end)

    def opening(self) -> tuple[Message, ...]:
        system = Message(role="system", content=self.task.rules + _RULES)
        return system, Message(role="user", content=self.task.request)

    def step(self, action: Action) -> tuple[Message, ...]:
        if self.done:
            return tuple([_error(call, "limit") for call in action.tool_calls])
        before = agenda(self.task, self._progress).turns
        replies = [self._answer(call, number) for number, call in enumerate(action.tool_calls)]
        if not action.tool_calls:
            replies = [Message(role="user", content=_REMINDER)]
        if not self.done and agenda(self.task, self._progress).turns >= before:
            useless = self._progress.useless + 1
            self._progress = replace(self._progress, useless=useless)
            if useless >= PATIENCE:
                self._progress = replace(self._progress, end="abandoned")
                return (*(m for m in replies if m.role == "tool"), Message(role="user", content=_GIVING_UP))
        return tuple(replies)

    def clone(self) -> Coding:
        copy = Coding.__new__(Coding)
        copy.task, copy._progress = self.task, self._progress
        return copy

    def demonstrations(self) -> tuple[Action, ...]:
        return () if self.done else good_actions(self.task, self._progress, agenda(self.task, self._progress))

    def mistakes(self) -> tuple[Action, ...]:
        if self.done:
            return ()
        before = self.remaining()
        candidates = dict.fromkeys(bad_actions(self.task, self._progress, agenda(self.task, self._progress)))
        return tuple([action for action in candidates if self._after(action) >= before])[:MAX_MISTAKES]

    def remaining(self) -> float:
        if self.done:
            return 0.0 if self.outcome() else float("inf")
        return float(agenda(self.task, self._progress).turns)

    def outcome(self) -> float:
        return float(self._progress.end == "submitted" and not self._progress.wrong)

    def _after(self, action: Action) -> float:
        trial = self.clone()
        trial.step(action)
        return trial.remaining()

    def _answer(self, call: ToolCall, number: int) -> Message:
        """Execute one call; the tool message it leads to."""
        if self.done or number >= MAX_CALLS:
            return _error(call, "limit")
        if call.name not in _SCHEMAS:
            return _error(call, "tool")
        try:
            arguments = _arguments(call)
            content = self._run(call.name, arguments)
        except Refused as refused:
            return _error(call, str(refused))
        return Message(role="tool", content=content, tool_call_id=call.id)

    def _run(self, tool: str, arguments: dict[str, Any]) -> str:
        """Carry out a call whose arguments are of the right types; what it shows. Raises Refused."""
        task, progress = self.task, self._progress
        if tool == "edit":
            self._progress = progress.edited(task, arguments["line"], arguments["text"])
        elif tool == "undo":
            self._progress = progress.undone(task)
        elif tool == "submit":
            self._progress = replace(progress, end="submitted")
        elif tool == "list":
            self._progress = replace(progress, listed=True)
            return " ".join([f"{file} {' '.join(self._names(file))}" for file in task.files])
        elif tool == "view":
            file = task.functions[min(self._named(arguments["name"]))].file
            self._progress = replace(progress, seen=progress.seen | {file})
            return shown_file(task, progress.bodies, file)
        else:
            numbers = self._named(arguments["name"]) if "name" in arguments else frozenset(range(len(task.functions)))
            chosen = [(task.functions[number], progress.bodies[number]) for number in sorted(numbers)]
            if tool == "test":
                self._progress = progress.after_tests(task, numbers)
                return shown_tests(chosen)
            fixed = numbers.intersection(task.bugs) and not progress.wrong
            self._progress = replace(progress, checked=progress.checked or bool(fixed))
            return complaint(chosen) or "ok"
        return "ok"

    def _names(self, file: str) -> list[str]:
        return [function.name for function in self.task.functions if function.file == file]

    def _named(self, name: str) -> frozenset[int]:
        """The functions of a file, or the one of this name; Refused if there is neither."""
        found = frozenset(n for n, f in enumerate(self.task.functions) if name in (f.file, f.name))
        if not found:
            raise Refused("name")
        return found


def _error(call: ToolCall, kind: str) -> Message:
    return Message(role="tool", content=f"error {kind}", tool_call_id=call.id, is_error=True)


def _arguments(call: ToolCall) -> dict[str, Any]:
    """The arguments of a call of a known tool; Refused("call") if they do not fit its schema."""
    schema = _SCHEMAS[call.name]
    try:
        arguments = call.parsed()
    except (ValueError, RecursionError):
        raise Refused("call") from None
    types = {"string": str, "integer": int}
    properties = schema["properties"]
    if not set(schema["required"]) <= set(arguments) <= set(properties):
        raise Refused("call")
    for name, value in arguments.items():
        # bool is a subclass of int, but `true` is no line
        if not isinstance(value, types[properties[name]["type"]]) or isinstance(value, bool):
            raise Refused("call")
    return arguments
