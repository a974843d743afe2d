# SPDX-License-Identifier: Apache-2.0
"""Stacked equals unstacked, whatever the optimizer.

Cause: optax's LAMB and Adafactor see [layers, ...] as one parameter; a layer's update was off by up to 6.3x.
"""

import jax
import numpy as np
import pytest

from ssl_jax import optim
from tests.optim.trees import (
    ALL,
    LITTLE_STACKED,
    LITTLE_UNSTACKED,
    axes_tree,
    fast_and_slow,
    random_tree,
    trajectory,
    unstack,
)


@pytest.mark.parametrize("name", fast_and_slow(ALL))
def test_stacked_equals_unstacked(name):
    cfg = optim.Optim(algorithm=ALL[name], peak_lr=0.01, weight_decay=0.1, clip_norm=50.0)
    params = random_tree(LITTLE_STACKED, 0)
    gradients = [random_tree(LITTLE_STACKED, s, 0.3) for s in range(1, 4)]
    stacked, _ = trajectory(optim.build(cfg, axes_tree(LITTLE_STACKED)), params, gradients)
    apart, _ = trajectory(
        optim.build(cfg, axes_tree(LITTLE_UNSTACKED)), unstack(params), [unstack(g) for g in gradients]
    )
    # Newton-Schulz multiplies what is nearly singular, and rounding with it.
    tolerance = 1e-4 if name == "muon" else 1e-5
    assert all(np.any(u) for u in jax.tree.leaves(apart[-1][1]))
    for (_, a), (_, b) in zip(stacked, apart, strict=True):
        for x, y in zip(jax.tree.leaves(unstack(a)), jax.tree.leaves(b), strict=True):
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * np.abs(y).max())
