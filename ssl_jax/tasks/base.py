# SPDX-License-Identifier: Apache-2.0
"""What a task is: where its examples come from, and how predictions are judged and written down."""

import abc
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from ssl_jax.data import Record
from ssl_jax.types import Row, UserError

TRAIN, DEV, HELDOUT = "train", "dev", "heldout"  # two splits, and the name of the first evaluation
TUNING = "tuning"  # a split of the training side that is never trained on, to tune a threshold
CONSTANT = "constant"  # the metric that is 1 where the same was predicted of every example: a run that failed


@dataclass(frozen=True)
class Predicted:
    """A split and what the model said of it: rows of an unshuffled plan, and name -> [len(rows), ...]."""

    rows: Sequence[Row]
    outputs: Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Task(abc.ABC):
    """A recipe's `task` section: a frozen dataclass, one file a kind of task.

    data: a folder or file in the layout in which the task is distributed (None: the TFDS builder, where
    there is one).  train_share: share of the training examples to learn from (and to tune on), chosen by a
    hash of each, so that a larger share holds the smaller one.
    """

    data: str | None = field(default=None)
    train_share: float = 1.0

    @property
    @abc.abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """`NAME/metric` of all that is worth reporting, for people in that order; higher is better."""

    @property
    def metric(self) -> str:
        """The one that picks the best checkpoint."""
        return self.metrics[0]

    @property
    def evaluations(self) -> Mapping[str, str]:
        """Name -> split that is measured during training; the first is always `heldout`."""
        return {HELDOUT: DEV}

    def splits(self, split: str) -> Mapping[str, str]:
        """Name -> what to `read`, for `evaluate --split`: some tasks have a split in several parts."""
        return self.evaluations if split == DEV else {split: split}

    @abc.abstractmethod
    def read(self, split: str) -> list[Record]:
        """The examples of a split.  Raises UserError that names file and row."""

    @abc.abstractmethod
    def labels(self, train: Sequence[Record]) -> tuple[str, ...]:
        """Names of the classes in the order of their ids; () where a number or a place is predicted."""

    @abc.abstractmethod
    def score(self, predicted: Mapping[str, Predicted], labels: tuple[str, ...]) -> dict[str, float]:
        """`NAME/metric` -> value for each of the evaluations given; never NaN (a UserError says why)."""

    def tuned(self, measured: Mapping[str, float]) -> Self:
        """This task knowing what `score` found for a checkpoint (its meta's `measured`) and later use needs,
        a threshold, say."""
        return self

    def write(self, split: str, predicted: Predicted, labels: tuple[str, ...], folder: Path) -> list[Path]:
        """Writes a split's predictions as its leaderboard or the usual script wants them."""
        raise UserError(f"{type(self).__name__} has no format for prediction files")


def place_of(text: str) -> float:
    """A text's place in [0, 1), by its hash: below a share it is chosen, and so below a larger one."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def shown(metric: str) -> str:
    """`NAME/metric` for people: a metric of what is held out by its name alone."""
    return metric.removeprefix(f"{HELDOUT}/").replace("/", " ").replace("_", " ")
