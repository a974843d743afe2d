# SPDX-License-Identifier: Apache-2.0
"""50 steps of our step against those of torch and `transformers` (tests/golden/make_curves.py)."""

from pathlib import Path

import numpy as np
import pytest

from tests.parity.curve import CURVES, STEPS, Run, checksum

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "curves.npz"
TOLERANCE = 1e-4  # DESIGN's, against another framework


def golden_curve(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as golden:
        return {key.removeprefix(f"{name}."): golden[key] for key in golden if key.startswith(f"{name}.")}


@pytest.mark.parametrize("name", CURVES)
def test_losses_equal_those_of_torch(name):
    theirs = golden_curve(name)
    assert checksum(CURVES[name]) == theirs.pop("checksum"), (
        "the objective makes other batches than those of the golden curve: run tests/golden/make_curves.py"
    )
    ours = Run(name, quick=True).losses()
    assert ours.keys() == theirs.keys()
    for key, losses in theirs.items():
        assert losses.shape == (STEPS,)
        np.testing.assert_allclose(ours[key], losses, rtol=0, atol=TOLERANCE, err_msg=key)
