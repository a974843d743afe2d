# SPDX-License-Identifier: Apache-2.0
"""ssl_jax: self-supervised pretraining of encoders and decoders in JAX and Flax."""

__version__ = "0.1.0"
