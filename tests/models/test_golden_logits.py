# SPDX-License-Identifier: Apache-2.0
"""Logits of all families against those that `transformers` computed (tests/golden/make_logits.py)."""

from pathlib import Path

import numpy as np
import pytest

from tests.models.tiny import ALONE, FAMILIES, PACKED, distance, logits

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "logits.npz"
TOLERANCE = 1e-5  # of the largest logit


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_equal_those_of_transformers(name):
    """With a document a row, with several packed into one, and beside rows of nothing but padding."""
    alone, packed = logits(name, ALONE), logits(name, PACKED)
    with np.load(GOLDEN) as golden:
        for key, value in alone.items():
            assert distance(value, golden[f"{name}.{key}"]) <= TOLERANCE, key
        assert distance(packed["logits"], golden[f"{name}.logits"]) <= TOLERANCE
