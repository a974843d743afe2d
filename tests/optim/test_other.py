# SPDX-License-Identifier: Apache-2.0
"""Optimizers of optax by name: the same as optax, linear in the learning rate, and clear refusals."""

import jax
import numpy as np
import optax
import pytest

from ssl_jax import optim
from ssl_jax.optim.other import REFUSED, SUPPORTED
from ssl_jax.types import UserError
from tests.optim.trees import LITTLE_UNSTACKED, axes_tree, fast_and_slow, random_tree, trajectory


def from_optax(name, **kwargs):
    return (getattr(optax, name, None) or getattr(optax.contrib, name))(**kwargs)


def build(name, *args, decay=0.0):
    cfg = optim.Optim(
        algorithm=optim.Optax(name=name, args=args), peak_lr=1.0, weight_decay=decay, clip_norm=None
    )
    return optim.build(cfg, axes_tree(LITTLE_UNSTACKED))


@pytest.mark.parametrize("name", fast_and_slow(set(SUPPORTED) - {"lars"}))  # no trust ratio for biases here
def test_equals_optax_and_is_linear_in_the_rate(name):
    params = random_tree(LITTLE_UNSTACKED, 0)
    gradients = [random_tree(LITTLE_UNSTACKED, s, 0.3) for s in range(1, 4)]
    ours, _ = trajectory(build(name), params, gradients)
    no_decay = {"weight_decay": 0.0} if name in ("lion", "adan", "ademamix") else {}
    theirs = from_optax(name, learning_rate=0.01, **no_decay)
    other, _ = trajectory(optax.chain(theirs, optax.scale(-100.0)), params, gradients)
    for (_, a), (_, b) in zip(ours, other, strict=True):
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-5 * np.abs(y).max())


def test_lars_has_no_trust_ratio_for_biases_and_decays_inside():
    params, grads = random_tree(LITTLE_UNSTACKED, 0), random_tree(LITTLE_UNSTACKED, 1, 0.3)
    tx = build("lars", decay=0.1)
    updates, _ = tx.update(grads, tx.init(params), params)
    block = lambda tree: tree["trunk"]["blocks"]["layer1"]["query"]
    np.testing.assert_allclose(block(updates)["bias"], block(grads)["bias"], rtol=1e-6)
    p, g = np.asarray(block(params)["kernel"], np.float64), np.asarray(block(grads)["kernel"], np.float64)
    decayed = g + 0.1 * p
    ratio = 0.001 * np.linalg.norm(p) / np.linalg.norm(decayed)
    np.testing.assert_allclose(block(updates)["kernel"], ratio * decayed, rtol=1e-5)


def test_arguments_reach_optax_and_decay_is_decoupled():
    params, grads = random_tree(LITTLE_UNSTACKED, 0), random_tree(LITTLE_UNSTACKED, 1)
    tx = build("lion", ("b1", 0.0), decay=0.1)
    updates, _ = tx.update(grads, tx.init(params), params)
    leaf = lambda tree: tree["trunk"]["tokens"]["embedding"]
    np.testing.assert_allclose(leaf(updates), np.sign(leaf(grads)) + 0.1 * leaf(params), rtol=1e-6)
    bias = lambda tree: tree["trunk"]["blocks"]["layer0"]["query"]["bias"]
    np.testing.assert_allclose(bias(updates), np.sign(bias(grads)))


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("lionn", (), "no optimizer of optax is called 'lionn'; try lion"),
        ("lion", (("beta1", 0.9),), "lion has no argument 'beta1'; it has b1"),
        ("lion", (("weight_decay", 0.1),), "set optim.weight_decay"),
        ("lion", (("learning_rate", 0.1),), "set optim.peak_lr"),
        ("sophia", (), "'sophia' cannot be used here: it needs more than a step's gradient"),
        ("lamb", (), r"use Lamb\(\)"),
        ("muon", (), r"use Muon\(\)"),
    ],
)
def test_mistakes(name, args, message):
    with pytest.raises(UserError, match=message):
        build(name, *args)


def test_every_name_exists_in_optax():
    for name in (*SUPPORTED, *REFUSED):
        assert callable(getattr(optax, name, None) or getattr(optax.contrib, name)), name
    assert not set(SUPPORTED) & set(REFUSED)
