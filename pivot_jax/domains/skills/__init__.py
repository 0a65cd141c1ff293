"""Ten skills unrelated to any agentic domain: a question, a checked answer.

They stand for everything that a policy knew before post-training. Its base is trained on them, post-training never is,
and what it loses on them is what it forgot (out-of-domain retention).
"""

from __future__ import annotations

from pivot_jax.domains.environment import Reset
from pivot_jax.domains.skills.numbers import ask_add, ask_compare, ask_sort, ask_subtract
from pivot_jax.domains.skills.task import skill
from pivot_jax.domains.skills.words import ask_copy, ask_count, ask_json, ask_nth, ask_reverse, ask_spell

SKILLS: dict[str, Reset] = {
    name: skill(name, ask)
    for name, ask in {
        "add": ask_add,
        "subtract": ask_subtract,
        "sort": ask_sort,
        "reverse": ask_reverse,
        "count": ask_count,
        "compare": ask_compare,
        "json": ask_json,
        "nth": ask_nth,
        "copy": ask_copy,
        "spell": ask_spell,
    }.items()
}
"""A domain for each skill, by name."""
