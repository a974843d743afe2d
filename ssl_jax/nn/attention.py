# SPDX-License-Identifier: Apache-2.0
"""Attention: one door, several kernels, one definition of who sees whom.

B rows, T queries, S keys, H query heads in N groups of G (H = N * G; N key-value heads), K head width.
A query sees a key of its own segment (0 is padding and sees nothing), at or before it if causal, and at most
`window` positions away.  All kernels take these masks from one function, so packed documents never meet.
"""

import enum
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from ssl_jax import parallel
from ssl_jax.nn.masks import MASKED, visible
from ssl_jax.nn.precision import precision_of
from ssl_jax.nn.ring import course, ring_attention
from ssl_jax.types import UserError

BLOCK = 512  # queries at a time in Kernel.BLOCKS and RING, by default


class Kernel(enum.Enum):
    """XLA holds all scores, [B, H, T, T].  BLOCKS holds those of one block of queries at a time, forward and
    backward, and in layers with a window only the keys within reach: for long rows.  Same numbers, but
    attention dropout draws other masks.

    Where a row's positions lie on several devices (mesh.context), both gather its keys and values on each of
    them.  RING sends these around instead, a chunk at a time: no device ever holds a whole row's, and layers
    with a window exchange only what is within reach.  On one device RING is BLOCKS.
    """

    XLA = "xla"
    BLOCKS = "blocks"
    RING = "ring"


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
    dropout, key: of the attention weights.  block: queries at a time in BLOCKS and RING (default: BLOCK).
    Raises UserError where the heads do not divide over the mesh.
    """
    _demand_whole_heads(q.shape[2], k.shape[2])
    flag = None if isinstance(local, bool) else local
    options = {
        "causal": causal,
        "window": None if local is False else window,
        "dropout": dropout,
        "block": block or BLOCK,
    }
    row = parallel.split_axes(("length",), q.shape[1:2])
    if not row:
        out = _attend_from(0, q, k, v, segments, flag, key, kernel=kernel, **options)
    else:
        of_q, of_k = (("batch", "length", name, None) for name in ("heads", "kv_heads"))
        part = _ringed if kernel is Kernel.RING else partial(_gathered, kernel=kernel)
        out = parallel.on_each_device(
            partial(part, row, parallel.split_axes(of_q, q.shape), **options),
            (q, k, v, segments, flag, key),
            (of_q, of_k, of_k, ("batch", None), (), ()),
            out=(q.shape, of_q),
        )
    return jnp.where(segments[:, :, None, None] != 0, out, 0)


def _demand_whole_heads(heads: int, groups: int) -> None:
    for name, count in ("heads", heads), ("kv_heads", groups):
        ways = parallel.ways(name)
        if count % ways:
            raise UserError(
                f"model.num_{name}={count} does not divide by mesh.tensor={ways}: take a mesh.tensor that "
                "divides it, and more of mesh.fsdp in its place"
            )


def _attend_from(start, q, k, v, segments, flag, key, *, kernel, causal, window, dropout, block):
    """Queries that stand at start, start + 1, ... of the row of keys.

    window: counts in all layers if flag is None, and otherwise where it is true.
    """
    who = partial(visible, causal=causal)
    queries = jax.lax.dynamic_slice_in_dim(segments, start, q.shape[1], axis=1)
    if kernel is Kernel.XLA or q.shape[1] <= block:
        index = start + jnp.arange(q.shape[1]), jnp.arange(k.shape[1])
        seen = who(queries, segments, *index, window=window, local=True if flag is None else flag)
        return _attend(q, k, v, seen, dropout, key)
    within = lambda reach: _by_blocks(q, k, v, queries, segments, start, who, reach, dropout, key, block)
    return _by_flag(flag, window, within)


def _gathered(row, apart, q, k, v, segments, flag, key, **options):
    """One device's queries, to the keys and values of all.

    row: the mesh axes of a row's positions; apart: those of all that devices have for themselves.
    """
    k, v = (jax.lax.all_gather(x, row, axis=1, tiled=True) for x in (k, v))
    start = jax.lax.axis_index(row) * q.shape[1]
    return _attend_from(start, q, k, v, segments, flag, parallel.own_key(key, apart), **options)


def _ringed(row, apart, q, k, v, segments, flag, key, *, window, **options):
    """One device's queries, to the keys and values that go around."""
    key, size, length = parallel.own_key(key, apart), jax.lax.axis_size(row), q.shape[1]

    def within(reach):
        way = course(row, size, length, window=reach, **options)
        return ring_attention(way, q, k, v, segments, key)

    return _by_flag(flag, window, within)


def _by_flag(
    flag: Bool[Array, ""] | None, window: int | None, within: Callable[[int | None], Array]
) -> Array:
    """within(window), or where a layer's flag is false within(None)."""
    if flag is None or window is None:
        return within(window)
    return jax.lax.cond(flag, lambda: within(window), lambda: within(None))


def _attend(q, k, v, seen, rate, key):
    """q [B, T, H, K], k and v [B, S, N, K], seen [B, T, S] -> [B, T, H, K]; softmax in float32.

    A query that sees nothing gets the mean of v: attention() zeroes it (it can only be padding).
    """
    batch, length, heads, width = q.shape
    groups = k.shape[2]
    precision = precision_of(q.dtype)
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


def _by_blocks(q, k, v, queries, segments, start, who, reach, rate, key, block):
    """_attend for `block` queries at a time, each block's scores computed again in the backward pass.

    queries: the segments of q, which stands at `start` of the row.  reach: how far a query sees, which bounds
    the keys a block needs; None is the whole row.
    """
    length, keys = q.shape[1], k.shape[1]
    if reach is not None:
        block = min(block, max(128, reach))
    num_blocks = -(-length // block)
    spare = num_blocks * block - length
    span = keys if reach is None else min(block + 2 * reach, keys)  # the keys of one block

    def padded(x):
        return jnp.pad(x, ((0, 0), (0, spare)) + ((0, 0),) * (x.ndim - 2))

    def blocks(x):
        return padded(x).reshape(x.shape[0], num_blocks, block, *x.shape[2:]).swapaxes(0, 1)

    @jax.checkpoint
    def one(k, v, q_block, q_segments, number):
        begin = start + number * block
        first = jnp.clip(begin - (reach or 0), 0, keys - span)
        near_k, near_v, k_segments = (
            jax.lax.dynamic_slice_in_dim(x, first, span, axis=1) for x in (k, v, segments)
        )
        index = begin + jnp.arange(block), first + jnp.arange(span)
        seen = who(q_segments, k_segments, *index, window=reach, local=True)
        block_key = None if key is None else jax.random.fold_in(key, number)
        return _attend(q_block, near_k, near_v, seen, rate, block_key)

    out = jax.lax.map(
        lambda xs: one(k, v, *xs), (blocks(q), blocks(queries), jnp.arange(num_blocks, dtype=jnp.int32))
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
