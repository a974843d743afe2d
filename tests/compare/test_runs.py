# SPDX-License-Identifier: Apache-2.0
"""Numbers over seeds, and curves of several runs as one."""

from pathlib import Path

import numpy as np
import pytest

from ssl_jax.compare.runs import Done, Over, curve


def done(seed: int, scores: dict[int, float]) -> Done:
    lines = [{"step": step, "loss": 1.0, "heldout/f1": score} for step, score in scores.items()]
    return Done(Path(f"seed{seed}"), seed, lines, {}, max(scores))


def test_statistics_are_those_of_numpy():
    values = np.random.default_rng(0).normal(size=7)
    over = Over(tuple(values))
    expected = values.mean(), values.std(ddof=1), np.median(values), values.max()
    np.testing.assert_allclose((over.mean, over.std, over.median, over.best), expected, rtol=1e-12)


def test_one_seed_has_no_deviation():
    assert Over((0.5,)).std == 0.0


def test_a_curve_has_the_steps_that_every_run_logged():
    runs = [done(0, {10: 0.1, 20: 0.3, 30: 0.5}), done(1, {10: 0.2, 20: 0.4})]
    assert [(step, over.mean) for step, over in curve(runs, "heldout/f1")] == [
        (10, pytest.approx(0.15)),
        (20, pytest.approx(0.35)),
    ]
