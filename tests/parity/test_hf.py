# SPDX-License-Identifier: Apache-2.0
"""Every family and head against `transformers`, both directions, float32 on random weights of odd sizes."""

import numpy as np
import pytest

from tests.hf.cases import CASES, RETURNING, exported, imported, made, outputs
from tests.models.tiny import PACKED, distance
from tests.parity.peers import opened, peer_outputs

pytestmark = pytest.mark.parity
TOLERANCE = 1e-5  # of the largest logit


def same(ours, theirs, tolerance=TOLERANCE):
    assert ours.keys() == theirs.keys()
    for key in theirs:
        assert distance(ours[key], theirs[key]) <= tolerance, (key, distance(ours[key], theirs[key]))


@pytest.mark.parametrize("name", CASES)
def test_what_leaves_computes_the_same_there(name, tmp_path):
    leaves = made(name)[1]
    model = opened(exported(name, tmp_path / "out"))
    same(outputs(name, leaves), peer_outputs(name, model))
    alone = peer_outputs(name, model, padded=False)
    if "tokens" in alone:
        same({"tokens": outputs(name, leaves, PACKED)["tokens"]}, {"tokens": alone["tokens"]})


@pytest.mark.parametrize("name", RETURNING)
def test_what_comes_in_computes_the_same_here_and_leaves_bit_for_bit(name, tmp_path):
    """Weights that transformers drew, and wrote itself."""
    import torch
    from safetensors.numpy import load_file

    model = opened(exported(name, tmp_path / "ours"))
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            parameter.copy_(0.2 * drawn + (parameter.ndim == 1))
    model.save_pretrained(tmp_path / "theirs")
    leaves = imported(name, tmp_path / "theirs")
    same(outputs(name, leaves), peer_outputs(name, model))
    again = load_file(exported(name, tmp_path / "again", leaves) / "model.safetensors")
    there = load_file(tmp_path / "theirs" / "model.safetensors")
    assert again.keys() == there.keys()
    for key in there:
        np.testing.assert_array_equal(again[key], there[key], err_msg=key)
