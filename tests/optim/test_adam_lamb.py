# SPDX-License-Identifier: Apache-2.0
"""AdamW and LAMB against float64 numpy written from the papers, and against optax and torch's formulas."""

import jax
import numpy as np
import optax
import pytest

from ssl_jax import optim
from tests.optim.trees import LITTLE_STACKED, LITTLE_UNSTACKED, axes_tree, random_tree, trajectory

STEPS = 6


def numpy_run(params, gradients, masks, *, rule, lr, b1, b2, eps, decay, correct):
    """float64; rule is "adamw" or "lamb"; masks: True where decayed (and, for LAMB, where trusted)."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    leaves, treedef = jax.tree.flatten(p)
    mask = treedef.flatten_up_to(masks)
    m, v = [0.0] * len(leaves), [0.0] * len(leaves)
    for t, grads in enumerate(gradients, 1):
        for i, g in enumerate(np.asarray(g, np.float64) for g in treedef.flatten_up_to(grads)):
            m[i] = b1 * m[i] + (1 - b1) * g
            v[i] = b2 * v[i] + (1 - b2) * g**2
            mhat, vhat = (m[i] / (1 - b1**t), v[i] / (1 - b2**t)) if correct else (m[i], v[i])
            r = mhat / (np.sqrt(vhat) + eps) + decay * mask[i] * leaves[i]
            if rule == "lamb" and mask[i]:
                norm_p, norm_r = np.linalg.norm(leaves[i]), np.linalg.norm(r)
                r = r * (norm_p / norm_r if norm_p > 0 and norm_r > 0 else 1.0)
            leaves[i] = leaves[i] - lr * r
    return treedef.unflatten(leaves)


def close(ours, theirs, rtol=2e-6):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


def data(names=LITTLE_UNSTACKED):
    return random_tree(names, 0), [random_tree(names, s, 0.3) for s in range(1, STEPS + 1)]


@pytest.mark.parametrize("correct", [True, False], ids=["corrected", "as in BERT"])
@pytest.mark.parametrize("rule", ["adamw", "lamb"])
def test_against_numpy(rule, correct):
    params, gradients = data()
    make = {"adamw": optim.AdamW, "lamb": optim.Lamb}[rule]
    hyper = dict(b1=0.9, b2=0.98, eps=1e-6)
    cfg = optim.Optim(
        algorithm=make(**hyper, bias_correction=correct), peak_lr=0.01, weight_decay=0.1, clip_norm=None
    )
    axes = axes_tree(LITTLE_UNSTACKED)
    seen, _ = trajectory(optim.build(cfg, axes), params, gradients, lr=0.01)
    mask = optim.decay_mask(cfg, axes)
    close(
        seen[-1][0],
        numpy_run(params, gradients, mask, rule=rule, lr=0.01, decay=0.1, correct=correct, **hyper),
    )


def test_adamw_is_optax_adamw():
    params, gradients = data(LITTLE_STACKED)
    cfg = optim.Optim(algorithm=optim.AdamW(), peak_lr=0.01, weight_decay=0.1, clip_norm=0.5)
    axes = axes_tree(LITTLE_STACKED)
    theirs = optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.adamw(1.0, weight_decay=0.1, mask=optim.decay_mask(cfg, axes)),
        optax.scale(-1.0),
    )
    ours, _ = trajectory(optim.build(cfg, axes), params, gradients)
    other, _ = trajectory(theirs, params, gradients)
    close([p for p, _ in ours], [p for p, _ in other], rtol=1e-6)


def test_lamb_of_a_zero_parameter_takes_adams_step():
    zero = {"trunk": {"kernel": np.zeros((8, 8), np.float32)}}
    axes = axes_tree({"trunk": {"kernel": ("embed", "mlp")}})
    tx = optim.build(optim.Optim(algorithm=optim.Lamb(), peak_lr=1.0, clip_norm=None), axes)
    updates, _ = tx.update(jax.tree.map(np.ones_like, zero), tx.init(zero), zero)
    np.testing.assert_allclose(updates["trunk"]["kernel"], 1.0, rtol=1e-5)


def test_clipping_is_global_and_leaves_small_gradients_alone():
    axes = axes_tree(LITTLE_STACKED)
    params, (grads, *_) = data(LITTLE_STACKED)
    sgd = optim.Optax(name="sgd")
    norm = float(optax.tree.norm(grads))
    for limit, expected in ((None, 1.0), (2 * norm, 1.0), (norm / 4, 0.25)):
        cfg = optim.Optim(algorithm=sgd, peak_lr=1.0, weight_decay=0.0, clip_norm=limit)
        tx = optim.build(cfg, axes)
        updates, _ = tx.update(grads, tx.init(params), params)
        close(updates, jax.tree.map(lambda g, e=expected: e * g, grads), rtol=1e-6)
    zeros = jax.tree.map(np.zeros_like, grads)
    updates, _ = tx.update(zeros, tx.init(params), params)
    assert all(not np.any(u) for u in jax.tree.leaves(updates))


def test_decay_alone_shrinks_exactly_the_masked():
    axes = axes_tree(LITTLE_STACKED)
    params, _ = data(LITTLE_STACKED)
    cfg = optim.Optim(peak_lr=1.0, weight_decay=0.1)
    tx = optim.build(cfg, axes)
    updates, _ = tx.update(jax.tree.map(np.zeros_like, params), tx.init(params), params)
    expected = jax.tree.map(lambda p, d: 0.1 * p if d else 0 * p, params, optim.decay_mask(cfg, axes))
    close(updates, expected, rtol=1e-6)
