# SPDX-License-Identifier: Apache-2.0
"""Logits of all families against `transformers`, float32, on random weights."""

import numpy as np
import pytest

from tests.models.test_golden_logits import GOLDEN, TOLERANCE
from tests.models.tiny import ALONE, FAMILIES, PACKED, distance, logits
from tests.parity.peers import peer_logits

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("name", FAMILIES)
def test_padded_rows_equal_padded_rows(name):
    ours, theirs = logits(name, ALONE), peer_logits(name, padded=True)
    assert ours.keys() == theirs.keys()
    for key in theirs:
        assert distance(ours[key], theirs[key]) <= TOLERANCE, key


@pytest.mark.parametrize("name", FAMILIES)
def test_packed_documents_equal_each_document_on_its_own(name):
    theirs = peer_logits(name, padded=False)["logits"]
    assert distance(logits(name, PACKED)["logits"], theirs) <= TOLERANCE


@pytest.mark.parametrize("name", FAMILIES)
def test_golden_logits_are_what_transformers_computes(name):
    theirs = peer_logits(name, padded=True)
    with np.load(GOLDEN) as golden:
        for key, value in theirs.items():
            assert distance(golden[f"{name}.{key}"], value) <= TOLERANCE / 10, key
