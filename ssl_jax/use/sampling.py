# SPDX-License-Identifier: Apache-2.0
"""The next token of each row from its logits.  B rows, V vocabulary."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ssl_jax.types import UserError


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is chosen.  In this order:

    temperature: logits are divided by it; 0 always takes the likeliest token (greedy).
    top_k: only the k likeliest tokens; 0 is all.
    top_p: of these only the fewest whose probabilities sum to p or more (Holtzman et al. 2020, section 3.1).
    min_p: of these only those at least min_p times as likely as the likeliest (Nguyen et al. 2024, sec. 3).
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def checked(self) -> "Sampling":
        """Raises UserError for numbers out of range, or that greedy choice would never look at."""
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1 or not 0 <= self.min_p <= 1:
            raise UserError(
                f"temperature ({self.temperature:g}) and top-k ({self.top_k}) must be 0 or more, "
                f"top-p ({self.top_p:g}) above 0 and at most 1, min-p ({self.min_p:g}) from 0 to 1"
            )
        if self.temperature == 0 and (self.top_k, self.top_p, self.min_p) != (0, 1.0, 0.0):
            raise UserError(
                "top-k, top-p and min-p choose among tokens to draw from, but temperature 0 always takes the "
                "likeliest; set a temperature too, say 1"
            )
        return self


def choose(logits: Any, keys: Any, sampling: Sampling) -> Any:
    """logits [B, V] float32, keys [B] -> [B] int32.  Each row draws by its own key alone."""

    def likeliest() -> Any:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)

    def drawn() -> Any:
        order = jnp.argsort(-logits, axis=-1)
        scaled = jnp.take_along_axis(logits, order, axis=-1) / sampling.temperature
        kept = jnp.arange(logits.shape[-1]) < jnp.where(sampling.top_k > 0, sampling.top_k, logits.shape[-1])
        p = jax.nn.softmax(jnp.where(kept, scaled, -jnp.inf))
        kept &= jnp.cumsum(p, axis=-1) - p < sampling.top_p
        kept &= scaled >= scaled[:, :1] + jnp.log(sampling.min_p)
        rank = jax.vmap(jax.random.categorical)(keys, jnp.where(kept, scaled, -jnp.inf))
        return jnp.take_along_axis(order, rank[:, None], axis=-1)[:, 0].astype(jnp.int32)

    return jax.lax.cond(sampling.temperature > 0, drawn, likeliest)
