# SPDX-License-Identifier: Apache-2.0
"""Matrix products with weights, and dropout.

Boundaries between modules carry [B, T, D].  The product itself runs on [B * T, D]: on CPU, XLA recomputes
whole chains in transposed order for the gradient of a 3-D product, and a 2-D one has no such copies.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from ssl_jax import parallel
from ssl_jax.nn.precision import precision_of
from ssl_jax.nn.spec import Spec, param


def dense(
    x: Float[Array, "..."],
    kernel: Float[Array, "..."],
    bias: Float[Array, " outputs"] | None = None,
    *,
    contract: int = 1,
) -> Float[Array, "..."]:
    """x [..., *in] times kernel [*in, *out] -> [..., *out], in x's dtype; contract is the length of in."""
    lead, inner, outer = x.shape[:-contract], x.shape[-contract:], kernel.shape[contract:]
    assert kernel.shape[:contract] == inner, (x.shape, kernel.shape)
    kernel = kernel.astype(x.dtype)
    precision = precision_of(x.dtype)
    if parallel.length_is_sharded():  # a flattened row would be gathered on every device
        y = jnp.tensordot(x, kernel, contract, precision=precision)
    else:
        flat = x.reshape(-1, math.prod(inner))
        y = jnp.dot(flat, kernel.reshape(flat.shape[1], -1), precision=precision).reshape(*lead, *outer)
    return y if bias is None else y + bias.reshape(outer).astype(x.dtype)


class Dense(nnx.Module):
    """dense with its own parameters: kernel [in, out], bias [out] of zeros if the spec has biases.

    names are the two logical axes of the kernel; a bias on a width that no rule should shard has None.
    """

    def __init__(
        self,
        spec: Spec,
        inputs: int,
        outputs: int,
        *,
        names: tuple[str | None, str | None],
        rngs: nnx.Rngs,
        scale: float = 1.0,
    ):
        self.kernel = param(spec.draw(rngs, inputs, outputs, scale=scale), *names)
        name = None if names[1] == "embed" else names[1]
        self.bias = param(jnp.zeros(outputs), name) if spec.bias else None

    def __call__(self, x: Float[Array, "*lead inputs"]) -> Float[Array, "*lead outputs"]:
        return dense(x, self.kernel[...], None if self.bias is None else self.bias[...])


def dropout(x: Float[Array, "..."], rate: float, key: Key[Array, ""] | None) -> Float[Array, "..."]:
    """x with a share of its elements zeroed and the rest scaled up; x itself without a key or rate."""
    if key is None or rate == 0.0:
        return x
    kept = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(kept, x / (1.0 - rate), 0.0)
