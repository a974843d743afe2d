# SPDX-License-Identifier: Apache-2.0
"""What fine-tuning asks of an optimizer: rates that fall towards the embeddings, and parameters that rest."""

import jax
import numpy as np
import pytest

from ssl_jax import optim
from ssl_jax.types import UserError
from tests.optim.trees import LAYERS, STACKED, axes_tree, random_tree


def updates(**fields):
    """path -> update (or state) of one step of AdamW without clipping."""
    cfg = optim.Optim(peak_lr=1e-3, clip_norm=fields.pop("clip_norm", None), **fields)
    tx = optim.build(cfg, axes_tree(STACKED))
    params, grads = random_tree(STACKED, 0), random_tree(STACKED, 1)
    made, state = tx.update(grads, tx.init(params), params)
    flat = lambda tree: {
        jax.tree_util.keystr(p, simple=True, separator="."): np.asarray(x)
        for p, x in jax.tree_util.tree_leaves_with_path(tree)
    }
    return flat(made), flat(state.leaves), flat(grads)


def test_layer_decay_slows_each_layer_by_its_distance_from_the_heads():
    plain, slowed = updates()[0], updates(layer_decay=0.5)[0]
    for path, update in plain.items():
        if path.startswith("trunk.blocks."):
            # Layer l of L: 0.5^(L - l), the top one 0.5 (not its square).
            shares = [0.5 ** (LAYERS - layer) for layer in range(LAYERS)]
        else:
            shares = [0.5 ** (LAYERS + 1) if path.startswith("trunk.") else 1.0] * len(update)
        for share, before, after in zip(shares, update, slowed[path], strict=True):
            np.testing.assert_allclose(after, share * before, rtol=1e-6)


def test_what_stands_in_the_stack_beside_its_layers_comes_after_them():
    names = {"trunk": {"stack": {"blocks": {"up": {"kernel": ("layers", "embed", "mlp")}},
                                 "final_norm": {"scale": ("embed",)}}}}  # fmt: skip
    axes = axes_tree(names)
    cfg = optim.Optim(peak_lr=1e-3, clip_norm=None)
    ones = {"trunk": {"stack": {"blocks": {"up": {"kernel": np.ones((2, 4, 4), "f4")}},
                                "final_norm": {"scale": np.ones(4, "f4")}}}}  # fmt: skip
    made = [
        optim.build(c, axes).update(ones, optim.build(c, axes).init(ones), ones)[0]
        for c in (cfg, optim.Optim(peak_lr=1e-3, clip_norm=None, layer_decay=0.5))
    ]
    before, after = (m["trunk"]["stack"]["final_norm"]["scale"] for m in made)
    np.testing.assert_array_equal(before, after)


def test_frozen_parameters_neither_move_nor_decay_nor_count_in_the_norm_nor_have_moments():
    made, state, grads = updates(frozen=("trunk.*",), clip_norm=1.0)
    trunk = [path for path in grads if path.startswith("trunk.")]
    assert trunk and all(not made[path].any() for path in trunk)
    assert not any(path.startswith("trunk.") for path in state)
    heads = {path: g for path, g in grads.items() if not path.startswith("trunk.")}
    norm = np.sqrt(sum(np.square(g.astype(np.float64)).sum() for g in heads.values()))
    assert norm > 1, "or clipping shows nothing"
    (mu,) = [x for path, x in state.items() if path.startswith("heads.nsp.kernel") and "mu" in path]
    np.testing.assert_allclose(mu, 0.1 * heads["heads.nsp.kernel"] / norm, rtol=1e-5)


def test_a_pattern_that_fits_nothing_is_a_mistake():
    with pytest.raises(UserError, match=r"optim.frozen: no parameter is called 'trnk.\*'"):
        updates(frozen=("trnk.*",))


def test_the_report_names_what_rests():
    shapes = random_tree(STACKED, 0)
    report = optim.report(optim.Optim(peak_lr=1e-3, frozen=("trunk.*",)), axes_tree(STACKED), shapes)
    rows = [line.split() for line in report.splitlines()[1:-1]]
    assert all((row[-1] == "frozen") == row[0].startswith("trunk.") for row in rows)
