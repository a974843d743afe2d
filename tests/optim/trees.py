# SPDX-License-Identifier: Apache-2.0
"""Small trees of parameters with every kind of leaf, stacked along layers and not; every optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import optim
from ssl_jax.optim.other import SUPPORTED
from ssl_jax.types import Axes

LAYERS, VOCAB, POSITIONS, DIM, HEADS, HEAD_DIM, MLP = 2, 24, 8, 8, 2, 4, 16
SIZES = {
    "vocab": VOCAB,
    "positions": POSITIONS,
    "embed": DIM,
    "heads": HEADS,
    "head_dim": HEAD_DIM,
    "mlp": MLP,
}

BLOCK = {
    "attention": {
        "query": {"kernel": ("embed", "heads", "head_dim"), "bias": ("heads", "head_dim")},
        "out": {"kernel": ("heads", "head_dim", "embed"), "bias": ("embed",)},
    },
    "up": {"kernel": ("embed", "mlp"), "bias": ("mlp",)},
    "down": {"kernel": ("mlp", "embed"), "bias": ("embed",)},
    "norm": {"scale": ("embed",), "bias": ("embed",)},
}
OUTSIDE = {
    "trunk": {
        "tokens": {"embedding": ("vocab", "embed")},
        "positions": {"embedding": ("positions", "embed")},
        "types": {"embedding": (None, "embed")},
        "norm": {"scale": ("embed",)},
    },
    "heads": {
        "lm": {},  # tied: no parameters of its own
        "mlm": {"dense": {"kernel": ("embed", "embed"), "bias": ("embed",)}, "bias": ("vocab",)},
        "nsp": {"kernel": ("embed", None), "bias": (None,)},
    },
}


ALL = {
    "adamw": optim.AdamW(),
    "adamw as in BERT": optim.AdamW(bias_correction=False, eps=1e-6),
    "lamb": optim.Lamb(),
    "muon": optim.Muon(),
    "factored adafactor": optim.Optax(
        name="adafactor", args=(("min_dim_size_to_factor", 4), ("momentum", 0.9))
    ),
    **{name: optim.Optax(name=name) for name in SUPPORTED},
}


# Elementwise optimizers of optax have no statistics that stacking could mix.
WITH_STATISTICS = ("adafactor", "lars", "novograd", "sm3", "lion")


def fast_and_slow(names):
    """Parameters of a test: all names, most of optax's elementwise optimizers marked slow."""
    slow = set(SUPPORTED) - set(WITH_STATISTICS)
    return [pytest.param(n, marks=pytest.mark.slow if n in slow else ()) for n in sorted(names)]


def is_names(x):
    return isinstance(x, tuple)


def axes_tree(names):
    return jax.tree.map(Axes, names, is_leaf=is_names)


def tree_names(blocks):
    """The whole model, its trunk holding `blocks`."""
    return {"trunk": {**OUTSIDE["trunk"], "blocks": blocks}, "heads": OUTSIDE["heads"]}


STACKED = tree_names(jax.tree.map(lambda n: ("layers", *n), BLOCK, is_leaf=is_names))
UNSTACKED = tree_names({f"layer{i}": BLOCK for i in range(LAYERS)})

# The same in little, for tests that run every optimizer.
LITTLE = {"query": {"kernel": ("embed", "heads", "head_dim"), "bias": ("heads", "head_dim")}}
LITTLE_STACKED = {
    "trunk": {
        "blocks": jax.tree.map(lambda n: ("layers", *n), LITTLE, is_leaf=is_names),
        "tokens": {"embedding": ("vocab", "embed")},
    }
}
LITTLE_UNSTACKED = {
    "trunk": {
        "blocks": {f"layer{i}": LITTLE for i in range(LAYERS)},
        "tokens": {"embedding": ("vocab", "embed")},
    }
}


def shape_of(names):
    return tuple({**SIZES, "layers": LAYERS, None: 2}[name] for name in names)


def random_tree(names, seed, scale=1.0):
    """float32 normal arrays; each layer's scale differs, so that a norm over all layers is seen as wrong."""
    rng = np.random.default_rng(seed)

    def draw(leaf):
        x = rng.normal(size=shape_of(leaf)) * scale
        if leaf[:1] == ("layers",):
            x *= 4.0 ** np.arange(LAYERS).reshape(-1, *[1] * (x.ndim - 1))
        return jnp.asarray(x, jnp.float32)

    return jax.tree.map(draw, names, is_leaf=is_names)


def unstack(tree):
    """The tree of STACKED as one of UNSTACKED."""
    blocks = {f"layer{i}": jax.tree.map(lambda x, i=i: x[i], tree["trunk"]["blocks"]) for i in range(LAYERS)}
    return {**tree, "trunk": {**tree["trunk"], "blocks": blocks}}


def trajectory(tx, params, gradients, lr=0.01, jit=False):
    """(parameters, updates) after each step of new = params - lr * u, and the last state.

    Not jitted by default: small operations of few shapes are compiled once for all optimizers.
    """

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return jax.tree.map(lambda p, u: p - lr * u, params, updates), state, updates

    step = jax.jit(step) if jit else step
    state = tx.init(params)
    seen = []
    for grads in gradients:
        params, state, updates = step(params, state, grads)
        seen.append((params, updates))
    return seen, state
