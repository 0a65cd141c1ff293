"""Guards against rewards that teach the wrong thing: cut-off actions, talking instead of acting, surplus calls."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

ROUNDING = 1e-6
"""How far a share may be exceeded, so that a share met exactly (53 rows of 100 at 0.53) is not lost to rounding."""


def drop_cut_off(mask: Bool[Array, "G T"], finished: Bool[Array, " G"]) -> Bool[Array, "G T"]:
    """Action mask without the actions that met the length limit (overlong filtering).

    Their reward speaks of the limit, not of the tokens. They still count in the group's mean unless `valid` says
    otherwise.
    """
    return mask & finished[:, None]


def cap_message_share(
    is_message: Bool[Array, " P"], present: Bool[Array, " P"], priority: Float[Array, " P"], share: float
) -> Bool[Array, " P"]:
    """Rows to keep so that message rows are at most `share` of what is kept.

    Some verifiers score any text 1 on message turns, and the policy drifts to talking. All rows with a tool call are
    kept; of the message rows, those of highest priority (the earlier row on a tie).

    Args:
        is_message: True where the expert action is a plain message.
        present: False for a row that carries nothing (padding, or no judged action): not kept, not counted.
        priority: of each row, finite.
        share: largest share of message rows, in [0, 1]; 1 keeps all. With less, a batch of messages alone keeps none.
    """
    messages = is_message & present
    calls = jnp.sum(~is_message & present, dtype=priority.dtype)
    order = jnp.argsort(jnp.where(messages, -priority, jnp.inf), stable=True)
    place = jnp.argsort(order).astype(priority.dtype) + 1
    within = place <= (share + ROUNDING) * (calls + place)
    return present & (~is_message | within)


def penalise_surplus_calls(
    rewards: Float[Array, " G"], surplus_calls: Int[Array, " G"], penalty: float
) -> Float[Array, " G"]:
    """Rewards scaled by `max(0, 1 - penalty × surplus)`, surplus being the tool calls beyond the expert's.

    Surplus calls are free where a verifier only looks for the expected one. Scaling takes from successes alone: a
    failed action stays at 0, and failures are not ranked by how much they call.
    """
    return rewards * jnp.maximum(1 - penalty * surplus_calls.astype(rewards.dtype), 0.0)
