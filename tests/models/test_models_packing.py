# SPDX-License-Identifier: Apache-2.0
"""Packed equals unpacked: documents that share a row give the states and gradients of rows of their own."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import nn
from tests.nn.common import QUICK, TINY, VOCAB, made

LENGTH = 16
DOCUMENTS = [7, 5, 3, 11, 4]
PACKED = [[0, 1, 2], [], [3, 4], [], []]  # documents a row; two rows of padding alone
ALONE = [[0], [1], [2], [3], [4]]


def rows(groups):
    """tokens, segments [B, T] and for each real position its place in the documents' concatenation."""
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, VOCAB, n) for n in DOCUMENTS]
    starts = np.cumsum([0, *DOCUMENTS])
    tokens, segments, place = (np.zeros((len(groups), LENGTH), np.int32) for _ in range(3))
    for row, group in enumerate(groups):
        at = 0
        for number, document in enumerate(group, start=1):
            here = slice(at, at := at + DOCUMENTS[document])
            tokens[row, here] = documents[document]
            segments[row, here] = number
            place[row, here] = starts[document] + np.arange(DOCUMENTS[document])
    return jnp.asarray(tokens), jnp.asarray(segments), place


# One by one, a kernel may leave keys out, which it cannot in a scan over layers that differ.
WAYS = [(family, kernel, True) for family in TINY for kernel in nn.Kernel] + [
    (family, nn.Kernel.BLOCKS, False) for family in ("modern", "qwen")
]


@pytest.mark.parametrize(("family", "kernel", "scan"), WAYS)
def test_packed_equals_unpacked(family, kernel, scan, monkeypatch):
    monkeypatch.setattr(importlib.import_module("ssl_jax.nn.attention"), "BLOCK", 4)
    graphdef, params = made(dataclasses.replace(TINY[family], kernel=kernel, scan=scan))
    targets = np.random.default_rng(1).normal(size=(sum(DOCUMENTS), 32)).astype(np.float32)

    def run(params, tokens, segments, place):
        states = nn.merge(graphdef, params).encode(tokens, segments)
        error = jnp.where((segments != 0)[..., None], jnp.tanh(states) * jnp.asarray(targets)[place], 0.0)
        return jnp.sum(error), states

    results = []
    compute = jax.jit(jax.value_and_grad(run, has_aux=True), compiler_options=QUICK)
    for groups in (PACKED, ALONE):
        tokens, segments, place = rows(groups)
        (_, states), gradient = compute(params, tokens, segments, place)
        real = np.asarray(segments) != 0
        results.append((np.asarray(states)[real][np.argsort(place[real])], gradient))
    (packed, packed_gradient), (alone, gradient) = results
    np.testing.assert_allclose(packed, alone, atol=1e-5)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6 * scale), packed_gradient, gradient)
