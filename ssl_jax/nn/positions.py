# SPDX-License-Identifier: Apache-2.0
"""Some positions of each row, wherever they lie.  B rows, T positions, M of them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped

from ssl_jax import parallel


def at_positions(x: Shaped[Array, "B T *rest"], where: Int[Array, "B M"]) -> Shaped[Array, "B M *rest"]:
    """x at the positions `where` of each row.  Indexed within the row: a global index costs collectives.

    Where a row lies on several devices each picks what it has, and they sum: only M positions are sent.
    """
    rest = (None,) * (x.ndim - 2)
    index = lambda where: where.reshape(*where.shape, *(1,) * len(rest))
    axes = parallel.split_axes(("length",), x.shape[1:2])
    if not axes:
        return parallel.shard(jnp.take_along_axis(x, index(where), axis=1), "batch", None, *rest)
    spread = bool(parallel.split_axes(("length",), where.shape[1:]))  # the vocabulary's work on M / devices

    def part(x, where):
        length = x.shape[1]
        here = where - jax.lax.axis_index(axes) * length
        picked = jnp.take_along_axis(x, index(jnp.clip(here, 0, length - 1)), axis=1)
        picked = jnp.where(index((here >= 0) & (here < length)), picked, 0)
        if not spread:
            return jax.lax.psum(picked, axes)
        return jax.lax.psum_scatter(picked, axes, scatter_dimension=1, tiled=True)

    shape = *where.shape, *x.shape[2:]
    return parallel.on_each_device(
        part,
        (x, where),
        (("batch", "length", *rest), ("batch", None)),
        out=(shape, ("batch", "length", *rest)),
    )


def first_position(x: Shaped[Array, "B T *rest"]) -> Shaped[Array, "B *rest"]:
    """x at position 0 of each row."""
    rest = (None,) * (x.ndim - 2)
    if parallel.split_axes(("length",), x.shape[1:2]):
        return at_positions(x, jnp.zeros((x.shape[0], 1), jnp.int32))[:, 0]
    return parallel.shard(x[:, 0], "batch", *rest)  # unpinned, fsdp would gather the rows
