# SPDX-License-Identifier: Apache-2.0
"""Muon orthogonalises each layer's kernel, attention's included, and nothing else.

Cause: optax.contrib.muon silently gives stacked 3-D and attention's [D, H, K] kernels to Adam.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssl_jax import optim
from tests.optim.trees import LAYERS, STACKED, UNSTACKED, axes_tree, random_tree, trajectory


def one_update(algorithm, names, params, grads):
    tx = optim.build(
        optim.Optim(algorithm=algorithm, peak_lr=1.0, weight_decay=0.0, clip_norm=None), axes_tree(names)
    )
    return jax.jit(tx.update)(grads, tx.init(params), params)


def test_singular_values_are_near_one_in_every_layer():
    params, grads = random_tree(STACKED, 0), random_tree(STACKED, 1)
    updates, _ = one_update(optim.Muon(rms=None), STACKED, params, grads)
    blocks = updates["trunk"]["blocks"]
    kernels = {
        "query": blocks["attention"]["query"]["kernel"].reshape(LAYERS, 8, 8),
        "out": blocks["attention"]["out"]["kernel"].reshape(LAYERS, 8, 8),
        "up": blocks["up"]["kernel"] / np.sqrt(2.0),  # [8, 16]: width scaling sqrt(16 / 8)
        "down": blocks["down"]["kernel"],
    }
    for name, kernel in kernels.items():
        values = np.linalg.svd(kernel, compute_uv=False)
        assert values.shape == (LAYERS, 8), name
        # 1.3 and not 1.13 above, 0.3 below: a square random matrix has nearly singular directions.
        assert values.max() < 1.3 and np.median(values) > 0.68 and values.min() > 0.05, (name, values)


def test_orthogonalize_reaches_the_band_of_newton_schulz():
    rng = np.random.default_rng(0)
    left, right = np.linalg.qr(rng.normal(size=(32, 32)))[0], np.linalg.qr(rng.normal(size=(16, 16)))[0]
    spectrum = np.geomspace(1.0, 0.05, 16)
    x = jnp.asarray(left[:, :16] * spectrum @ right, jnp.float32)
    y = np.asarray(optim.orthogonalize(7.0 * x))
    values = np.linalg.svd(y, compute_uv=False)
    assert values.min() > 0.6 and values.max() < 1.25
    # U and V are those of x: U^T Y V is diagonal.
    inner = left[:, :16].T @ y @ right.T
    np.testing.assert_allclose(inner, np.diag(np.diag(inner)), atol=2e-3)
    np.testing.assert_allclose(optim.orthogonalize(x.T), optim.orthogonalize(x).T, atol=1e-6)


@pytest.mark.parametrize(("nesterov", "rms"), [(True, None), (False, 0.2)])
def test_two_dimensional_kernels_equal_optax(nesterov, rms):
    names = {"trunk": {"up": ("embed", "mlp"), "down": ("mlp", "embed"), "norm": ("embed",)}}
    params = random_tree(names, 0)
    gradients = [random_tree(names, s) for s in range(1, 6)]
    adam = optim.AdamW(b1=0.9, b2=0.999)
    cfg = optim.Optim(
        algorithm=optim.Muon(rms=rms, nesterov=nesterov, adam=adam),
        peak_lr=1.0,
        weight_decay=0.1,
        clip_norm=None,
    )
    muon = optax.contrib.muon(1.0, weight_decay=0.1, consistent_rms=rms, nesterov=nesterov)
    theirs, _ = trajectory(optax.chain(muon, optax.scale(-1.0)), params, gradients, jit=True)
    ours, _ = trajectory(optim.build(cfg, axes_tree(names)), params, gradients, jit=True)
    for (_, a), (_, b) in zip(ours, theirs, strict=True):
        for name in ("up", "down"):
            np.testing.assert_allclose(a["trunk"][name], b["trunk"][name], rtol=1e-4, atol=1e-5)
        if not nesterov:  # optax hands nesterov on to its Adam
            np.testing.assert_allclose(a["trunk"]["norm"], b["trunk"]["norm"], rtol=1e-4, atol=1e-6)


def test_unnamed_axis_counts_several_matrices():
    names = {"trunk": {"kernel": ("embed", None, "heads", "head_dim")}}
    params, grads = random_tree(names, 0), random_tree(names, 1)
    fused, _ = one_update(optim.Muon(), names, params, grads)
    single = {"trunk": {"kernel": ("embed", "heads", "head_dim")}}
    for i in range(2):
        take = lambda tree, i=i: {"trunk": {"kernel": tree["trunk"]["kernel"][:, i]}}
        alone, _ = one_update(optim.Muon(), single, take(params), take(grads))
        np.testing.assert_allclose(
            fused["trunk"]["kernel"][:, i], alone["trunk"]["kernel"], atol=2e-5
        )  # five steps amplify a rounding 3.4445**5 times


def test_the_rest_is_adam_times_its_ratio():
    params, grads = random_tree(UNSTACKED, 0), random_tree(UNSTACKED, 1)
    muon, state = one_update(optim.Muon(adam_ratio=0.5), UNSTACKED, params, grads)
    adam, _ = one_update(optim.AdamW(b2=0.95), UNSTACKED, params, grads)
    leaves = jax.tree_util.tree_leaves_with_path(muon)
    for (path, a), b in zip(leaves, jax.tree.leaves(adam), strict=True):
        is_muon = path[0].key == "trunk" and path[-1].key == "kernel"
        assert np.allclose(a, 0.5 * b, rtol=1e-6) != is_muon, path
    assert set(state.leaves["trunk"]["blocks"]["layer0"]["up"]["kernel"]) == {"mu"}
    assert set(state.leaves["trunk"]["tokens"]["embedding"]) == {"mu", "nu"}


def test_rms_scaling_gives_adams_size():
    names = {"trunk": {"kernel": ("layers", "embed", "mlp")}}
    params, grads = random_tree(names, 0), random_tree(names, 1)
    updates, _ = one_update(optim.Muon(rms=0.2), names, params, grads)
    rms = np.sqrt(np.mean(np.square(updates["trunk"]["kernel"]), axis=(1, 2)))
    np.testing.assert_allclose(rms, 0.2, rtol=0.25)
