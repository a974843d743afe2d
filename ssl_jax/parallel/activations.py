# SPDX-License-Identifier: Apache-2.0
"""Activations under the mesh in use: where they are pinned, and whether positions are split."""

import jax
from jax.sharding import NamedSharding
from jaxtyping import Array, Shaped

from ssl_jax.parallel.mesh import current
from ssl_jax.parallel.rules import spec_of


def shard(x: Shaped[Array, "..."], *names: str | None) -> Shaped[Array, "..."]:
    """x with its dimensions pinned to logical axes ("batch", "length", ...); None is replicated.

    Nothing happens without a mesh (see use) or on a single device; a dimension that does not divide stays
    whole, so that one row can be predicted on any mesh.
    """
    here = current()
    if here is None or here[0].size == 1:
        return x
    mesh, rules = here
    return jax.lax.with_sharding_constraint(
        x, NamedSharding(mesh, spec_of(names, x.shape, mesh, rules, strict=False))
    )


def length_is_sharded() -> bool:
    """Whether the positions of a row live on several devices."""
    here = current()
    return here is not None and any(here[0].shape[a] > 1 for a in here[1].mesh_axes("length"))
