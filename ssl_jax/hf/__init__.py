# SPDX-License-Identifier: Apache-2.0
"""Weights, configs and tokenizers as `transformers` has them, in and out."""

from ssl_jax.hf.model import Incoming, Outgoing
from ssl_jax.hf.reading import SUMS, Matched, is_directory, verify
from ssl_jax.hf.tokenizer import TYPED_SPECIALS, Template, export_tokenizer
from ssl_jax.hf.tokenizer_import import add_tokens, keep_tokenizer
from ssl_jax.hf.uses import inexpressible
from ssl_jax.hf.writing import DTYPES

__all__ = [
    "DTYPES",
    "SUMS",
    "TYPED_SPECIALS",
    "Incoming",
    "Matched",
    "Outgoing",
    "Template",
    "add_tokens",
    "export_tokenizer",
    "inexpressible",
    "is_directory",
    "keep_tokenizer",
    "verify",
]
