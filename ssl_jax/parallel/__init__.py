# SPDX-License-Identifier: Apache-2.0
"""Where things live: the mesh, logical axes, and the processes of a run."""

from ssl_jax.parallel.activations import length_is_sharded, shard
from ssl_jax.parallel.chips import CHIPS, Chip, chip_of, hush_libtpu, unseen_gpu
from ssl_jax.parallel.distributed import agree, cluster, initialize, several
from ssl_jax.parallel.mesh import MeshConfig, current, once, use
from ssl_jax.parallel.rules import Rules, axes_of, batch_sharding, shardings, spec_of

__all__ = [
    "CHIPS",
    "Chip",
    "MeshConfig",
    "Rules",
    "agree",
    "axes_of",
    "batch_sharding",
    "chip_of",
    "cluster",
    "current",
    "hush_libtpu",
    "initialize",
    "length_is_sharded",
    "once",
    "several",
    "shard",
    "shardings",
    "spec_of",
    "unseen_gpu",
    "use",
]
