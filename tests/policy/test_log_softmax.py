"""Log-probs of chosen tokens in parts of the vocabulary: values and gradients against float64, and memory."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pivot_jax.policy.log_softmax import chosen_logprobs, words_at_once
from pivot_jax.policy.logprobs import logprobs_at, trunk_logprobs
from pivot_jax.policy.mesh import Rules, make_mesh, to_mesh
from tests.policy.tiny import DATA, DENSE, MIXED, RULES, UNTIED, policy, tokens

N, S, D, V = 8, 6, 16, 1200
# a device of MIXED holds 600 words: in parts of 128 the first has 88 and four follow
IN_PARTS, AT_ONCE = 1, 2**20


def host_inputs(scale: float = 1.0):
    """Hidden states, unembedding, tokens (each end of the vocabulary among them) and weights of a loss."""
    draw = np.random.default_rng(0)
    words = draw.integers(0, V, (N, S)).astype(np.int32)
    words[0, :4] = [0, 599, 600, V - 1]
    hidden, table = draw.normal(size=(N, S, D)), scale * draw.normal(size=(D, V))
    return hidden.astype(np.float32), table.astype(np.float32), words, draw.normal(size=(N, S)).astype(np.float32)


def placed(mesh, hidden, table, words, weights):
    names = ("batch", "seq", "embed"), ("embed", "vocab"), ("batch", "seq"), ("batch", "seq")
    return [to_mesh(a, mesh, RULES, *axes) for a, axes in zip((hidden, table, words, weights), names, strict=True)]


def in_float64(hidden, table, words) -> np.ndarray:
    logits = hidden.astype(np.float64) @ table.astype(np.float64)
    top = logits.max(axis=-1, keepdims=True)
    total = top[..., 0] + np.log(np.exp(logits - top).sum(axis=-1))
    return np.take_along_axis(logits, words[..., None], axis=-1)[..., 0] - total


@pytest.mark.parametrize("held", [IN_PARTS, AT_ONCE])
@pytest.mark.parametrize("shape", [DATA, MIXED], ids=["whole", "split"])
def test_values_and_gradients_equal_float64(shape, held):
    """The gradient of both arguments is that of the logits, weights · (one-hot - softmax), times the other."""
    hidden, table, words, weights = host_inputs()
    mesh = make_mesh(shape)
    with jax.set_mesh(mesh):
        *inputs, of_loss = placed(mesh, hidden, table, words, weights)

        def loss(hidden, table):
            logprobs = chosen_logprobs(hidden, table, inputs[2], RULES, held=held)
            return jnp.sum(of_loss * logprobs), logprobs

        compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
        (_, ours), gradients = compiled(*inputs[:2])
        assert [g.sharding.spec for g in gradients] == [i.sharding.spec for i in inputs[:2]]
    np.testing.assert_allclose(np.asarray(ours), in_float64(hidden, table, words), rtol=2e-6, atol=2e-6)
    logits = hidden.astype(np.float64) @ table
    softmax = np.exp(logits - logits.max(axis=-1, keepdims=True))
    softmax /= softmax.sum(axis=-1, keepdims=True)
    of_logits = weights[..., None] * (np.eye(V)[words] - softmax)
    expected = of_logits @ table.T.astype(np.float64), np.einsum("nsd,nsv->dv", hidden.astype(np.float64), of_logits)
    for mine, theirs in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(np.asarray(mine), theirs, atol=2e-6 * np.abs(theirs).max(), rtol=0)


def test_logits_of_a_thousand_neither_overflow_nor_lose_the_difference():
    hidden, table, words, _ = host_inputs(scale=400.0)
    mesh = make_mesh(MIXED)
    with jax.set_mesh(mesh):
        inputs = placed(mesh, hidden, table, words, words)[:3]
        ours = np.asarray(jax.jit(lambda *a: chosen_logprobs(*a, RULES, held=IN_PARTS))(*inputs))
    expected = in_float64(hidden, table, words)
    assert np.isfinite(ours).all() and expected.min() < -5000
    # of D products and their sum, each rounded to float32
    np.testing.assert_allclose(ours, expected, rtol=0, atol=D * 2**-24 * np.abs(hidden @ table).max())


def test_memory_is_that_of_a_part():
    """Compiled alone: neither values nor gradients hold all logits, nor anything else of that size."""
    mesh = make_mesh(MIXED)
    rows, words, part = 512 // 4, 8192 // 2, 128  # of one device
    shapes = {"hidden": ((8, 64, D), ("batch", "seq", "embed")), "table": ((D, 8192), ("embed", "vocab"))}
    with jax.set_mesh(mesh):
        args = [
            jax.ShapeDtypeStruct(shape, jnp.float32, sharding=jax.NamedSharding(mesh, RULES.computed(*axes)))
            for shape, axes in shapes.values()
        ]
        target = jax.ShapeDtypeStruct(
            (8, 64), jnp.int32, sharding=jax.NamedSharding(mesh, RULES.computed("batch", "seq"))
        )

        def planned(held: int) -> int:
            step = jax.jit(
                jax.grad(lambda h, t, w: jnp.sum(chosen_logprobs(h, t, w, RULES, held=held)), argnums=(0, 1))
            )
            return step.lower(*args, target).compile().memory_analysis().temp_size_in_bytes

        in_parts, at_once = planned(rows * part), planned(AT_ONCE)
    logits = 4 * rows * words
    gradient_of_table = 4 * D * words
    assert at_once > logits > 6 * gradient_of_table
    # the table, its gradient before and after it is summed over devices, and a few parts of logits
    assert in_parts < 4 * gradient_of_table + 8 * 4 * rows * part


def test_parts_keep_to_what_may_be_held():
    assert words_at_once(1000, 1_000_000) == 896  # the multiple of 128 below 1,000
    assert words_at_once(1000, 1) == 128 and words_at_once(1, 10**6) == 999_936


@pytest.mark.parametrize("arch", [DENSE, UNTIED], ids=["tied", "untied"])
def test_log_probs_at_places_are_those_of_all_tokens_there(arch):
    """Values, and the gradient of every parameter; place 0 has none."""
    mesh, params = policy(arch)
    places = np.sort(tokens((8, 5), seed=3, high=14), axis=1)
    places[:2, :2] = 0
    weights = np.random.default_rng(1).normal(size=places.shape).astype(np.float32)
    everywhere = np.zeros((8, 14), np.float32)
    np.add.at(everywhere, (np.arange(8)[:, None], places), np.where(places > 0, weights, 0))
    with jax.set_mesh(mesh):
        trunks, at, few, all_ = (
            to_mesh(a, mesh, RULES, "batch", "seq") for a in (tokens((8, 14)), places, weights, everywhere)
        )

        @jax.jit
        def both(params):
            chosen, some = jax.value_and_grad(lambda p: jnp.sum(few * logprobs_at(p, trunks, at, arch, RULES)))(params)
            whole, of_all = jax.value_and_grad(lambda p: jnp.sum(all_ * trunk_logprobs(p, trunks, arch, RULES)))(params)
            return (chosen, some), (whole, of_all), logprobs_at(params, trunks, at, arch, RULES)

        ours, theirs, values = both(params)
    assert (np.asarray(values)[places == 0] == 0).all() and (np.asarray(values)[places > 0] < 0).all()
    for mine, plain in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        plain = np.asarray(plain)
        np.testing.assert_allclose(np.asarray(mine), plain, atol=3e-6 * np.abs(plain).max(), rtol=0)


@pytest.mark.parametrize(
    ("axis", "rule", "message"),
    [("embed", ("tensor",), r"mesh\.rules\.embed"), ("seq", ("tensor",), r"mesh.*(twice|tensor)")],
)
def test_a_rule_that_splits_the_embedding_or_tokens_as_words_are_split_is_refused(axis, rule, message):
    rules = Rules.make({axis: ((), rule)})
    with pytest.raises(ValueError, match=message):
        chosen_logprobs(jnp.zeros((8, 2, D)), jnp.zeros((D, 4)), jnp.zeros((8, 2), jnp.int32), rules)
