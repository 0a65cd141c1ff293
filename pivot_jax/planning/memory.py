"""Bytes on one device at the moments of a step when most is held, counted from shapes and placements.

What is stored (parameters, moments, gradients, caches) is exact. What a block works with is an estimate: XLA decides
what is alive at once. `planning.compiled` asks the compiler itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax

from pivot_jax.planning.activations import Tokens, block_bytes, cache_bytes, kept_bytes
from pivot_jax.planning.chips import chip_of
from pivot_jax.planning.workload import Layout, Workload
from pivot_jax.policy.log_softmax import LOGITS_HELD, words_at_once
from pivot_jax.policy.lora import adapter_specs
from pivot_jax.policy.project import token_axes
from pivot_jax.policy.spec import ParamSpec, parameter_specs

MASTER = 4
"""Bytes of a master parameter, a moment, a gradient: float32."""
WORKING = 1.5
"""What a block's backward pass works with, over what its forward pass makes: each result and, for about half of them,
its gradient beside it."""
FETCHED = 2
"""Blocks whose gathered weights are there at once: the one that is computed and the one that is being gathered."""
LOGIT_COPIES = 3
"""Arrays of the size of the logits while log-probs or a token are taken of them."""


@dataclass(frozen=True)
class Term:
    """One line of the account."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Moment:
    """All that is held at one moment of a step."""

    phase: str
    name: str
    terms: tuple[Term, ...]

    @property
    def total(self) -> int:
        """Bytes on one device."""
        return sum(term.bytes for term in self.terms)


def moments(work: Workload) -> tuple[Moment, ...]:
    """The moments of a step at which most can be held: prefill, decoding, the reference, and three of the update."""
    return (*_rollout(work), *_training(work))


def peak(found: tuple[Moment, ...]) -> Moment:
    """The moment at which most is held."""
    return max(found, key=lambda moment: moment.total)


def held_terms(work: Workload) -> tuple[Term, ...]:
    """What training holds from the first step to the last."""
    place, item = work.train, MASTER
    policy = item * stored_elements(parameter_specs(work.arch), place)
    if not work.config.lora.rank:
        return (Term("policy", policy), Term("reference policy", policy), Term("optimizer's two moments", 2 * policy))
    # the reference is the policy without its adapters: it shares the weights
    adapters = item * stored_elements(adapter_specs(work.arch, work.config.lora), place)
    return (Term("policy", policy), Term("adapters", adapters), Term("optimizer's two moments", 2 * adapters))


def gradient_bytes(work: Workload) -> int:
    """Gradients of what is trained, stored as it is."""
    lora = work.config.lora
    specs = adapter_specs(work.arch, lora) if lora.rank else parameter_specs(work.arch)
    return MASTER * stored_elements(specs, work.train)


def stored_elements(specs, place: Layout) -> int:
    """Elements of a tree of ParamSpecs that one device stores."""
    return sum(place.stored(spec.shape, spec.axes) for spec in _leaves(specs))


def gathered_bytes(work: Workload, place: Layout) -> tuple[int, int, int]:
    """(one block, the embedding, the unembedding) as they are computed with, on one device."""
    specs = parameter_specs(work.arch)

    def computed(spec: ParamSpec, skip: int = 0) -> int:
        item = 4 if "routed" in spec.axes else work.itemsize
        return item * place.computed(spec.shape[skip:], spec.axes[skip:])

    block = sum(computed(spec, skip=1) for spec in _leaves(specs.blocks))
    embedding = computed(specs.embedding)
    table = specs.unembedding or ParamSpec(specs.embedding.shape[::-1], ("embed", "vocab"), 1)
    return block, embedding, computed(table)


def relaid_bytes(work: Workload) -> int:
    """On a TPU, copies of the experts' `gate` and `up` and of their gradients, as the grouped product wants them."""
    if not (work.arch.experts and chip_of(work.config.mesh.chip, 1).tpu):
        return 0
    blocks = parameter_specs(work.arch).blocks
    return 2 * MASTER * stored_elements((blocks.gate, blocks.up), work.train)


def logits_bytes(work: Workload, place: Layout) -> int:
    """Float32 logits at one place of every branch."""
    shape = (work.rows, work.group, 1, work.arch.vocab_size)
    return 4 * place.computed(shape, (*token_axes(3), "vocab"))


def loss_bytes(work: Workload, place: Layout) -> int:
    """Float32 logits of the actions of a part of the batch, as many as are held at a time."""
    places = place.computed((work.part, work.group, work.branch - 1), token_axes(3))
    words = place.computed((work.arch.vocab_size,), ("vocab",))
    return 4 * places * min(words, words_at_once(places, LOGITS_HELD))


def _rollout(work: Workload) -> tuple[Moment, ...]:
    """On the sampling mesh, with what training holds on its own."""
    place, held = work.sample, held_terms(work)
    trunks, branches = Tokens((work.rows, work.trunk)), Tokens((work.rows, work.group, work.branch))
    block, embedding, unembedding = gathered_bytes(work, place)
    trunk_cache = Term("keys and values of the trunks", cache_bytes(work, place, trunks))
    one = Tokens((work.rows, work.group, 1))
    return (
        Moment("rollout", "prefill", (
            *held, trunk_cache,
            Term("gathered weights", FETCHED * block + embedding),
            Term("a block's activations", block_bytes(work, place, trunks).all),
        )),
        Moment("rollout", "decoding", (
            *held, trunk_cache,
            Term("keys and values of the branches", cache_bytes(work, place, branches)),
            Term("gathered weights", FETCHED * block + embedding + unembedding),
            Term("a block's activations", block_bytes(work, place, one).all),
            Term("logits and their sampling", LOGIT_COPIES * logits_bytes(work, place)),
        )),
    )  # fmt: skip


def _training(work: Workload) -> tuple[Moment, ...]:
    """The reference's forward pass; then the update at its loss, in the middle of its blocks, and at the embedding."""
    place, held = work.train, held_terms(work)
    made = block_bytes(work, place, Tokens((work.part, work.trunk)))
    made += block_bytes(work, place, Tokens((work.part, work.group, work.branch)))
    block, embedding, unembedding = gathered_bytes(work, place)
    logits = LOGIT_COPIES * loss_bytes(work, place)
    kept = Term("kept for the backward pass", kept_bytes(work, made))
    # in parts, those of the part beside the sum of those before it
    sums = 2 if work.config.train.micro_batches > 1 else 1
    gradients = Term("gradients", sums * gradient_bytes(work))
    # of tables: that of trunks and that of branches, added up once both are scattered
    table_gradients = 0 if work.config.lora.rank else 2 * embedding
    return (
        Moment("reference", "forward pass", (
            *held,
            Term("gathered weights", FETCHED * block + embedding + unembedding),
            Term("a block's activations", made.all),
            Term("logits and their softmax", logits),
        )),
        Moment("update", "at the loss", (
            *held, kept,
            Term("gathered weights", unembedding),
            Term("logits and their softmax", logits),
        )),
        Moment("update", "in the blocks", (
            *held, kept, gradients,
            Term("gathered weights and their gradients", (FETCHED + 1) * block),
            Term("experts' weights in another layout", relaid_bytes(work)),
            Term("a block's activations and their gradients", int(WORKING * made.all)),
        )),
        Moment("update", "at the embedding", (
            *held, gradients,
            Term("the embedding's gradients before they are scattered", table_gradients),
            Term("gradients of the embedded tokens", made.input),
        )),
    )  # fmt: skip


def _leaves(specs) -> list[ParamSpec]:
    return jax.tree.leaves(specs, is_leaf=lambda leaf: isinstance(leaf, ParamSpec))
