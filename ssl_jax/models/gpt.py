# SPDX-License-Identifier: Apache-2.0
"""GPT-2 (Radford et al. 2019, sec. 2.3): pre-norm, causal, learned positions, tanh GELU, tied.

The projections that write to the residual stream start 1 / sqrt(2 * num_layers) smaller.
"""

from dataclasses import dataclass

from ssl_jax import nn
from ssl_jax.models.base import TextConfig


@dataclass(frozen=True, kw_only=True)
class GptConfig(TextConfig):
    """GPT-2 small (124M) by default.  mlp_dim None is 4 * dim."""

    num_layers: int = 12
    dim: int = 768
    num_heads: int = 12
    max_positions: int = 1024
    mlp_dim: int | None = None
    dropout: float = 0.1
    attention_dropout: float = 0.1
    norm_eps: float = 1e-5

    def spec(self) -> nn.Spec:
        return nn.Spec(
            **self.shared(),
            num_kv_heads=self.num_heads,
            head_dim=self.divided_dim(),
            mlp_dim=self.mlp_dim or 4 * self.dim,
            learned_positions=True,
            first_position=0,
            num_types=0,
            embedding_norm=False,
            activation=nn.Activation.GELU_TANH,
            gated=False,
            norm=nn.NormKind.LAYER,
            norm_eps=self.norm_eps,
            norm_bias=True,
            post_norm=False,
            bias=True,
            qk_norm=False,
            causal=True,
            window=None,
            local=(False,) * self.num_layers,
            thetas=None,
            first_bare=False,
            tied=True,
            init_truncated=False,
            residual_scale=(2 * self.num_layers) ** -0.5,
        )
