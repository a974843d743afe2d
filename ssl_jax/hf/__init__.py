# SPDX-License-Identifier: Apache-2.0
"""Weights and configs in and out of `transformers`: one table a family, read in both directions."""

from ssl_jax.hf.model import Incoming, Outgoing
from ssl_jax.hf.reading import Matched, is_directory, verify
from ssl_jax.hf.uses import inexpressible

__all__ = ["Incoming", "Matched", "Outgoing", "inexpressible", "is_directory", "verify"]
