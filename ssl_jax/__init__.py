# SPDX-License-Identifier: Apache-2.0
"""ssl_jax: self-supervised pretraining of encoders and decoders in JAX and Flax."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssl_jax.api import Model

__version__ = "0.1.0"


def load(model: Any) -> "Model":
    """A MODEL (a workdir, WORKDIR@STEP or an exported directory) ready for use: see ssl_jax.api.Model."""
    from ssl_jax import api  # jax and all the rest, only now

    return api.load(model)
