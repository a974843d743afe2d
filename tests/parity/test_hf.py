# SPDX-License-Identifier: Apache-2.0
"""Every family and head against `transformers`, both directions, float32 on random weights of odd sizes."""

import numpy as np
import pytest

from tests.golden.make_hf import checksum
from tests.hf.cases import CASES, RETURNING, exported, imported, made, outputs
from tests.hf.test_tables import GOLDEN, known
from tests.models.test_golden_logits import GOLDEN as LOGITS
from tests.models.tiny import FAMILIES, PACKED, distance
from tests.parity.opened import opened, peer_outputs

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


@pytest.mark.parametrize("name", CASES)
def test_golden_files_are_what_transformers_computes(name, tmp_path):
    from safetensors.numpy import load_file

    model = opened(exported(name, tmp_path / "ours"))
    model.save_pretrained(tmp_path / "theirs")
    tensors = load_file(tmp_path / "theirs" / "model.safetensors")
    assert known()[name]["tensors"] == {k: [list(v.shape), checksum(v)] for k, v in tensors.items()}
    theirs = peer_outputs(name, model)
    with np.load(GOLDEN) as golden, np.load(LOGITS) as logits:
        for key, value in theirs.items():
            stored = golden[f"{name}.{key}"]
            assert distance(stored, value[:, : stored.shape[1]]) <= TOLERANCE / 10, key
        if name in FAMILIES:
            assert distance(logits[f"{name}.logits"], theirs["tokens"]) <= TOLERANCE / 10


def test_bfloat16_stays_within_its_rounding(tmp_path):
    """Both in float32 on weights that bfloat16 rounded; and transformers computing in bfloat16, too."""
    import torch

    name = "gpt2"
    out = exported(name, tmp_path / "out", dtype="bfloat16")
    rounded = imported(name, out)
    same(outputs(name, rounded), peer_outputs(name, opened(out)))
    half = peer_outputs(name, opened(out, dtype=torch.bfloat16))
    assert distance(outputs(name, made(name)[1])["tokens"], half["tokens"]) <= 8 * 2.0**-8
