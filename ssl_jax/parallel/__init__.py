# SPDX-License-Identifier: Apache-2.0
"""Where things live: the mesh, logical axes, and the processes of a run."""

from ssl_jax.parallel.activations import (
    filled_up,
    length_is_sharded,
    of_each_part,
    on_each_device,
    own_key,
    shard,
    split_axes,
    ways,
)
from ssl_jax.parallel.chips import CHIPS, Chip, chip_of, hush_libtpu, unseen_gpu
from ssl_jax.parallel.distributed import agree, initialize, seat, smallest, tells_of_a_loss, together
from ssl_jax.parallel.meeting import Meeting
from ssl_jax.parallel.mesh import MeshConfig, current, once, use
from ssl_jax.parallel.rules import Rules, axes_of, batch_sharding, shardings, spec_of

__all__ = [
    "CHIPS",
    "Chip",
    "Meeting",
    "MeshConfig",
    "Rules",
    "agree",
    "axes_of",
    "batch_sharding",
    "chip_of",
    "current",
    "filled_up",
    "hush_libtpu",
    "initialize",
    "length_is_sharded",
    "of_each_part",
    "on_each_device",
    "once",
    "own_key",
    "seat",
    "shard",
    "shardings",
    "smallest",
    "spec_of",
    "split_axes",
    "tells_of_a_loss",
    "together",
    "unseen_gpu",
    "use",
    "ways",
]
