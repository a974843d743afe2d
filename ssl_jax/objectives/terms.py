# SPDX-License-Identifier: Apache-2.0
"""Terms that objectives share (device).

B rows, T positions, N predictions a row, P padded vocabulary.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ssl_jax import nn
from ssl_jax.types import Mean


def cross_entropy_terms(
    logits: Float[Array, "B N P"], targets: Int[Array, "B N"], weights: Float[Array, "B N"], vocab_size: int
) -> tuple[Mean, Mean]:
    """Cross entropy in nats and accuracy (coef 0: a metric only) over the true vocabulary.

    total[b, n]  = -w[b, n] * log softmax(logits[b, n, :vocab_size])[targets[b, n]]
    weight[b, n] = w[b, n]

    Entries that only pad the vocabulary never count, neither in the sum of the softmax nor as a guess.
    """
    nll = nn.cross_entropy(logits, targets, vocab_size)
    # A mask and not a slice: a slice would move a vocabulary that is sharded.
    real = jnp.arange(logits.shape[-1]) < vocab_size
    guess = jnp.argmax(jnp.where(real, logits, -jnp.inf), axis=-1)
    hit = (guess == targets).astype(jnp.float32)
    return Mean(nll * weights, weights), Mean(hit * weights, weights, coef=0.0)


def filled(segments: Int[Array, "B T"]) -> Mean:
    """Share of the positions that are not padding (a metric)."""
    real = (segments > 0).astype(jnp.float32)
    return Mean(real, jnp.ones_like(real), coef=0.0)
