# SPDX-License-Identifier: Apache-2.0
"""Corpora: sources, the token store, and preparing one from the other."""

from ssl_jax.data.config import (
    Data,
    HuggingFace,
    JsonLines,
    Mixture,
    Parquet,
    PythonDocs,
    TextFiles,
    Tfds,
    Unit,
    Weighted,
)
from ssl_jax.data.corpus import Corpus, open_corpus
from ssl_jax.data.prepare import prepare, train_tokenizer
from ssl_jax.data.store import Damaged, Store

__all__ = [
    "Corpus",
    "Damaged",
    "Data",
    "HuggingFace",
    "JsonLines",
    "Mixture",
    "Parquet",
    "PythonDocs",
    "Store",
    "TextFiles",
    "Tfds",
    "Unit",
    "Weighted",
    "open_corpus",
    "prepare",
    "train_tokenizer",
]
