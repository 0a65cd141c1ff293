"""bfloat16 compute: where it is, where it is not, and errors no larger than its rounding explains.

`U` is half the distance of neighbouring bfloat16 numbers: what one rounding adds, relative to the value. Each float32
island is compared with float64 on the same bfloat16 inputs, within a bound from the roundings that it has; the same
sum without the island breaks the bound, so a lost island fails the test.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

from pivot_jax.config import OptimizerSection
from pivot_jax.pipeline.grpo import grpo_update
from pivot_jax.pipeline.optimizer import initial_state
from pivot_jax.policy.attention import branch_attention, trunk_attention
from pivot_jax.policy.decoder import rms_norm
from pivot_jax.policy.log_softmax import chosen_logprobs
from pivot_jax.policy.logprobs import branch_logprobs
from pivot_jax.policy.mesh import make_mesh, to_mesh
from pivot_jax.policy.moe import route
from tests.pipeline.test_grpo import LossSection, host_batch, on_mesh
from tests.policy.test_decoder import inputs
from tests.policy.tiny import DENSE, MIXED, MOE, RULES, policy

U, U32 = 2.0**-8, 2.0**-24
NARROW, NARROW_MOE = (arch.model_copy(update={"dtype": "bfloat16"}) for arch in (DENSE, MOE))


def drawn(shape: tuple[int, ...], seed: int, scale: float = 1.0) -> np.ndarray:
    """Normal numbers that bfloat16 holds exactly."""
    values = scale * np.random.default_rng(seed).normal(size=shape)
    return np.asarray(jnp.asarray(values, jnp.bfloat16))


def products(jaxpr, found: list | None = None) -> list[tuple[str, ...]]:
    """Dtypes of both operands of every matrix product in a program, in its loops and calls too."""
    found = [] if found is None else found
    for equation in jaxpr.jaxpr.eqns if isinstance(jaxpr, ClosedJaxpr) else jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "ragged_dot_general"):
            found.append(tuple(str(operand.aval.dtype) for operand in equation.invars[:2]))
        for value in jax.tree.leaves(equation.params, is_leaf=lambda leaf: isinstance(leaf, ClosedJaxpr | Jaxpr)):
            if isinstance(value, ClosedJaxpr | Jaxpr):
                products(value, found)
    return found


@pytest.mark.parametrize(("arch", "wide"), [(NARROW, 0), (NARROW_MOE, 4)], ids=["dense", "moe"])
def test_every_product_is_bfloat16_but_those_of_the_router(arch, wide):
    """With experts two a forward pass are float32, of trunks and branches: the router's, and the weighted sum of its
    choices."""
    mesh, params = policy(arch)
    with jax.set_mesh(mesh):
        program = jax.make_jaxpr(lambda p, t, b: branch_logprobs(p, t, b, arch, RULES))(params, *inputs(mesh))
    found = products(program)
    assert len(found) > 15 and found.count(("float32", "float32")) == wide
    assert set(found) - {("float32", "float32")} == {("bfloat16", "bfloat16")}


@pytest.mark.parametrize("arch", [NARROW, NARROW_MOE], ids=["dense", "moe"])
def test_parameters_gradients_and_moments_are_float32(arch):
    """By the types of a whole step, which no run can change; gradients are what the moments are made of."""
    mesh, params = policy(arch)
    optimizer = OptimizerSection()
    with jax.set_mesh(mesh):
        batch = on_mesh(host_batch(), mesh)
        reference = batch.behavior_logprobs

        def gradient(params):
            return jax.grad(lambda p: jnp.sum(branch_logprobs(p, *inputs(mesh), arch, RULES)))(params)

        state = initial_state(params, optimizer)
        after, metrics = jax.eval_shape(
            lambda state: grpo_update(
                state, None, batch, reference,
                loss=LossSection(), optimizer=optimizer, arch=arch, rules=RULES, micro_batches=2,
            ),
            state,
        )  # fmt: skip
        gradients = jax.eval_shape(gradient, params)
    before = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == before
    floats = [leaf for leaf in jax.tree.leaves((after, gradients, metrics)) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    assert len(floats) > 30 and {str(leaf.dtype) for leaf in floats} == {"float32"}


def test_rms_norm_rounds_once():
    x = drawn((64, 4096), 0, 3.0)
    ones = jnp.ones(4096, jnp.float32)
    ours = np.asarray(rms_norm(jnp.asarray(x), ones, 1e-6)).astype(np.float64)
    wide = x.astype(np.float64)
    exact = wide / np.sqrt(np.mean(wide**2, axis=-1, keepdims=True) + 1e-6)
    bound = U * np.abs(exact) * (1 + 2**-10)  # the scale of one multiplies without rounding
    assert (np.abs(ours - exact) <= bound).all()
    squares = jnp.mean(jnp.asarray(x) * jnp.asarray(x), axis=-1, keepdims=True)
    lost = np.asarray(jnp.asarray(x) * jax.lax.rsqrt(squares)).astype(np.float64)
    assert (np.abs(lost - exact) > bound).mean() > 0.01


def test_attention_rounds_weights_and_sums_and_no_score():
    """|error| <= 3 U Σ weight |value|: the weights, the values' sums over trunk and own branch, and their sum."""
    mesh = make_mesh(MIXED)
    N, S, B, T, M, G, H = 8, 12, 2, 4, 4, 2, 8
    shapes = {"q": (N, S, M, G, H), "k": (N, S, M, H), "v": (N, S, M, H),
              "bq": (N, B, T, M, G, H), "bk": (N, B, T, M, H), "bv": (N, B, T, M, H)}  # fmt: skip
    # scores of about 30 · sqrt(H): rounded to bfloat16 they are wrong by a tenth and more
    host = {name: drawn(shape, i, 1.0 if "v" in name else 5.5) for i, (name, shape) in enumerate(shapes.items())}
    axes = {3: ("kv_heads", "heads_per_kv", "head_dim"), 2: ("kv_heads", "head_dim")}
    start = np.full((N, B), 9, np.int32)
    with jax.set_mesh(mesh):
        a = {
            name: to_mesh(value, mesh, RULES, "batch", *(("branch", "token") if name[0] == "b" else ("seq",)),
                          *axes[3 if name.endswith("q") else 2])
            for name, value in host.items()
        }  # fmt: skip
        hung = to_mesh(start, mesh, RULES, "batch", "branch")
        trunk, branch = jax.jit(
            lambda a: (
                trunk_attention(a["q"], a["k"], a["v"], RULES),
                branch_attention(a["bq"], a["k"], a["v"], a["bk"], a["bv"], hung, jnp.int32(0), RULES),
            )
        )(a)
    wide = {name: value.astype(np.float64) for name, value in host.items()}
    causal = np.tril(np.ones((S, S), bool))
    exact, size, lost = attend(wide["q"], wide["k"], wide["v"], causal)
    assert (np.abs(np.asarray(trunk).astype(np.float64) - exact) <= 3 * U * size).all()
    assert (np.abs(lost - exact) > 3 * U * size).mean() > 0.02
    for b in range(B):
        keys, values = (np.concatenate([wide[x][:, :9], wide["b" + x][:, b]], axis=1) for x in "kv")
        visible = np.concatenate([np.ones((T, 9), bool), np.tril(np.ones((T, T), bool))], axis=1)
        exact, size, lost = attend(wide["bq"][:, b], keys, values, visible)
        assert (np.abs(np.asarray(branch)[:, b].astype(np.float64) - exact) <= 3 * U * size).all()
        assert (np.abs(lost - exact) > 3 * U * size).mean() > 0.02


