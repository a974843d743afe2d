# SPDX-License-Identifier: Apache-2.0
"""Patience: a run is done when its metric has stopped getting better, resumed or not."""

import pytest

from ssl_jax.loop.hooks import Patience
from ssl_jax.loop.loop import StepInfo

SCORES = [0.50, 0.61, 0.60, 0.61, 0.55, 0.70]  # the best so far is met twice: equal is not better


def told(patience: Patience, scores, first: int = 0):
    """The number of the evaluation at which it stops the run, None where it never does."""
    for number, score in enumerate(scores, start=first):
        info = StepInfo(number, (0, 1), {"loss": 1.0, "heldout/f1": score}, None, 0.0, 0.0)
        if stop := patience(info):
            assert stop.status == 0 and "heldout/f1" in stop.reason
            return number
    return None


def patience(evaluations: int, higher_is_better: bool = True, seen=()) -> Patience:
    logged = [{"step": i, "heldout/f1": score} for i, score in enumerate(seen)]
    return Patience("heldout/f1", evaluations=evaluations, higher_is_better=higher_is_better, logged=logged)


@pytest.mark.parametrize(("evaluations", "stops"), [(1, 2), (3, 4), (4, None)])
def test_it_stops_after_so_many_evaluations_without_a_better_one(evaluations, stops):
    assert told(patience(evaluations), SCORES) == stops


def test_lower_may_be_better():
    assert told(patience(3, higher_is_better=False), SCORES) == 3


def test_steps_without_the_metric_count_for_nothing():
    hook = patience(1)
    assert all(hook(StepInfo(i, (0, 1), {"loss": 1.0}, None, 0.0, 0.0)) is None for i in range(9))


@pytest.mark.parametrize("cut", range(5))
def test_a_resumed_run_stops_where_the_uninterrupted_one_does(cut):
    assert told(patience(3, seen=SCORES[:cut]), SCORES[cut:], first=cut) == told(patience(3), SCORES)


def test_a_score_that_is_no_number_is_never_better_live_or_in_the_log():
    scores = [0.5, float("nan"), 0.4]
    live, resumed = patience(2), patience(2, seen=[0.5, "nan"])
    assert told(live, scores) == told(resumed, scores[2:], first=2) == 2


def test_a_run_that_was_killed_after_its_last_evaluation_is_done():
    assert patience(3, seen=SCORES[:5]).ran_out and not patience(3, seen=SCORES[:4]).ran_out
