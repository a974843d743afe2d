# SPDX-License-Identifier: Apache-2.0
"""Every metric equals scikit-learn's or scipy's, on random and on adversarial labels and predictions."""

import functools
import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from ssl_jax.tasks.metrics import Measure, measure, ranks
from ssl_jax.types import UserError

CASES = 1000


def class_cases():
    """(labels, predicted): 1 to 39 examples of 1 to 5 classes, skewed; all right, all wrong, constant."""
    rng = np.random.default_rng(0)
    for case in range(CASES):
        count, classes = int(rng.integers(1, 40)), int(rng.integers(1, 6))
        share = rng.dirichlet(np.full(classes, 0.5))
        labels = rng.choice(classes, count, p=share)
        match case % 5:
            case 0:
                predicted = labels.copy()
            case 1:
                predicted = (labels + 1) % classes
            case 2:
                predicted = np.full(count, rng.integers(classes))
            case _:
                predicted = rng.integers(0, classes, count)
        yield labels, predicted


def number_cases():
    """(labels, predicted): ties, constants, near-constants, huge and tiny scales, far from 0."""
    rng = np.random.default_rng(1)
    for case in range(CASES):
        count = int(rng.integers(2, 40))
        labels, predicted = rng.normal(size=(2, count))
        match case % 8:
            case 0:
                labels, predicted = labels.round(), predicted.round()
            case 1:
                predicted = labels * 1e200
            case 2:
                labels, predicted = labels * 1e-200, predicted + 1e6
            case 3:
                predicted = np.full(count, predicted[0])
            case 4:
                predicted = np.where(np.arange(count) == 0, 1.0, 0.0)
            case 5:
                predicted = -labels
        yield labels, predicted


@functools.cache
def each_f1(labels: tuple[int, ...], predicted: tuple[int, ...]) -> dict[int, float]:
    """Class -> F1: one call of scikit-learn for two tests."""
    classes = sorted({*labels, *predicted})
    scores = sklearn.metrics.f1_score(labels, predicted, labels=classes, average=None, zero_division=0)
    return dict(zip(classes, scores))


REFERENCES = {
    Measure.ACCURACY: sklearn.metrics.accuracy_score,
    Measure.F1: lambda a, b: each_f1(tuple(a), tuple(b)).get(1, 0.0),
    Measure.MACRO_F1: lambda a, b: np.mean(list(each_f1(tuple(a), tuple(b)).values())),
    Measure.MATTHEWS: sklearn.metrics.matthews_corrcoef,
    Measure.PEARSON: lambda a, b: scipy.stats.pearsonr(a, b)[0],
    Measure.SPEARMAN: lambda a, b: scipy.stats.spearmanr(a, b)[0],
    Measure.MSE: sklearn.metrics.mean_squared_error,
}
UNDEFINED = (Measure.MATTHEWS, Measure.PEARSON, Measure.SPEARMAN)  # where all labels are the same


@pytest.mark.parametrize("kind", Measure, ids=lambda kind: kind.value)
def test_equals_the_reference(kind):
    compared = 0
    for labels, predicted in number_cases() if kind.of_numbers else class_cases():
        if kind in UNDEFINED and (labels == labels[0]).all():
            with pytest.raises(UserError, match=f"all {len(labels)} labels are"):
                measure(kind, labels, predicted)
            continue
        ours = measure(kind, labels, predicted, positive=1)
        with warnings.catch_warnings(), sklearn.config_context(skip_parameter_validation=True):
            warnings.simplefilter(
                "ignore"
            )  # that a class or a variance is missing: these cases are here for it
            theirs = REFERENCES[kind](labels, predicted)
        if kind.of_numbers and (predicted == predicted[0]).all() and kind is not Measure.MSE:
            assert np.isnan(theirs) and ours == 0.0
            continue
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
        compared += 1
    assert compared > 0.6 * CASES


def test_ranks_share_the_mean_at_ties():
    values = np.random.default_rng(2).integers(0, 9, 300)
    np.testing.assert_array_equal(ranks(values), scipy.stats.rankdata(values))


def test_classes_may_be_names():
    labels, predicted = np.array(["no", "yes", "yes", "no"]), np.array(["no", "yes", "no", "no"])
    assert measure(Measure.F1, labels, predicted, positive="yes") == pytest.approx(2 / 3)
    assert measure(Measure.MACRO_F1, labels, predicted) == pytest.approx((2 / 3 + 0.8) / 2)
