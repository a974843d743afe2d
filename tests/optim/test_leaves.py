# SPDX-License-Identifier: Apache-2.0
"""What a parameter is, read from axes: the traps are stacked biases, attention's 3-D kernels, and types."""

import jax
import pytest

from ssl_jax import optim
from ssl_jax.optim.leaves import Decay, Kind, leaves_of
from ssl_jax.types import Axes, UserError
from tests.optim.trees import STACKED, UNSTACKED, axes_tree, random_tree


def kinds(names):
    return {leaf.path: leaf.kind for leaf in leaves_of(axes_tree(names), Decay())[0]}


def test_kinds_of_a_stacked_encoder():
    by_kind = {kind: {p for p, k in kinds(STACKED).items() if k is kind} for kind in Kind}
    blocks = "trunk.blocks"
    assert by_kind[Kind.KERNEL] == {
        f"{blocks}.attention.query.kernel", f"{blocks}.attention.out.kernel", f"{blocks}.up.kernel",
        f"{blocks}.down.kernel", "heads.mlm.dense.kernel", "heads.nsp.kernel",
    }  # fmt: skip
    assert by_kind[Kind.EMBEDDING] == {f"trunk.{x}.embedding" for x in ("tokens", "positions", "types")}
    assert len(by_kind[Kind.VECTOR]) == 10


def test_kinds_do_not_depend_on_stacking():
    stacked = {p.replace("blocks.", "blocks.layer0."): k for p, k in kinds(STACKED).items()}
    assert stacked.items() <= kinds(UNSTACKED).items()


@pytest.mark.parametrize(
    ("key", "names", "kind", "matrix"),
    [
        ("kernel", ("layers", "embed", "heads", "head_dim"), Kind.KERNEL, ((), (0,), (1, 2))),
        ("kernel", ("layers", "embed", "kv_heads", "head_dim"), Kind.KERNEL, ((), (0,), (1, 2))),
        ("kernel", ("layers", "heads", "head_dim", "embed"), Kind.KERNEL, ((), (0, 1), (2,))),
        ("kernel", ("layers", "embed", None, "heads", "head_dim"), Kind.KERNEL, ((1,), (0,), (2, 3))),
        ("kernel", ("layers", "layers", "embed", "mlp"), Kind.KERNEL, ((), (0,), (1,))),
        ("kernel", ("layers", "experts", "embed", "mlp"), Kind.KERNEL, ((0,), (1,), (2,))),
        ("kernel", ("embed", "vocab"), Kind.KERNEL, None),
        ("bias", ("layers", None, "heads", "head_dim"), Kind.VECTOR, None),
        ("bias", ("layers", "heads", "head_dim"), Kind.VECTOR, None),
        ("scale", ("layers", "head_dim"), Kind.VECTOR, None),
        ("embedding", (None, "embed"), Kind.EMBEDDING, None),
        ("anything", ("layers",), Kind.VECTOR, None),
    ],
)
def test_one_leaf(key, names, kind, matrix):
    (leaf,), _ = leaves_of({"trunk": {key: Axes(names)}}, Decay())
    found = leaf.hidden_matrix
    assert (leaf.kind, found and (found.batch, found.rows, found.columns)) == (kind, matrix)


def test_decay_mask_is_berts_rule():
    mask = optim.decay_mask(optim.Optim(peak_lr=1e-3), axes_tree(STACKED))
    for path, decayed in jax.tree_util.tree_leaves_with_path(mask):
        assert decayed == (path[-1].key in ("kernel", "embedding")), path


def test_decay_rule_can_be_narrowed():
    rule = Decay(embeddings=False, skip=("heads.nsp.*",))
    mask = optim.decay_mask(optim.Optim(peak_lr=1e-3, decay=rule), axes_tree(STACKED))
    assert not mask["trunk"]["tokens"]["embedding"] and not mask["heads"]["nsp"]["kernel"]
    assert mask["heads"]["mlm"]["dense"]["kernel"]


def test_skip_that_fits_nothing_is_an_error():
    with pytest.raises(UserError, match=r"no parameter is called 'trunk\.typo'"):
        optim.decay_mask(optim.Optim(peak_lr=1e-3, decay=Decay(skip=("trunk.typo",))), axes_tree(STACKED))


def test_report_names_every_leaf_and_what_muon_does():
    cfg = optim.Optim(peak_lr=1e-3, algorithm=optim.Muon())
    params = random_tree(STACKED, 0)
    lines = optim.report(cfg, axes_tree(STACKED), params).splitlines()
    rows = {line.split()[0]: line for line in lines[1:-2]}
    assert len(rows) == len(jax.tree.leaves(params))
    assert "yes" in rows["trunk.blocks.up.kernel"]
    assert rows["trunk.blocks.up.kernel"].endswith("muon on 2 x [8, 16]")
    assert rows["trunk.blocks.attention.out.kernel"].endswith("muon on 2 x [8, 8]")
    assert rows["trunk.tokens.embedding"].endswith("adamw") and rows["heads.nsp.kernel"].endswith("adamw")
    assert lines[-1] == "Muon orthogonalises 768 parameters in 8 matrices"
    decayed = 2 * (64 + 64 + 128 + 128) + 24 * 8 + 8 * 8 + 2 * 8 + 64 + 16
    total = sum(x.size for x in jax.tree.leaves(params))
    assert lines[-2] == f"{decayed:,} of {total:,} parameters decay, by 0.01 * lr"
