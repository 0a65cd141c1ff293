"""What a software-engineering call does: the kind of its tool, and what its arguments name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

Kind = Literal["edit", "bash", "search", "read", "finish", "think", "planning"]
Arguments = Mapping[str, Any]

TOOLS: Mapping[Kind, str] = {
    "edit": "str_replace_editor text_editor file_editor code_editor edit_file modify_file update_file file_edit edit "
    "modify apply_patch patch_file apply_diff apply_changes write write_file save_file create_file",
    "bash": "execute_bash run_bash bash_exec shell_run shell bash terminal shell_command shell_cmd run_shell_cmd "
    "exec_command exec_cmd",
    "search": "grep search_text find_pattern text_search glob find_files file_glob match_files grep_files search_files "
    "find_in_files code_search list_dir ls show_dir ls_dir list_directory",
    "read": "read read_file view_file cat_file view file_view inspect show_file read_file_content",
    "finish": "finish submit",
    "think": "think",
    "planning": "task_tracker todo_tracker plan_tracker todo_read todo_write update_plan list_tasks update_tasks "
    "read_todos write_todos edit_plan modify_plan",
}
"""Names that the harnesses of the released data give to their tools, by what the tool does."""

KINDS: Mapping[str, Kind] = {
    spelling: kind
    for kind, names in TOOLS.items()
    for name in names.split()
    for spelling in (name, name.replace("_", ""))
}
"""Every name in lower case, as snake_case and as CamelCase spell it."""

PATH_KEYS = ("path", "file", "file_path", "filename", "file_name")
COMMAND_KEYS = ("command", "cmd")
PATH_IN_COMMAND = re.compile(r"""(?<![^\s='"(])(?:(?:/[\w.-]+)+|[\w.-]+/[\w./-]+)""")


def kind_of(tool: str) -> Kind | None:
    """What a tool of this name does; None if the name is not known."""
    return KINDS.get(tool.lower())


def path_of(arguments: Arguments) -> str:
    """The file that a call names; empty if none."""
    return _first(arguments, PATH_KEYS).strip()


def command_of(arguments: Arguments) -> str:
    """The shell command of a call; empty if none."""
    return _first(arguments, COMMAND_KEYS).strip()


def editor_command_of(arguments: Arguments) -> str:
    """What an editor is told to do (view, str_replace, create, ...); empty if the call does not say."""
    return text_of(arguments, "command")


def program_of(command: str) -> str:
    """The first word of a shell command without its folder: `grep` of `/usr/bin/grep -n x`."""
    words = command.split(maxsplit=1)
    return words[0].rsplit("/", 1)[-1] if words else ""


def paths_in(command: str) -> list[str]:
    """Files and folders in a shell command, two or fewer characters and options left out."""
    found: list[str] = PATH_IN_COMMAND.findall(command)
    return [path for path in found if len(path) > 2 and not path.startswith("--")]


def path_end(path: str, components: int) -> str:
    """The last components of a path: roots differ between recordings of one repository."""
    return "/".join(path.strip("/").split("/")[-components:])


def view_range_of(arguments: Arguments) -> tuple[int, int] | None:
    """(first, last) line of a view, given as a list or as its JSON text; None if there is none to read."""
    value = arguments.get("view_range")
    try:
        lines = json.loads(value) if isinstance(value, str) else value
        return (int(lines[0]), int(lines[1])) if isinstance(lines, list) and len(lines) == 2 else None
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def edit_text_of(arguments: Arguments) -> str:
    """What an edit writes: the replaced and the new text, else a patch, else the content of a file; empty if none."""
    if "new_str" in arguments:
        return text_of(arguments, "old_str") + "\n" + text_of(arguments, "new_str")
    return _first(arguments, ("patch", "diff", "content", "file_text"))


def text_of(arguments: Arguments, key: str) -> str:
    """An argument as text; empty if it is absent, or nested deeper than Python can write it."""
    try:
        return str(arguments.get(key, ""))
    except RecursionError:
        return ""


def _first(arguments: Arguments, keys: tuple[str, ...]) -> str:
    return next((text_of(arguments, key) for key in keys if key in arguments), "")
