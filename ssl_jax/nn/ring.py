# SPDX-License-Identifier: Apache-2.0
"""Ring attention (Liu et al. 2023, arXiv:2310.01889, sec. 3): each device keeps its queries, and the keys and
values go around.

Everything here is one device's part, inside shard_map.  The row lies on the ring in order: b rows, t queries
and t keys on each device, N key-value heads, each for G query heads, K head width.  A device holds its own
keys, one chunk of another's, and the scores of one block of queries (n blocks of q) against that chunk; the
backward pass goes around again and computes the scores anew, while the gradients travel with their keys.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ssl_jax.nn.masks import MASKED, visible
from ssl_jax.nn.precision import precision_of


@dataclass(frozen=True)
class Course:
    """Which chunks a device meets, and what its queries see of them; static.

    Device i meets the chunks of devices i - first, i - first - 1, ..., count of them, around the ring.
    """

    axes: tuple[str, ...]  # of the mesh; the ring
    size: int
    first: int
    count: int
    causal: bool
    window: int | None
    dropout: float
    block: int  # queries at a time

    def turned(self, shift: int, *arrays: Array) -> tuple[Array, ...]:
        """Each array from the device `shift` places before."""
        if shift % self.size == 0:
            return arrays
        pairs = [(i, (i + shift) % self.size) for i in range(self.size)]
        return tuple(jax.lax.ppermute(x, self.axes, pairs) for x in arrays)


def course(
    axes: tuple[str, ...],
    size: int,
    length: int,
    *,
    causal: bool,
    window: int | None,
    dropout: float,
    block: int,
) -> Course:
    """The shortest way around that shows every visible key; length: positions of one device.

    A window reaches so many neighbours, and what lies further is never sent.
    """
    first, count = 0, size
    if window is not None:
        hops = -(-window // length)
        first, count = (0, hops + 1) if causal else (-hops, 2 * hops + 1)
        if count >= size:
            first, count = 0, size
    return Course(axes, size, first, count, causal, window, dropout, min(block, length))


def ring_attention(
    course: Course,
    q: Float[Array, "b t H K"],
    k: Float[Array, "b t N K"],
    v: Float[Array, "b t N K"],
    segments: Int[Array, "b T"],
    key: Key[Array, ""] | None,
) -> Float[Array, "b t H K"]:
    """One device's part of the row's attention; zeros where nothing is visible.

    segments: of the whole row.  key: the device's own, for the dropout of attention weights.
    """
    batch, length, heads, width = q.shape
    groups = k.shape[2]
    spare = -length % course.block

    blocks = jnp.pad(q, ((0, 0), (0, spare), (0, 0), (0, 0)))
    blocks = blocks.reshape(batch, -1, course.block, groups, heads // groups, width)
    out = _ring(
        course, blocks.transpose(1, 0, 3, 4, 2, 5), *(x.transpose(0, 2, 1, 3) for x in (k, v)), segments, key
    )
    return out.transpose(1, 0, 4, 2, 3, 5).reshape(batch, -1, heads, width)[:, :length]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _ring(course, q, k, v, segments, key):
    """q [n, b, N, G, q, K]; k, v [b, N, t, K]; segments [b, T] -> [n, b, N, G, q, K]."""
    return _forward(course, q, k, v, segments, key)[0]


def _forward(course, q, k, v, segments, key):
    def meet(state, k, v, step):
        def one(xs):
            (top, total, out), q, number = xs
            scores, seen, kept = _scores(course, q, k, segments, key, step, number)
            higher = jnp.maximum(top, jnp.max(scores, axis=-1))
            fade = jnp.exp(top - higher)
            weights = jnp.where(seen, jnp.exp(scores - higher[..., None]), 0.0)
            added = _einsum("bngqs,bnsk->bngqk", (weights * kept).astype(v.dtype), v)
            return higher, total * fade + jnp.sum(weights, axis=-1), out * fade[..., None] + added

        return jax.lax.map(one, (state, q, jnp.arange(len(q), dtype=jnp.int32)))

    def go_on(carry, step):
        k, v = course.turned(1, *carry[:2])
        return (k, v, meet(carry[2], k, v, step)), None

    at_first = course.turned(course.first, k, v)
    nothing = _zeros_like(q)
    state = meet((nothing[..., 0] + MASKED, nothing[..., 0], nothing), *at_first, jnp.int32(0))
    steps = jnp.arange(1, course.count, dtype=jnp.int32)
    (_, _, (top, total, out)), _ = jax.lax.scan(go_on, (*at_first, state), steps)
    total = jnp.where(total > 0, total, 1.0)
    out = (out / total[..., None]).astype(q.dtype)
    return out, (q, k, v, segments, key, out, top + jnp.log(total))


def _backward(course, saved, gradient):
    q, k, v, segments, key, out, log_total = saved
    gradient = gradient.astype(jnp.float32)
    drift = jnp.sum(gradient * out, axis=-1)

    def meet(k, v, gradient_k, gradient_v, step):
        def one(gradients, xs):
            q, g, drift, log_total, number = xs
            scores, seen, kept = _scores(course, q, k, segments, key, step, number)
            weights = jnp.where(seen, jnp.exp(scores - log_total[..., None]), 0.0)
            g = g.astype(q.dtype)
            of_v = _einsum("bngqs,bngqk->bnsk", (weights * kept).astype(q.dtype), g)
            of_scores = weights * (kept * _einsum("bngqk,bnsk->bngqs", g, v) - drift[..., None])
            of_scores = (of_scores * q.shape[-1] ** -0.5).astype(q.dtype)
            of_k = _einsum("bngqs,bngqk->bnsk", of_scores, q)
            of_q = _einsum("bngqs,bnsk->bngqk", of_scores, k)
            return (gradients[0] + of_k, gradients[1] + of_v), of_q

        numbers = jnp.arange(len(q), dtype=jnp.int32)
        (gradient_k, gradient_v), of_q = jax.lax.scan(
            one, (gradient_k, gradient_v), (q, gradient, drift, log_total, numbers)
        )
        return gradient_k, gradient_v, of_q

    def go_on(carry, step):
        k, v, *gradients, gradient_q = carry
        k, v, *gradients = course.turned(1, k, v, *gradients)
        *gradients, of_q = meet(k, v, *gradients, step)
        return (k, v, *gradients, gradient_q + of_q), None

    at_first = course.turned(course.first, k, v)
    nothing = _zeros_like(k)
    met = meet(*at_first, nothing, nothing, jnp.int32(0))
    steps = jnp.arange(1, course.count, dtype=jnp.int32)
    (_, _, *gradients, gradient_q), _ = jax.lax.scan(go_on, (*at_first, *met), steps)
    home = course.turned(1 - course.first - course.count, *gradients)
    return gradient_q.astype(q.dtype), home[0].astype(k.dtype), home[1].astype(v.dtype), None, None


_ring.defvjp(_forward, _backward)


def _scores(course, q, k, segments, key, step, number):
    """(scores [b, N, G, q, s] float32, who is seen, dropout's factors) of block `number` and a chunk of keys.

    What is not seen scores MASKED.
    """
    me, length, block = jax.lax.axis_index(course.axes), k.shape[2], q.shape[3]
    chunk = jnp.mod(me - course.first - step, course.size)
    of_chunk = lambda start, size: jax.lax.dynamic_slice_in_dim(segments, start, size, axis=1)
    q_index = number * block + jnp.arange(block)
    mine = jnp.take(of_chunk(me * length, length), q_index, axis=1, mode="fill", fill_value=0)
    seen = visible(
        mine,
        of_chunk(chunk * length, length),
        me * length + q_index,
        chunk * length + jnp.arange(length),
        causal=course.causal,
        window=course.window,
        local=True,
    )[:, None, None]
    scores = jnp.where(seen, _einsum("bngqk,bnsk->bngqs", q, k) * q.shape[-1] ** -0.5, MASKED)
    kept = 1.0
    if key is not None and course.dropout > 0.0:
        here = jax.random.fold_in(jax.random.fold_in(key, step), number)
        kept = jax.random.bernoulli(here, 1.0 - course.dropout, scores.shape) / (1.0 - course.dropout)
    return scores, seen, kept


def _einsum(equation, a, b):
    return jnp.einsum(equation, a, b, precision=precision_of(a.dtype), preferred_element_type=jnp.float32)


def _zeros_like(x):
    """float32; made of x, so that shard_map knows that devices will differ, as they do in what is added."""
    return jnp.where(False, x.astype(jnp.float32), 0.0)
