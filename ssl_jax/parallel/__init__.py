# SPDX-License-Identifier: Apache-2.0
"""Where things live: the mesh, logical axes, and the processes of a run."""

from ssl_jax.parallel.activations import length_is_sharded, shard
from ssl_jax.parallel.distributed import agree, initialize, seat, together
from ssl_jax.parallel.meeting import Meeting
from ssl_jax.parallel.mesh import MeshConfig, current, once, use
from ssl_jax.parallel.rules import Rules, axes_of, batch_sharding, shardings, spec_of

__all__ = [
    "Meeting",
    "MeshConfig",
    "Rules",
    "agree",
    "axes_of",
    "batch_sharding",
    "current",
    "initialize",
    "length_is_sharded",
    "once",
    "seat",
    "shard",
    "shardings",
    "spec_of",
    "together",
    "use",
]
