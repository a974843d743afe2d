# SPDX-License-Identifier: Apache-2.0
"""Metrics of classes and of numbers, as scikit-learn and scipy define them, and defined where those give NaN.

N examples; labels are what is true, predicted is what a model said: [N] arrays, neither of length 0.  Classes
are compared with ==, so ids and names will do.
"""

import enum
from collections.abc import Sequence

import numpy as np

from ssl_jax.types import UserError


class Measure(enum.Enum):
    """A metric by the name under which it is logged."""

    ACCURACY = "accuracy"
    F1 = "f1"
    MACRO_F1 = "macro_f1"
    MATTHEWS = "matthews"
    PEARSON = "pearson"
    SPEARMAN = "spearman"
    MSE = "mse"

    @property
    def of_numbers(self) -> bool:
        return self in (Measure.PEARSON, Measure.SPEARMAN, Measure.MSE)


def measure(kind: Measure, labels: np.ndarray, predicted: np.ndarray, positive: object = None) -> float:
    """positive: the class that F1 is of.  Raises UserError where the labels leave the metric undefined."""
    match kind:
        case Measure.ACCURACY:
            return accuracy(labels, predicted)
        case Measure.F1:
            return f1(labels, predicted, positive)
        case Measure.MACRO_F1:
            return macro_f1(labels, predicted)
        case Measure.MATTHEWS:
            return matthews(labels, predicted)
        case Measure.PEARSON:
            return pearson(labels, predicted)
        case Measure.SPEARMAN:
            return spearman(labels, predicted)
        case Measure.MSE:
            return mean_squared_error(labels, predicted)


def accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean(labels == predicted))


def f1(labels: np.ndarray, predicted: np.ndarray, positive: object) -> float:
    """2 TP / (2 TP + FP + FN) of the class `positive`; 0 where it occurs on neither side."""
    true, said = labels == positive, predicted == positive
    found = 2 * int(np.sum(true & said))
    return found / max(1, int(true.sum()) + int(said.sum()))


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """The mean of the F1 of each class that occurs on either side."""
    classes = np.union1d(labels, predicted)
    return float(np.mean([f1(labels, predicted, each) for each in classes]))


def matthews(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Matthews correlation, of several classes the R_K of Gorodkin (2004); 0 for constant predictions.

    Raises UserError where all labels are one class.
    """
    varied(labels, "Matthews correlation")
    classes = np.union1d(labels, predicted)
    true = np.array([np.sum(labels == each) for each in classes], np.float64)
    said = np.array([np.sum(predicted == each) for each in classes], np.float64)
    count = float(len(labels))
    spread = (count**2 - true @ true) * (count**2 - said @ said)
    if spread == 0:
        return 0.0
    return float((np.sum(labels == predicted) * count - true @ said) / np.sqrt(spread))


def pearson(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Pearson correlation; 0 for constant predictions.  Raises UserError where all labels are equal."""
    varied(labels, "correlation")
    a, b = _direction(labels), _direction(predicted)
    return float(np.clip(a @ b, -1.0, 1.0))


def spearman(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Pearson correlation of the ranks, equal values sharing the mean of theirs; else as `pearson`."""
    return pearson(ranks(labels), ranks(predicted))


def mean_squared_error(labels: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean(np.square(labels.astype(np.float64) - predicted.astype(np.float64))))


def ranks(values: np.ndarray) -> np.ndarray:
    """[N] float64: each value's rank from 1, the mean rank where several are equal."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[which]


def varied(labels: np.ndarray | Sequence[object], what: str) -> None:
    """Raises UserError where the labels are all the same."""
    if all(label == labels[0] for label in labels):
        raise UserError(
            f"all {len(labels)} labels are {labels[0]}, so their {what} is not defined: "
            "measure on examples of two classes (or values) or more"
        )


def _direction(values: np.ndarray) -> np.ndarray:
    """values less their mean, at length 1; zeros where they are all equal."""
    values = values.astype(np.float64)
    if (values == values[0]).all():
        return np.zeros_like(values)
    centred = values - values.mean()
    centred /= np.abs(centred).max()  # so that squares neither overflow nor vanish
    return centred / np.linalg.norm(centred)
