# SPDX-License-Identifier: Apache-2.0
"""Blocks in a row.  Parameters are always stacked on a leading "layers" axis; running them by scan or one by
one, and what the backward pass computes again, change the execution alone.

The norm before attention that ModernBERT's layer 0 lacks is kept in the stack as a scale of ones that no
number depends on: its gradient is zero, norms are not decayed, and an export leaves it out.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from ssl_jax import parallel
from ssl_jax.nn.attention import Cache, rope_frequencies
from ssl_jax.nn.block import Block, Layer
from ssl_jax.nn.masks import positions_of
from ssl_jax.nn.norms import Norm
from ssl_jax.nn.spec import Remat, Spec


def stacked(make, num_layers: int, *, rngs: nnx.Rngs) -> nnx.Module:
    """num_layers modules in one: each Param of make(rngs=...) with a leading axis "layers"."""
    blocks = nnx.vmap(lambda rngs: make(rngs=rngs), in_axes=0, out_axes=0)(rngs.split(num_layers))
    for _, leaf in nnx.iter_graph(blocks):
        if isinstance(leaf, nnx.Param):
            leaf.set_metadata(axes=("layers", *leaf.get_metadata()["axes"]))
    return blocks


def layers_of(spec: Spec) -> Layer:
    """What differs between layers, as arrays with a leading axis; None where all layers agree."""
    frequencies = local = bare = None
    if spec.thetas is not None:
        frequencies = np.stack([rope_frequencies(theta, spec.head_dim) for theta in spec.thetas])
    if len(set(spec.local)) > 1:
        local = np.array(spec.local)
    if spec.first_bare:
        bare = np.arange(spec.num_layers) == 0
    return Layer(frequencies, local, bare)


def checkpointed(layer, remat: Remat, *, scan: bool):
    match remat:
        case Remat.NONE:
            return layer
        case Remat.FULL:
            return jax.checkpoint(layer, prevent_cse=not scan)
        case Remat.DOTS:
            policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
            return jax.checkpoint(layer, prevent_cse=not scan, policy=policy)


class Stack(nnx.Module):
    """num_layers blocks, and the norm after them that a pre-norm trunk needs."""

    def __init__(self, spec: Spec, *, rngs: nnx.Rngs):
        self.spec = spec
        self.blocks = stacked(partial(Block, spec), spec.num_layers, rngs=rngs)
        self.final_norm = None if spec.post_norm else Norm(spec, spec.dim)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        segments: Int[Array, "B T"],
        key: Key[Array, ""] | None = None,
        every: bool = False,
    ) -> Float[Array, "*levels B T D"]:
        """The last layer's output, normed; with every all of them, [num_layers + 1, B, T, D], from the input
        (first) to the normed output (last)."""
        spec, positions = self.spec, positions_of(segments)

        def step(x, block_layer_key, local=None):
            block, layer, key = block_layer_key
            layer = layer if local is None else layer._replace(local=local)
            # Rows stay where they are: without these pins XLA all-reduces hidden states under fsdp.
            x = parallel.shard(x, "batch", "norm_length", None)
            y = parallel.shard(block(x, segments, positions, layer, key), "batch", "norm_length", None)
            return y, x if every else None

        keys = None if key is None else jax.random.split(key, spec.num_layers)
        layers = jax.tree.map(jnp.asarray, layers_of(spec))
        if spec.scan:
            step = checkpointed(step, spec.remat, scan=True)
            x, inputs = jax.lax.scan(step, x, (self.blocks, layers, keys))
        else:
            inputs = []
            for i in range(spec.num_layers):
                block, layer, key = jax.tree.map(lambda leaf: leaf[i], (self.blocks, layers, keys))  # noqa: B023
                # A static flag, no argument of jax.checkpoint: the kernel may leave keys out.
                static = partial(step, local=spec.local[i])
                x, before = checkpointed(static, spec.remat, scan=False)(x, (block, layer, key))
                inputs.append(before)
        out = self._normed(x)
        return jnp.concatenate([jnp.stack(list(inputs)), out[None]]) if every else out

    def after(
        self, x: Float[Array, "B T D"], positions: Int[Array, "B T"], past: Cache
    ) -> tuple[Float[Array, "B T D"], Cache]:
        """The last layer's output, normed, at positions that follow those of past; and the keys and values
        [L, B, T, N, K] that past lacks (Cache.write)."""

        def step(x, block_layer_past):
            block, layer, past = block_layer_past
            return block.after(x, positions, layer, past)

        layers = jax.tree.map(jnp.asarray, layers_of(self.spec))
        x, new = jax.lax.scan(step, x, (self.blocks, layers, past))
        return self._normed(x), new

    def _normed(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        y = x if self.final_norm is None else self.final_norm(x)
        return parallel.shard(y, "batch", "length", None)
