# SPDX-License-Identifier: Apache-2.0
"""The parts that trunks and heads are made of."""

from ssl_jax.nn.attention import Cache, Kernel, attention
from ssl_jax.nn.block import Block, Layer
from ssl_jax.nn.cross_entropy import cross_entropy
from ssl_jax.nn.dense import Dense, dense, dropout
from ssl_jax.nn.embeddings import Embeddings
from ssl_jax.nn.heads import Classifier, LmHead, MlmHead, Pooler, TokenClassifier
from ssl_jax.nn.masks import positions_of
from ssl_jax.nn.model import Model, Params, abstract, init, merge, split
from ssl_jax.nn.norms import Norm
from ssl_jax.nn.positions import at_positions
from ssl_jax.nn.spec import Activation, NormKind, Remat, Spec, param
from ssl_jax.nn.stack import Stack, stacked
from ssl_jax.nn.trunk import TextTrunk

__all__ = [
    "Activation",
    "Block",
    "Cache",
    "Classifier",
    "Dense",
    "Embeddings",
    "Kernel",
    "Layer",
    "LmHead",
    "MlmHead",
    "Model",
    "Norm",
    "NormKind",
    "Params",
    "Pooler",
    "Remat",
    "Spec",
    "Stack",
    "TextTrunk",
    "TokenClassifier",
    "abstract",
    "at_positions",
    "attention",
    "cross_entropy",
    "dense",
    "dropout",
    "init",
    "merge",
    "param",
    "positions_of",
    "split",
    "stacked",
]
