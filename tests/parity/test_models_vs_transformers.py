# SPDX-License-Identifier: Apache-2.0
"""Logits against transformers, live: same weights, odd sizes, padding, float32."""

import pytest

from tests.parity.cases import CASES, differences, ours

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_logits_equal_those_of_transformers(case):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.parity.theirs import theirs

    for name, difference in differences(ours(case.name), theirs(case)).items():
        assert difference <= 1e-5, name
