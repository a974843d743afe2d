# SPDX-License-Identifier: Apache-2.0
"""The modern trunk: pre-norm, RoPE, no biases, and by choice what ModernBERT and Qwen3 chose.

ModernBERT (Warner et al. 2024, sec. 2.1) is the default: bias-free LayerNorm, GeGLU, local and global layers
in turn, a norm after the embeddings and none before layer 0's attention.  Qwen3 (Yang et al. 2025, sec. 2) is
norm=RMS, activation=SILU, qk_norm, fewer key-value heads, causal, all layers global.
"""

from dataclasses import dataclass

from ssl_jax import nn
from ssl_jax.models.base import TextConfig
from ssl_jax.types import UserError


@dataclass(frozen=True, kw_only=True)
class ModernConfig(TextConfig):
    """ModernBERT-base by default.

    num_kv_heads None is num_heads; head_dim None is dim / num_heads.  mlp_dim: width of one half of the
    gated MLP.  local_window: a local layer sees local_window // 2 positions to each side, or if causal
    itself and the local_window - 1 before it.  Every global_every-th layer, from layer 0, sees the whole row;
    1 makes all of them global.  global_theta, local_theta: RoPE's bases.
    first_attention_norm: False leaves out the norm before layer 0's attention (the embeddings' serves).
    init_truncated, scale_residual: as Spec's; scale_residual divides by sqrt(2 * num_layers).
    """

    num_layers: int = 22
    dim: int = 768
    num_heads: int = 12
    max_positions: int = 8192
    num_kv_heads: int | None = None
    head_dim: int | None = None
    mlp_dim: int = 1152
    activation: nn.Activation = nn.Activation.GELU
    gated: bool = True
    norm: nn.NormKind = nn.NormKind.LAYER
    norm_eps: float = 1e-5
    qk_norm: bool = False
    causal: bool = False
    local_window: int = 128
    global_every: int = 3
    global_theta: float = 160_000.0
    local_theta: float = 10_000.0
    embedding_norm: bool = True
    first_attention_norm: bool = False
    tied: bool = True
    init_truncated: bool = True
    scale_residual: bool = True

    def __post_init__(self):
        super().__post_init__()
        if self.global_every < 1 or self.local_window < 2:
            raise UserError("model.global_every: take 1 or more; model.local_window: take 2 or more")
        if self.num_heads % (self.num_kv_heads or self.num_heads):
            raise UserError(
                f"model.num_heads={self.num_heads} does not divide by model.num_kv_heads={self.num_kv_heads}"
            )
        if (self.head_dim or self.divided_dim()) % 2:
            raise UserError("model.head_dim must be even: RoPE turns pairs")

    def spec(self) -> nn.Spec:
        local = tuple(layer % self.global_every != 0 for layer in range(self.num_layers))
        reach = self.local_window - 1 if self.causal else self.local_window // 2
        return nn.Spec(
            **self.shared(),
            num_kv_heads=self.num_kv_heads or self.num_heads,
            head_dim=self.head_dim or self.divided_dim(),
            mlp_dim=self.mlp_dim,
            learned_positions=False,
            first_position=0,
            num_types=0,
            embedding_norm=self.embedding_norm,
            activation=self.activation,
            gated=self.gated,
            norm=self.norm,
            norm_eps=self.norm_eps,
            norm_bias=False,
            post_norm=False,
            bias=False,
            qk_norm=self.qk_norm,
            causal=self.causal,
            window=reach if any(local) else None,
            local=local,
            thetas=tuple(self.local_theta if here else self.global_theta for here in local),
            first_bare=not self.first_attention_norm,
            tied=self.tied,
            init_truncated=self.init_truncated,
            residual_scale=(2 * self.num_layers) ** -0.5 if self.scale_residual else 1.0,
        )
