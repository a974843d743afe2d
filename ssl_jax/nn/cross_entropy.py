# SPDX-License-Identifier: Apache-2.0
"""Cross entropy over a padded vocabulary."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@partial(jax.checkpoint, static_argnums=2)  # keeps the logits alone: no float32 copy waits for the backward
def cross_entropy(
    logits: Float[Array, "*lead V"], targets: Int[Array, "*lead"], vocab_size: int
) -> Float[Array, "*lead"]:
    """-log softmax(logits)[target] in nats, each position its own: log sum_v exp(l_v) - l_target, float32.

    Only the first vocab_size entries count; logits may be bfloat16.  The target is picked by comparison, not
    by index: the vocabulary may be sharded, and the gradient is no scatter.
    """
    entries = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
    logits = jnp.where(entries < vocab_size, logits.astype(jnp.float32), -jnp.inf)
    picked = jnp.sum(jnp.where(entries == targets[..., None], logits, 0.0), axis=-1)
    return jax.nn.logsumexp(logits, axis=-1) - picked
