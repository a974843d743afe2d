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
from ssl_jax.data.order import train_tokenizer
from ssl_jax.data.parts import prepare_part, publish
from ssl_jax.data.plan_chunks import Chunks
from ssl_jax.data.plan_mixture import MixUnit
from ssl_jax.data.plan_packed import Packed
from ssl_jax.data.plan_pairs import Pairs
from ssl_jax.data.plan_tags import Tagged, sentence, typed_sentence
from ssl_jax.data.plan_windows import Outside, Windows
from ssl_jax.data.prepare import estimate, prepare, prepared
from ssl_jax.data.store import Damaged, Store
from ssl_jax.data.table import Labelled, Record, Table

__all__ = [
    "Chunks",
    "Corpus",
    "Damaged",
    "Data",
    "HuggingFace",
    "JsonLines",
    "Labelled",
    "MixUnit",
    "Mixture",
    "Outside",
    "Packed",
    "Pairs",
    "Parquet",
    "PythonDocs",
    "Record",
    "Store",
    "Table",
    "Tagged",
    "TextFiles",
    "Tfds",
    "Unit",
    "Weighted",
    "Windows",
    "estimate",
    "open_corpus",
    "prepare",
    "prepare_part",
    "prepared",
    "publish",
    "sentence",
    "train_tokenizer",
    "typed_sentence",
]
