# SPDX-License-Identifier: Apache-2.0
"""LayerNorm and RMSNorm, with or without bias, computed in float32."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from ssl_jax.nn.spec import NormKind, Spec, param


class Norm(nnx.Module):
    """x normalised over its last axis, times scale (plus bias).  In and out in x's dtype, as a scan must."""

    def __init__(self, spec: Spec, size: int, *, kind: NormKind | None = None):
        self.kind = kind or spec.norm
        self.eps = spec.norm_eps
        self.scale = param(jnp.ones(size), None)
        self.bias = param(jnp.zeros(size), None) if spec.norm_bias and self.kind is NormKind.LAYER else None

    def __call__(self, x: Float[Array, "*lead D"]) -> Float[Array, "*lead D"]:
        y = x.astype(jnp.float32)
        if self.kind is NormKind.LAYER:
            y = y - jnp.mean(y, axis=-1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + self.eps)
        y = y * self.scale[...]
        if self.bias is not None:
            y = y + self.bias[...]
        return y.astype(x.dtype)
