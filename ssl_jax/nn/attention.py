# SPDX-License-Identifier: Apache-2.0
"""Attention: one door, several kernels, one definition of who sees whom.

B rows, T queries, S keys, H query heads in N groups of G (H = N * G; N key-value heads), K head width.
A query sees a key of its own segment (0 is padding and sees nothing), at or before it if causal, and at most
`window` positions away.  All kernels take these masks from one function, so packed documents never meet.
"""

import enum
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

BLOCK = 512  # queries at a time in Kernel.BLOCKS, by default
MASKED = -1e30  # finite: a row of nothing else gives no NaN


class Kernel(enum.Enum):
    """XLA holds all scores, [B, H, T, T].  BLOCKS holds those of one block of queries at a time, forward and
    backward, and in layers with a window only the keys within reach: for long rows.  Same numbers, but
    attention dropout draws other masks."""

    XLA = "xla"
    BLOCKS = "blocks"


def positions_of(segments: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Each position's distance from the start of its segment: 0, 1, 2, ..., and 0 again at the next."""
    index = jnp.arange(segments.shape[1], dtype=jnp.int32)[None]
    starts = jnp.pad(segments[:, 1:] != segments[:, :-1], ((0, 0), (1, 0)))
    return index - jax.lax.cummax(jnp.where(starts, index, 0), axis=1)


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


def attention(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B T N K"],
    v: Float[Array, "B T N K"],
    segments: Int[Array, "B T"],
    *,
    causal: bool,
    window: int | None = None,
    local: Bool[Array, ""] | bool = True,
    kernel: Kernel = Kernel.XLA,
    dropout: float = 0.0,
    key: Key[Array, ""] | None = None,
    block: int | None = None,
) -> Float[Array, "B T H K"]:
    """softmax(q k^T / sqrt(K)) v over the visible keys (Vaswani et al. 2017, sec. 3.2); zeros at padding.

    window: how far a position sees, where local says so (a traced flag lets layers of one scan differ).
    dropout, key: of the attention weights.  block: queries at a time in Kernel.BLOCKS (default: BLOCK).
    """
    block = block or BLOCK
    who = partial(visible, causal=causal, window=window)
    if kernel is Kernel.XLA or q.shape[1] <= block:
        index = jnp.arange(q.shape[1])
        out = _attend(q, k, v, who(segments, segments, index, index, local=local), dropout, key)
    elif window is None or isinstance(local, bool):
        reach = window if local else None
        out = _by_blocks(q, k, v, segments, who, reach, dropout, key, block)
    else:
        near, far = (partial(_by_blocks, who=who, reach=r, rate=dropout, block=block) for r in (window, None))
        out = jax.lax.cond(
            local, lambda *a: near(*a, key=key), lambda *a: far(*a, key=key), q, k, v, segments
        )
    return jnp.where(segments[:, :, None, None] != 0, out, 0)


def _attend(q, k, v, seen, rate, key):
    """q [B, T, H, K], k and v [B, S, N, K], seen [B, T, S] -> [B, T, H, K]; softmax in float32.

    A query that sees nothing gets the mean of v: attention() zeroes it (it can only be padding).
    """
    batch, length, heads, width = q.shape
    groups = k.shape[2]
    precision = jax.lax.Precision.HIGHEST if q.dtype == jnp.float32 else jax.lax.Precision.DEFAULT
    # Heads before positions: XLA's CPU backend copies less, and has no bfloat16 product in the other order.
    q = q.reshape(batch, length, groups, heads // groups, width).transpose(0, 2, 3, 1, 4)
    k, v = k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)
    scores = jnp.einsum("bngtk,bnsk->bngts", q, k, precision=precision, preferred_element_type=jnp.float32)
    scores = jnp.where(seen[:, None, None], scores * width**-0.5, MASKED)
    weights = jax.nn.softmax(scores, axis=-1)
    if key is not None and rate > 0.0:
        kept = jax.random.bernoulli(key, 1.0 - rate, weights.shape)
        weights = jnp.where(kept, weights / (1.0 - rate), 0.0)
    out = jnp.einsum("bngts,bnsk->bngtk", weights.astype(v.dtype), v, precision=precision)
    return out.transpose(0, 3, 1, 2, 4).reshape(batch, length, heads, width)


def _by_blocks(q, k, v, segments, who, reach, rate, key, block):
    """_attend for `block` queries at a time, each block's scores computed again in the backward pass.

    reach: how far a query sees, which bounds the keys a block needs; None is the whole row.
    """
    length = q.shape[1]
    if reach is not None:
        block = min(block, max(128, reach))
    num_blocks = -(-length // block)
    reach = length if reach is None else reach
    spare = num_blocks * block - length
    span = min(block + 2 * reach, length)  # the keys of one block

    def padded(x):
        return jnp.pad(x, ((0, 0), (0, spare)) + ((0, 0),) * (x.ndim - 2))

    def blocks(x):
        return padded(x).reshape(x.shape[0], num_blocks, block, *x.shape[2:]).swapaxes(0, 1)

    @jax.checkpoint
    def one(k, v, q_block, q_segments, number):
        first = jnp.clip(number * block - reach, 0, length - span)
        near_k, near_v, k_segments = (
            jax.lax.dynamic_slice_in_dim(x, first, span, axis=1) for x in (k, v, segments)
        )
        q_index = number * block + jnp.arange(block)
        seen = who(q_segments, k_segments, q_index, first + jnp.arange(span), local=reach < length)
        block_key = None if key is None else jax.random.fold_in(key, number)
        return _attend(q_block, near_k, near_v, seen, rate, block_key)

    out = jax.lax.map(
        lambda xs: one(k, v, *xs), (blocks(q), blocks(segments), jnp.arange(num_blocks, dtype=jnp.int32))
    )
    return out.swapaxes(0, 1).reshape(q.shape[0], -1, *q.shape[2:])[:, :length]


class Cache(NamedTuple):
    """Keys and values of what was read before: slot s holds position s of each row.

    In a stack the layers' lie on a leading axis.
    """

    keys: Float[Array, "*layers B S N K"]
    values: Float[Array, "*layers B S N K"]

    def write(self, new: "Cache", positions: Int[Array, "B T"]) -> "Cache":
        """All layers' keys and values [L, B, T, N, K] of the consecutive positions, put into their slots.

        Row by row, which XLA does in place: on CPU one scatter of all rows took ten times the whole step.
        """

        def row(b: Int[Array, ""], cache: Cache) -> Cache:
            def put(old, new):
                mine = jax.lax.dynamic_slice_in_dim(new, b, 1, axis=1)
                return jax.lax.dynamic_update_slice(old, mine, (0, b, positions[b, 0], 0, 0))

            return Cache(*map(put, cache, new))

        return jax.lax.fori_loop(0, positions.shape[0], row, self)


def attention_after(
    q: Float[Array, "B T H K"],
    new: Cache,
    past: Cache,
    positions: Int[Array, "B T"],
    *,
    window: int | None,
    local: Bool[Array, ""] | bool,
) -> Float[Array, "B T H K"]:
    """Causal attention of T consecutive positions to themselves (new) and to all before them (past).

    The slots of past from a row's first new position on are not seen, whatever they hold.
    """
    slots = jnp.arange(past.keys.shape[1], dtype=jnp.int32)
    before = (slots < positions[:, :1]).astype(jnp.int32)
    here = jnp.ones_like(positions)
    seen = visible(
        here,
        jnp.concatenate([before, here], axis=1),
        positions,
        jnp.concatenate([jnp.broadcast_to(slots, before.shape), positions], axis=1),
        causal=True,
        window=window,
        local=local,
    )
    keys, values = (jnp.concatenate(both, axis=1) for both in zip(past, new))
    return _attend(q, keys, values, seen, 0.0, None)


def rope_frequencies(theta: float, head_dim: int) -> np.ndarray:
    """theta^(-2i / K) for i in [0, K/2), float32 (Su et al. 2021, eq. 15)."""
    return (theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)).astype(np.float32)


def rotate(
    x: Float[Array, "B T H K"], positions: Int[Array, "B T"], frequencies: Float[Array, " half"]
) -> Float[Array, "B T H K"]:
    """RoPE (Su et al. 2021), pairs (i, i + K/2): each turned by position * frequency, in float32."""
    angles = positions[:, :, None, None].astype(jnp.float32) * frequencies
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)
