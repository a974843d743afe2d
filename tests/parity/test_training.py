# SPDX-License-Identifier: Apache-2.0
"""The training curve against torch and `transformers`: same weights, same batches, same optimizer, 50 steps.

Float32, dropout 0, a peak rate of 5e-4 after a warm-up; AdamW with decay on the leaves that our mask names,
gradients clipped to a global norm of 1.
"""

import functools

import numpy as np
import pytest

from tests.models.test_golden_curves import TOLERANCE, golden_curve
from tests.parity.curve import CURVES, STEPS, Run, batches
from tests.parity.torch_curve import torch_losses

pytestmark = pytest.mark.parity
theirs_of = functools.cache(torch_losses)


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("name", CURVES)
def test_every_loss_of_50_steps(name, accumulation):
    """With accumulation, torch still takes the large batch at once."""
    theirs = theirs_of(name)
    assert (theirs["grad_norm"] > 1).any()  # clipping matters
    ours = Run(name, accumulation=accumulation).losses()
    assert ours.keys() == theirs.keys()
    for key, losses in theirs.items():
        assert losses.shape == (STEPS,)
        np.testing.assert_allclose(ours[key], losses, rtol=0, atol=TOLERANCE, err_msg=key)


def test_micro_batches_of_accumulation_have_unequal_weights():
    """Otherwise a mean of means would pass, too."""
    for name, curve in CURVES.items():
        if name == "number":
            continue  # every row counts the same, and `transformers` knows no other
        key = "weight" if name in ("classes", "spans") else "weights"
        counts = [{batch[key][i::4].sum() for i in range(4)} for batch in batches(curve)]
        assert np.mean([len(c) > 1 for c in counts]) > 0.9


@pytest.mark.parametrize("name", CURVES)
def test_golden_curves_are_what_torch_computes(name):
    golden = golden_curve(name)
    for key, losses in theirs_of(name).items():
        np.testing.assert_allclose(golden[key], losses, rtol=0, atol=TOLERANCE / 4, err_msg=key)
