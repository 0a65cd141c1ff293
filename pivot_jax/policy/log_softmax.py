"""log softmax at chosen tokens without the logits: the vocabulary is gone through in parts, forward and backward.

Logits of T tokens over V words are T · V float32 numbers, and the plain way keeps several arrays of that size until the
backward pass: of Qwen3's 151,936 words, 19 GiB each for 32,768 tokens. Here no more than `LOGITS_HELD` of them exist at
a time; the sum of exponentials is carried along (Milakov and Gimelshein 2018), and backward the logits are computed
once more. All sums are float32.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pivot_jax.policy.mesh import Rules, mesh_axes
from pivot_jax.policy.project import token_axes

LOGITS_HELD = 2**26
"""Logits that a device computes at a time, 256 MiB; a smaller product is done in one part."""

LEAST_WORDS = 128
"""Words of a part, at least: narrower products leave a matrix unit idle."""


def chosen_logprobs(
    hidden: Float[Array, "... D"],
    table: Float[Array, "D V"],
    tokens: Int[Array, ...],
    rules: Rules,
    held: int = LOGITS_HELD,
) -> Float[Array, ...]:
    """log softmax(hidden · table)[token], float32; V may be split over devices.

    Args:
        hidden: final hidden states, `[N, S, D]` or `[N, B, T, D]`, in the compute dtype.
        table: the unembedding, where it is computed on, in the compute dtype.
        tokens: one word for each hidden state.
        rules: the rule table.
        held: logits that a device may hold.

    Raises:
        ValueError: the rules split the embedding while it is computed on, or words and tokens over one mesh axis.
    """
    lead = token_axes(tokens.ndim)
    rules.computed(*lead, "vocab")  # refuses a mesh axis over which devices would hold other words of other tokens
    if mesh_axes(rules.computed("embed")):
        raise ValueError("mesh.rules.embed: logits are products of whole embeddings; leave its computed axes empty")
    of_tokens, of_words = mesh_axes(rules.computed(*lead)), mesh_axes(rules.computed("vocab"))

    def local(hidden: Array, table: Array, tokens: Array) -> Array:
        # every device adds its own part to both gradients, so these are summed here, on the way back
        hidden = jax.lax.pcast(hidden, of_words, to="varying") if of_words else hidden
        table = jax.lax.pcast(table, of_tokens, to="varying") if of_tokens else table
        first = jax.lax.axis_index(of_words) * table.shape[1] if of_words else 0
        rows, words = hidden.reshape(-1, hidden.shape[-1]), tokens.reshape(-1) - first
        width = min(words_at_once(rows.shape[0], held), table.shape[1])
        chosen, log_total = _in_parts(rows, table, words, width)
        if of_words:
            top = jax.lax.pmax(jax.lax.stop_gradient(log_total), of_words)
            log_total = top + jnp.log(jax.lax.psum(jnp.exp(log_total - top), of_words))
            chosen = jax.lax.psum(chosen, of_words)
        return (chosen - log_total).reshape(tokens.shape)

    return jax.shard_map(
        local,
        in_specs=(rules.computed(*lead, "embed"), rules.computed("embed", "vocab"), rules.computed(*lead)),
        out_specs=rules.computed(*lead),
    )(hidden, table, tokens)


def words_at_once(rows: int, held: int) -> int:
    """Words of a part, so that a device with this many rows holds at most `held` logits (but `LEAST_WORDS` a row)."""
    return max(held // rows // LEAST_WORDS, 1) * LEAST_WORDS


def _chosen_and_total(
    rows: Float[Array, "t D"], table: Float[Array, "D v"], words: Int[Array, " t"], width: int
) -> tuple[Float[Array, " t"], Float[Array, " t"]]:
    """The logit of each row's word (0 if it is none of these v) and log Σ exp(logit) over them, `width` at a time."""
    return _forward(rows, table, words, width)[0]


def _forward(rows: Array, table: Array, words: Array, width: int):
    first, later = _parts(table.shape[1], width)

    def part(begin: Array | int, size: int) -> tuple[Array, Array, Array]:
        logits = _logits(rows, table, begin, size)
        top = jnp.max(logits, axis=-1)
        return _pick(logits, words - begin), top, jnp.sum(jnp.exp(logits - top[:, None]), axis=-1)

    def step(i: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        chosen, top, total = carry
        added, own_top, own_total = part(first + i * width, width)
        raised = jnp.maximum(top, own_top)
        return chosen + added, raised, total * jnp.exp(top - raised) + own_total * jnp.exp(own_top - raised)

    chosen, top, total = jax.lax.fori_loop(0, later, step, part(0, first))
    log_total = top + jnp.log(total)
    return (chosen, log_total), (rows, table, words, log_total)


def _backward(width: int, residuals, gradients: tuple[Array, Array]):
    rows, table, words, log_total = residuals
    of_chosen, of_total = gradients
    first, later = _parts(table.shape[1], width)

    def part(begin: Array | int, size: int) -> tuple[Array, Array]:
        softmax = jnp.exp(_logits(rows, table, begin, size) - log_total[:, None])
        of_logits = of_total[:, None] * softmax + jnp.where(_is(words - begin, size), of_chosen[:, None], 0.0)
        of_logits = of_logits.astype(rows.dtype)  # as the compute dtype says; the products below sum in float32
        columns = jax.lax.dynamic_slice_in_dim(table, begin, size, axis=1)
        of_rows = jnp.einsum("tv,dv->td", of_logits, columns, preferred_element_type=jnp.float32)
        of_columns = jnp.einsum("td,tv->dv", rows, of_logits, preferred_element_type=jnp.float32)
        return of_rows, of_columns.astype(table.dtype)

    def step(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        of_rows, of_table = carry
        begin = first + i * width
        more, of_columns = part(begin, width)
        return of_rows + more, jax.lax.dynamic_update_slice_in_dim(of_table, of_columns, begin, axis=1)

    of_rows, of_columns = part(0, first)
    begin = of_rows, jnp.pad(of_columns, ((0, 0), (0, table.shape[1] - first)))
    of_rows, of_table = jax.lax.fori_loop(0, later, step, begin)
    return of_rows.astype(rows.dtype), of_table, None


_in_parts = jax.custom_vjp(_chosen_and_total, nondiff_argnums=(3,))
_in_parts.defvjp(_forward, _backward)


def _parts(words: int, width: int) -> tuple[int, int]:
    """Words of the first part, at most `width`, and how many parts of exactly `width` follow it."""
    later = -(-words // width) - 1
    return words - later * width, later


def _logits(rows: Array, table: Array, begin: Array | int, size: int) -> Float[Array, "t size"]:
    columns = jax.lax.dynamic_slice_in_dim(table, begin, size, axis=1)
    return jnp.einsum("td,dv->tv", rows, columns, preferred_element_type=jnp.float32)


def _is(words: Int[Array, " t"], size: int) -> Array:
    """True at each row's word. A comparison, not a gather: it needs no scatter on the way back."""
    return words[:, None] == jnp.arange(size)[None]


def _pick(logits: Float[Array, "t size"], words: Int[Array, " t"]) -> Float[Array, " t"]:
    return jnp.sum(logits, axis=-1, where=_is(words, logits.shape[1]))