def attend(query, key, value, visible) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Attention in float64, Σ weight |value|, and attention whose scores are rounded to bfloat16."""
    scores = np.einsum("nsmgh,numh->nmgsu", query, key)
    rounded = np.asarray(jnp.asarray(scores, jnp.bfloat16)).astype(np.float64)

    def weights(scores):
        scores = np.where(visible, scores / np.sqrt(query.shape[-1]), -np.inf)
        raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return raised / raised.sum(axis=-1, keepdims=True)

    def out(w, v):
        return np.einsum("nmgsu,numh->nsmgh", w, v)

    return out(weights(scores), value), out(weights(scores), np.abs(value)), out(weights(rounded), value)


def test_log_softmax_is_float32_of_bfloat16_products():
    """The error is that of D + 1 sums in float32 of terms |h| |w|, of V of them in the total, and of the result."""
    N, S, D, V = 8, 4, 64, 512
    hidden, table = drawn((N, S, D), 0), drawn((D, V), 1, 2.0)
    words = np.random.default_rng(2).integers(0, V, (N, S)).astype(np.int32)
    mesh = make_mesh(MIXED)
    with jax.set_mesh(mesh):
        ours = jax.jit(lambda *a: chosen_logprobs(*a, RULES, held=1))(
            to_mesh(hidden, mesh, RULES, "batch", "seq", "embed"),
            to_mesh(table, mesh, RULES, "embed", "vocab"),
            to_mesh(words, mesh, RULES, "batch", "seq"),
        )
    assert ours.dtype == jnp.float32
    logits = hidden.astype(np.float64) @ table.astype(np.float64)
    total = np.log(np.exp(logits - logits.max(axis=-1, keepdims=True)).sum(axis=-1)) + logits.max(axis=-1)
    exact = np.take_along_axis(logits, words[..., None], axis=-1)[..., 0] - total
    largest = np.abs(hidden.astype(np.float64)) @ np.abs(table.astype(np.float64))
    bound = U32 * (2 * (D + 1) * largest.max() + V + np.abs(exact).max())
    assert np.abs(np.asarray(ours) - exact).max() <= bound
    assert np.abs(logits).max() * U > 10 * bound  # which a logit in bfloat16 would break


def test_the_router_is_float32():
    """Relative error of a weight: that of its logit and of the largest, each of D + 1 sums in float32, and of the
    softmax."""
    arch, D = NARROW_MOE, MOE.embed
    x, router = drawn((8, 5, D), 0), np.random.default_rng(1).normal(size=(D, MOE.experts)).astype(np.float32)
    mesh = make_mesh(MIXED)
    with jax.set_mesh(mesh):
        routing = jax.jit(lambda x, r: route(x, r, arch, RULES))(
            to_mesh(x, mesh, RULES, "batch", "seq", "embed"), to_mesh(router, mesh, RULES, "embed", "routed")
        )
    logits = x.astype(np.float64) @ router.astype(np.float64)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    chosen = np.argsort(-softmax, axis=-1)[..., : arch.experts_per_token]
    np.testing.assert_array_equal(np.asarray(routing.experts), chosen)
    weights = np.take_along_axis(softmax, chosen, axis=-1)
    weights /= weights.sum(axis=-1, keepdims=True)
    largest = (np.abs(x.astype(np.float64)) @ np.abs(router.astype(np.float64))).max()
    bound = U32 * (4 * (D + 1) * largest + 4 * MOE.experts)
    assert np.abs(np.asarray(routing.weights) / weights - 1).max() <= bound < U / 8


def test_log_probs_differ_from_float32_by_what_independent_roundings_add_up_to():
    """R roundings on a token's way, each of a relative size of about U / sqrt(6) in the root mean square, move its
    final hidden state by sqrt(R) of that, and a log-prob by as much times the spread of the logits, which is 1 here.
    R is counted by hand and one draw of inputs strays by a tenth, so eight draws must agree with it within a quarter.
    Tokens differ in how much they are moved, so large errors are likelier than a normal law has
    them, but not ten times.
    """
    per_block = 2 + 3 + 2 + 2 + 3 + 5 + 7  # residual sums; norm, scale, ...; q, k, v; rope; attention; MLP; weights
    roundings = 3 + DENSE.layers * per_block  # embedding, final norm, unembedding
    mesh, params = policy()
    with jax.set_mesh(mesh):
        run = jax.jit(branch_logprobs, static_argnums=(3, 4))
        pairs = [[run(params, *inputs(mesh, seed), arch, RULES) for arch in (NARROW, DENSE)] for seed in range(8)]
    errors = np.stack([np.asarray(narrow) - np.asarray(wide) for narrow, wide in pairs])[..., 1:]
    expected = U / np.sqrt(6) * np.sqrt(roundings)
    assert 0.75 * expected < np.sqrt(np.mean(errors**2)) < 1.25 * expected
    assert (np.abs(errors) > 3 * expected).mean() < 0.027
