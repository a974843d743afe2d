# SPDX-License-Identifier: Apache-2.0
"""The one transformer block of every trunk: self-attention and MLP, each with its norm and residual.

B rows, T positions, D width, H heads, N key-value heads, K head width, F hidden units.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from ssl_jax import parallel
from ssl_jax.nn.attention import Cache, attention, attention_after, rotate
from ssl_jax.nn.dense import Dense, dense, dropout
from ssl_jax.nn.norms import Norm
from ssl_jax.nn.spec import NormKind, Spec, param


class Layer(NamedTuple):
    """What differs from layer to layer beside the parameters; None where nothing does.

    frequencies: RoPE's.  local: whether the window counts.  bare: no norm before attention.
    """

    frequencies: Float[Array, " half"] | None = None
    local: Bool[Array, ""] | bool | None = None
    bare: Bool[Array, ""] | bool | None = None

    @property
    def sees_window(self) -> Bool[Array, ""] | bool:
        return True if self.local is None else self.local


class Heads(nnx.Module):
    """A projection to heads: kernel [D, heads, K], bias [heads * K] (a vector, as all biases)."""

    def __init__(self, spec: Spec, heads: int, name: str, *, rngs: nnx.Rngs):
        self.kernel = param(spec.draw(rngs, spec.dim, heads, spec.head_dim), "embed", name, "head_dim")
        self.bias = param(jnp.zeros(heads * spec.head_dim), name) if spec.bias else None

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T heads K"]:
        return dense(x, self.kernel[...], None if self.bias is None else self.bias[...])


class Merge(nnx.Module):
    """Heads back to the residual stream: kernel [H, K, D], bias [D]."""

    def __init__(self, spec: Spec, *, rngs: nnx.Rngs):
        shape = spec.num_heads, spec.head_dim, spec.dim
        self.kernel = param(spec.draw(rngs, *shape, scale=spec.residual_scale), "heads", "head_dim", "embed")
        self.bias = param(jnp.zeros(spec.dim), None) if spec.bias else None

    def __call__(self, x: Float[Array, "B T H K"]) -> Float[Array, "B T D"]:
        return dense(x, self.kernel[...], None if self.bias is None else self.bias[...], contract=2)


class SelfAttention(nnx.Module):
    """Multi-head self-attention (Vaswani et al. 2017), with grouped key-value heads (Ainslie et al. 2023)."""

    def __init__(self, spec: Spec, *, rngs: nnx.Rngs):
        self.spec = spec
        self.query = Heads(spec, spec.num_heads, "heads", rngs=rngs)
        self.key = Heads(spec, spec.num_kv_heads, "kv_heads", rngs=rngs)
        self.value = Heads(spec, spec.num_kv_heads, "kv_heads", rngs=rngs)
        self.out = Merge(spec, rngs=rngs)
        self.query_norm = Norm(spec, spec.head_dim, kind=NormKind.RMS) if spec.qk_norm else None
        self.key_norm = Norm(spec, spec.head_dim, kind=NormKind.RMS) if spec.qk_norm else None

    def __call__(
        self,
        x: Float[Array, "B T D"],
        segments: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        layer: Layer,
        key: Key[Array, ""] | None,
    ) -> Float[Array, "B T D"]:
        q, k, v = self.projected(x, positions, layer)
        y = attention(
            q,
            k,
            v,
            segments,
            causal=self.spec.causal,
            window=self.spec.window,
            local=layer.sees_window,
            kernel=self.spec.kernel,
            dropout=self.spec.attention_dropout,
            key=key,
        )
        return self.out(y)

    def after(
        self, x: Float[Array, "B T D"], positions: Int[Array, "B T"], layer: Layer, past: Cache
    ) -> tuple[Float[Array, "B T D"], Cache]:
        """Of positions that follow those of past; and their own keys and values."""
        q, k, v = self.projected(x, positions, layer)
        new = Cache(k, v)
        y = attention_after(q, new, past, positions, window=self.spec.window, local=layer.sees_window)
        return self.out(y), new

    def projected(
        self, x: Float[Array, "B T D"], positions: Int[Array, "B T"], layer: Layer
    ) -> tuple[Float[Array, "B T H K"], Float[Array, "B T N K"], Float[Array, "B T N K"]]:
        """Queries, keys and values."""
        q, k, v = self.query(x), self.key(x), self.value(x)
        if self.query_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        if layer.frequencies is not None:
            q, k = rotate(q, positions, layer.frequencies), rotate(k, positions, layer.frequencies)
        return q, k, v


class Mlp(nnx.Module):
    """down(act(up x)), or gated: down(act(gate x) * up x) (Shazeer 2020)."""

    def __init__(self, spec: Spec, *, rngs: nnx.Rngs):
        self.activation = spec.activation
        inward, outward, scale = ("embed", "mlp"), ("mlp", "embed"), spec.residual_scale
        self.gate = Dense(spec, spec.dim, spec.mlp_dim, names=inward, rngs=rngs) if spec.gated else None
        self.up = Dense(spec, spec.dim, spec.mlp_dim, names=inward, rngs=rngs)
        self.down = Dense(spec, spec.mlp_dim, spec.dim, names=outward, rngs=rngs, scale=scale)

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        if self.gate is None:
            return self.down(self.activation(self.up(x)))
        return self.down(self.activation(self.gate(x)) * self.up(x))


def inside(x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """x as attention and MLP take it: each tensor shard has all positions.

    Here and in `between` both places are pinned, or XLA moves weights and hidden units in place of x.
    """
    return parallel.shard(parallel.shard(x, "batch", "norm_length", None), "batch", "length", None)


def between(x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """x as norms and the residual stream take it: under sequence parallelism each tensor shard has its own
    positions of the sum over tensor shards."""
    return parallel.shard(parallel.shard(x, "batch", "length", None), "batch", "norm_length", None)


class Block(nnx.Module):
    """x + f(norm x) for attention and MLP in turn (pre-norm), or norm(x + f(x)) (post-norm)."""

    def __init__(self, spec: Spec, *, rngs: nnx.Rngs):
        self.spec = spec
        self.attention_norm = Norm(spec, spec.dim)
        self.attention = SelfAttention(spec, rngs=rngs)
        self.mlp_norm = Norm(spec, spec.dim)
        self.mlp = Mlp(spec, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        segments: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        layer: Layer,
        key: Key[Array, ""] | None,
    ) -> Float[Array, "B T D"]:
        return self._around(
            lambda x, k: (self.attention(x, segments, positions, layer, k), ()), x, layer, key
        )[0]

    def after(
        self, x: Float[Array, "B T D"], positions: Int[Array, "B T"], layer: Layer, past: Cache
    ) -> tuple[Float[Array, "B T D"], Cache]:
        """Of positions that follow those of past; and their own keys and values."""
        return self._around(lambda x, _: self.attention.after(x, positions, layer, past), x, layer, None)

    def _around(
        self,
        attend: Callable[[Any, Any], tuple[Any, Any]],
        x: Float[Array, "B T D"],
        layer: Layer,
        key: Key[Array, ""] | None,
    ) -> tuple[Float[Array, "B T D"], Any]:
        """The residual stream around attention and MLP.  attend: (x, key) -> (y, what it leaves to keep)."""
        rate = self.spec.dropout
        keys = (None,) * 3 if key is None else jax.random.split(key, 3)
        if self.spec.post_norm:
            y, kept = attend(inside(x), keys[0])
            x = self.attention_norm(x + dropout(between(y), rate, keys[1]))
            return self.mlp_norm(x + dropout(between(self.mlp(inside(x))), rate, keys[2])), kept
        y = self.attention_norm(x)
        if layer.bare is not None:
            y = jnp.where(layer.bare, x, y)
        y, kept = attend(inside(y), keys[0])
        x = x + dropout(between(y), rate, keys[1])
        return x + dropout(between(self.mlp(inside(self.mlp_norm(x)))), rate, keys[2]), kept
