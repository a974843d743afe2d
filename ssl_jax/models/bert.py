# SPDX-License-Identifier: Apache-2.0
"""BERT (Devlin et al. 2019, sec. 3): post-norm, learned positions, segment types, erf GELU.

Weights start as a normal of 0.02, truncated at two standard deviations.
"""

from dataclasses import dataclass

from ssl_jax import nn
from ssl_jax.models.base import TextConfig


@dataclass(frozen=True, kw_only=True)
class BertConfig(TextConfig):
    """BERT-base by default.  mlp_dim None is 4 * dim; num_types 0 leaves the segment types out.

    first_position: the row of the position table that a text's first token takes.  RoBERTa's tables begin
    with as many rows that no token takes (Liu et al. 2019; fairseq counts from the padding's id + 1).
    """

    num_layers: int = 12
    dim: int = 768
    num_heads: int = 12
    max_positions: int = 512
    mlp_dim: int | None = None
    num_types: int = 2
    first_position: int = 0
    dropout: float = 0.1
    attention_dropout: float = 0.1
    norm_eps: float = 1e-12

    def spec(self) -> nn.Spec:
        return nn.Spec(
            **self.shared(),
            num_kv_heads=self.num_heads,
            head_dim=self.divided_dim(),
            mlp_dim=self.mlp_dim or 4 * self.dim,
            learned_positions=True,
            first_position=self.first_position,
            num_types=self.num_types,
            embedding_norm=True,
            activation=nn.Activation.GELU,
            gated=False,
            norm=nn.NormKind.LAYER,
            norm_eps=self.norm_eps,
            norm_bias=True,
            post_norm=True,
            bias=True,
            qk_norm=False,
            causal=False,
            window=None,
            local=(False,) * self.num_layers,
            thetas=None,
            first_bare=False,
            tied=True,
            init_truncated=True,
            residual_scale=1.0,
        )
