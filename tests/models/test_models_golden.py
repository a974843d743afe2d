# SPDX-License-Identifier: Apache-2.0
"""Logits against those that transformers gave (tests/golden/make_logits.py), without torch."""

import numpy as np
import pytest

from tests.parity.cases import CASES, GOLDEN, differences, ours


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_logits_equal_the_stored_ones_of_transformers(case):
    with np.load(GOLDEN / f"logits_{case.name}.npz") as stored:
        for name, difference in differences(ours(case.name), dict(stored)).items():
            assert difference <= 1e-5, name
