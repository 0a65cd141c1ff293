"""Understanding what the agent says: a dialogue act, what it asks for, and the values that it names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pivot_jax.domains.retail.lexicon import VALUES

Act = Literal["greet", "identity", "ask", "confirm", "inform", "refuse", "more", "close", "unclear"]
Judgement = Literal["right", "incomplete", "false"]

LONGEST_MESSAGE = 2_000
"""Characters of a message that the customer is willing to read."""

_SLOTS: dict[str, frozenset[str]] = {
    "order": frozenset({"order", "orders"}),
    "item": frozenset({"item", "items", "colour"}),
    "reason": frozenset({"reason", "why"}),
    "address": frozenset({"address", "street"}),
    "product": frozenset({"product", "colour"}),
}
_QUESTION = frozenset({"what", "which", "why", "who", "please", "could"})
_EMAIL = frozenset({"e-mail", "email", "who"})
_NAME = frozenset({"name", "postcode"})
_CONFIRM = frozenset({"shall", "confirm", "ok", "correct"})
_REFUSE = frozenset({"cannot", "cant", "refuse", "unable"})
_CLOSE = frozenset({"bye", "goodbye"})
_MORE = frozenset({"else", "further"})
_GREET = frozenset({"help", "hello", "hi"})


@dataclass(frozen=True)
class Utterance:
    """What was understood: `asked` holds slots, or look-up routes ("email", "name") when the act is "identity"."""

    act: Act
    asked: frozenset[str] = frozenset()
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A statement that is expected: the values it must name, those it may name, and which value belongs to which."""

    required: frozenset[str]
    allowed: frozenset[str]
    pairs: tuple[tuple[str, str], ...] = ()

    def judge(self, values: tuple[str, ...]) -> Judgement:
        """Whether a statement that names `values`, in this order, is right, says too little, or says what is false."""
        if not set(values) <= self.required | self.allowed:
            return "false"
        if not self.required <= set(values):
            return "incomplete"
        followed = set(pairwise(values))
        return "right" if set(self.pairs) <= followed else "false"


def understand(content: str) -> Utterance:
    """The dialogue act of a message and its slots; "unclear" if no rule applies."""
    if len(content) > LONGEST_MESSAGE:
        return Utterance("unclear")
    spoken = re.findall(r"[a-z0-9@-]+", content.lower().replace("'", ""))
    words = frozenset(spoken)
    values = tuple(word for word in spoken if word in VALUES)
    questioning = bool(words & _QUESTION or ("your" in words and not values))
    if words & _CLOSE:
        return Utterance("close")
    if words & _REFUSE or {"can", "not"} <= words or ("sorry" in words and not questioning):
        return Utterance("refuse", values=values)
    if words & _CONFIRM and values:
        return Utterance("confirm", values=values)
    if words & _MORE and not values:
        return Utterance("more")
    if questioning and words & (_EMAIL | _NAME):
        routes = {"email": _EMAIL, "name": _NAME}
        return Utterance("identity", asked=frozenset(route for route, keys in routes.items() if words & keys))
    asked = frozenset(slot for slot, keys in _SLOTS.items() if words & keys)
    if questioning and asked:
        return Utterance("ask", asked=asked, values=values)
    if values:
        return Utterance("inform", values=values)
    return Utterance("greet" if words & _GREET or {"can", "do"} <= words else "unclear")
