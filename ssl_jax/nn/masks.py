# SPDX-License-Identifier: Apache-2.0
"""Who sees whom, and how far each position is from the start of its text: what all kernels of attention ask.

B rows, T queries or positions, S keys.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ssl_jax import parallel

MASKED = -1e30  # the score of what is not seen; finite: a row of nothing else gives no NaN


def positions_of(segments: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Each position's distance from the start of its segment: 0, 1, 2, ..., and 0 again at the next."""
    index = jnp.arange(segments.shape[1], dtype=jnp.int32)[None]
    starts = jnp.pad(segments[:, 1:] != segments[:, :-1], ((0, 0), (1, 0)))
    # Whole rows on each device: the numbers of one row are few, and a scan over split ones would send them.
    return parallel.shard(index - jax.lax.cummax(jnp.where(starts, index, 0), axis=1), "batch", None)


def visible(
    q_segments: Int[Array, "B T"],
    k_segments: Int[Array, "B S"],
    q_index: Int[Array, "*B T"],
    k_index: Int[Array, "*B S"],
    *,
    causal: bool,
    window: int | None,
    local: Bool[Array, ""] | bool,
) -> Bool[Array, "B T S"]:
    """Who sees whom.  The indices are places in the row, the same in all rows or a row's own; the window
    counts where local is true."""
    seen = (q_segments[:, :, None] == k_segments[:, None, :]) & (k_segments[:, None, :] != 0)
    distance = q_index[..., :, None] - k_index[..., None, :]
    if causal:
        seen &= distance >= 0
    if window is not None and local is not False:
        near = jnp.abs(distance) <= window
        seen &= near if local is True else near | ~local
    return seen
