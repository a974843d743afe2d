# SPDX-License-Identifier: Apache-2.0
"""What a trunk is made of, in numbers and names: the one description that all parts read."""

import enum
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from ssl_jax.nn.attention import Kernel


class Activation(enum.Enum):
    """GELU: x * Phi(x) by erf (BERT).  GELU_TANH: its tanh approximation (GPT-2).  SILU: x * sigmoid(x)."""

    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    SILU = "silu"
    RELU = "relu"

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        match self:
            case Activation.GELU:
                return jax.nn.gelu(x, approximate=False)
            case Activation.GELU_TANH:
                return jax.nn.gelu(x, approximate=True)
            case Activation.SILU:
                return jax.nn.silu(x)
            case Activation.RELU:
                return jax.nn.relu(x)


class NormKind(enum.Enum):
    """LAYER: (x - mean) / std (Ba et al. 2016).  RMS: x / root mean square (Zhang and Sennrich 2019)."""

    LAYER = "layer"
    RMS = "rms"


class Remat(enum.Enum):
    """What a layer keeps for the backward pass; the numbers it computes are the same.

    NONE keeps all.  DOTS keeps the results of matrix products with weights and computes the rest again
    (attention scores, norms, activations).  FULL keeps only the layer's input.
    """

    NONE = "none"
    DOTS = "dots"
    FULL = "full"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One trunk.  Made by the configs in ssl_jax.models, read by every part; static, hashable.

    learned_positions: a vector a position is added to the embeddings, row first_position of their table at
    position 0; num_types: likewise, 0 for none.
    bias: dense layers have one.  norm_bias: norms have one.  post_norm: norm after the residual sum.
    gated: the MLP multiplies activation(gate) with up.  qk_norm: RMS norm of queries and keys per head.
    window: a position sees those at most so far away in the layers marked in local.
    thetas: RoPE's base a layer, or None for no RoPE.  first_bare: layer 0 has no norm before attention.
    residual_scale: factor on init_std of the two projections that write to the residual stream.
    """

    vocab_size: int
    padded_vocab: int
    num_layers: int
    dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_dim: int
    max_positions: int
    learned_positions: bool
    first_position: int
    num_types: int
    embedding_norm: bool
    activation: Activation
    gated: bool
    norm: NormKind
    norm_eps: float
    norm_bias: bool
    post_norm: bool
    bias: bool
    qk_norm: bool
    causal: bool
    window: int | None
    local: tuple[bool, ...]
    thetas: tuple[float, ...] | None
    first_bare: bool
    tied: bool
    dropout: float
    attention_dropout: float
    init_std: float
    init_truncated: bool
    residual_scale: float
    compute_dtype: str
    scan: bool
    remat: Remat
    kernel: Kernel

    @property
    def dtype(self) -> jnp.dtype:
        return jnp.dtype(self.compute_dtype)

    def draw(self, rngs: nnx.Rngs, *shape: int, scale: float = 1.0) -> Float[Array, "..."]:
        """Initial weights, float32: normal(init_std * scale), BERT's truncated at two of them."""
        key: Key[Array, ""] = rngs.params()
        if self.init_truncated:
            return jax.random.truncated_normal(key, -2.0, 2.0, shape) * (self.init_std * scale)
        return jax.random.normal(key, shape) * (self.init_std * scale)


def param(value: Float[Array, "..."], *axes: str | None) -> nnx.Param:
    """A parameter that carries its logical axes (see parallel.Rules), one a dimension.

    The names are metadata of our own: flax's out_sharding would want a mesh at construction.
    """
    assert value.ndim == len(axes)
    return nnx.Param(value, axes=axes)
