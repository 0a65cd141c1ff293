"""What a task is: the chain of documents that leads to the answer, and the collection that hides it."""

from __future__ import annotations

from dataclasses import dataclass

from pivot_jax.domains.search.collection import Collection
from pivot_jax.domains.search.lexicon import SURNAMES, SYNONYMS, content_words


@dataclass(frozen=True)
class Entity:
    """A person (`ann blue`) or a thing (`elm team`)."""

    first: str
    second: str

    @property
    def is_person(self) -> bool:
        return self.second in SURNAMES

    @property
    def title(self) -> str:
        return f"{self.first} {self.second}"

    @property
    def reference(self) -> str:
        """How a document names it after a relation: `leader ann blue`, `team elm`."""
        return self.title if self.is_person else self.first


@dataclass(frozen=True)
class Hop:
    """One needed document, and what must be read in it.

    Attributes:
        entity, handle: what the document is about, and its handle.
        relation: which of its facts is wanted.
        finding: the entity that this fact names.
        secret: the document does not name the finding; the written policy does.
        distraction: an entity that another of its facts names.
        chores: routine turns that are due once it has been opened, in their usual order.
    """

    entity: Entity
    handle: str
    relation: str
    finding: Entity
    secret: bool
    distraction: Entity
    chores: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """A question over a collection. `listed`: the request gives the handle of the first document."""

    template: str
    request: str
    policy: str
    hops: tuple[Hop, ...]
    listed: bool
    collection: Collection

    @property
    def answer(self) -> Entity:
        return self.hops[-1].finding

    def needed(self, handle: str) -> int | None:
        """The number of the hop whose document this is, if it is needed."""
        return next((number for number, hop in enumerate(self.hops) if hop.handle == handle), None)

    def is_right(self, text: str) -> bool:
        """Whether an answer names the answer: any order, case and punctuation, with or without articles, the relation
        and, for a thing, its kind."""
        asked = self.hops[-1].relation
        required = set(self.answer.reference.split())
        kind = self.answer.second if not self.answer.is_person else asked
        optional = {asked, kind, SYNONYMS[asked], SYNONYMS.get(kind, kind)}
        said = set(content_words(text))
        return required <= said <= required | optional

    def handle_of(self, text: str) -> str | None:
        """The handle that a text names, itself or by a title in either order."""
        if text.strip().lower() in self.collection.documents:
            return text.strip().lower()
        said = content_words(text)
        return next((one.handle for one in self.collection.documents.values() if _names(said, one.title)), None)


def _names(said: tuple[str, ...], title: str) -> bool:
    words = tuple(title.split())
    return said in (words, words[::-1])
