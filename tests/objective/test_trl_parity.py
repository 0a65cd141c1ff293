"""Our surrogates, divergence and aggregations against TRL's GRPO loss on the same numbers (extra `parity`)."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pivot_jax.config import LossSection
from pivot_jax.objective.aggregation import divide
from pivot_jax.pipeline.action_loss import action_terms, total

B, T, CONSTANT = 6, 5, 9
TOLERANCE = 1e-5

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "grpo": ({"loss_type": "grpo"}, {"aggregation": "sequence"}),
    "bnpo": ({"loss_type": "bnpo"}, {"aggregation": "token"}),
    "dapo": ({"loss_type": "dapo", "epsilon_high": 0.28}, {"aggregation": "token", "clip_high": 0.28}),
    "dr_grpo": ({"loss_type": "dr_grpo"}, {"aggregation": "constant", "constant_length": CONSTANT}),
    "two_sided": ({"loss_type": "grpo", "delta": 1.5}, {"dual_clip": 1.5}),
    "kl": ({"loss_type": "grpo", "beta": 0.1}, {"kl_coef": 0.1}),
    "kl_weighted": (
        {"loss_type": "bnpo", "beta": 0.1, "use_bias_correction_kl": True},
        {"kl_coef": 0.1, "kl_weighted": True, "aggregation": "token"},
    ),
    "sequence": ({"loss_type": "grpo", "importance_sampling_level": "sequence"}, {"surrogate": "gspo"}),
    "sequence_narrow": (
        {
            "loss_type": "dr_grpo",
            "importance_sampling_level": "sequence",
            "epsilon_low": 0.03,
            "epsilon_high": 0.04,
            "beta": 0.1,
        },
        {
            "surrogate": "gspo",
            "clip_low": 0.03,
            "clip_high": 0.04,
            "kl_coef": 0.1,
            "aggregation": "constant",
            "constant_length": CONSTANT,
        },
    ),
    # its bound is on the weight itself, ours on the distance from 1
    "cispo": (
        {"loss_type": "cispo", "epsilon_high": 1.3},
        {"surrogate": "cispo", "clip_low": 1.0, "clip_high": 0.3, "aggregation": "token"},
    ),
}


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    logprobs = rng.normal(-1.5, 0.5, (B, T))
    lengths = rng.integers(1, T + 1, (B, 1))
    return {
        "logprobs": logprobs,
        "old": logprobs + rng.normal(0, 0.4, (B, T)),
        "reference": logprobs + rng.normal(0, 0.4, (B, T)),
        "mask": np.arange(T)[None] < lengths,
        "advantages": rng.normal(0, 1, B),
    }


def theirs(options: dict[str, Any]) -> tuple[float, np.ndarray]:
    """TRL's loss and its gradient with respect to the log-probs, on a trainer that holds nothing but options."""
    torch = pytest.importorskip("torch")
    grpo = pytest.importorskip("trl.trainer.grpo_trainer")
    settings = {
        "loss_type": "grpo", "beta": 0.0, "epsilon_low": 0.2, "epsilon_high": 0.2, "delta": None,
        "importance_sampling_level": "token", "use_bias_correction_kl": False, **options,
    }  # fmt: skip
    data = {name: torch.tensor(values) for name, values in arrays().items()}
    logprobs = data["logprobs"].requires_grad_()
    alone = SimpleNamespace(gather=lambda x: x, reduce=lambda x, reduction: x, num_processes=1)
    trainer = SimpleNamespace(
        **{name: settings[name] for name in ("loss_type", "beta", "epsilon_low", "epsilon_high")},
        importance_sampling_level=settings["importance_sampling_level"],
        args=SimpleNamespace(
            delta=settings["delta"],
            use_bias_correction_kl=settings["use_bias_correction_kl"],
            steps_per_generation=1,
        ),
        model=SimpleNamespace(training=True),
        accelerator=alone,
        max_completion_length=CONSTANT,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        aux_loss_enabled=False,
        current_gradient_accumulation_steps=1,
        _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda *args, **kwargs: (logprobs, torch.zeros_like(logprobs), None),
    )
    ids = torch.zeros((B, T), dtype=torch.int64)
    inputs = {
        "prompt_ids": ids[:, :1],
        "prompt_mask": torch.ones_like(ids[:, :1]),
        "completion_ids": ids,
        "completion_mask": data["mask"].long(),
        "advantages": data["advantages"],
        "old_per_token_logps": data["old"],
        "ref_per_token_logps": data["reference"],
        "num_items_in_batch": data["mask"].sum().to(torch.float64),
    }
    loss = grpo.GRPOTrainer._compute_loss(trainer, None, inputs)
    loss.backward()
    return float(loss.detach()), logprobs.grad.numpy()


def ours(options: dict[str, Any]) -> tuple[float, np.ndarray]:
    """Our loss and gradient on the same arrays, in float32."""
    loss = LossSection(**{"kl_coef": 0.0, **options})
    host = arrays()
    mask = jnp.asarray(host.pop("mask"))
    logprobs, old, reference, advantages = (jnp.asarray(values, jnp.float32) for values in host.values())

    def objective(logprobs: jax.Array) -> jax.Array:
        terms = jax.vmap(lambda *action: action_terms(*action, loss))(logprobs, old, reference, old, mask, advantages)
        return divide(total(terms.surrogate)) + loss.kl_coef * divide(total(terms.divergence))

    value, gradient = jax.jit(jax.value_and_grad(objective))(logprobs)
    return float(value), np.asarray(gradient)


@pytest.mark.parity
@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_agree_with_trl(name):
    trl_options, our_options = CASES[name]
    (expected, expected_gradient), (value, gradient) = theirs(trl_options), ours(our_options)
    np.testing.assert_allclose(value, expected, rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=TOLERANCE)
