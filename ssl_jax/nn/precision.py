# SPDX-License-Identifier: Apache-2.0
"""How exactly matrix products are computed."""

import jax
import jax.numpy as jnp


def precision_of(dtype: jnp.dtype) -> jax.lax.Precision:
    """float32 means float32 on every chip: no TF32, no passes in bfloat16."""
    return jax.lax.Precision.HIGHEST if dtype == jnp.float32 else jax.lax.Precision.DEFAULT
