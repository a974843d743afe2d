# SPDX-License-Identifier: Apache-2.0
"""What all tasks of a class or a number for a text or a pair share: records, metrics, probabilities.

N examples, C classes.
"""

import abc
import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssl_jax.data import Record
from ssl_jax.objectives.answers import softmax
from ssl_jax.tasks.base import CONSTANT, Predicted, Task
from ssl_jax.tasks.metrics import Measure, measure
from ssl_jax.tasks.sheet import Sheet
from ssl_jax.types import Failure, UserError

Label = str | float
Names = tuple[str, ...]  # one column by any of these names


@dataclass(frozen=True, kw_only=True)
class SentenceTask(Task):
    """A class or a number for a text or a pair of texts, judged by some of metrics.Measure."""

    @property
    @abc.abstractmethod
    def measured(self) -> tuple[Measure, ...]:
        """The task's metrics, in the order in which they are reported; the first picks the checkpoint."""

    @abc.abstractmethod
    def positive(self, labels: Sequence[str]) -> str | None:
        """The class that F1 is of."""

    @property
    def regression(self) -> bool:
        return self.measured[0].of_numbers

    @property
    def metrics(self) -> tuple[str, ...]:
        better = [each for each in self.measured if each is not Measure.MSE]
        return tuple(f"{name}/{each.value}" for name in self.evaluations for each in better)

    def score(self, predicted: Mapping[str, Predicted], labels: tuple[str, ...]) -> dict[str, float]:
        scores = {}
        for name, one in predicted.items():
            true, said = true_labels(one), answers(one, labels)
            scores[f"{name}/{CONSTANT}"] = float((said == said[0]).all())
            for kind in self.measured_in(name):
                try:
                    scores[f"{name}/{kind.value}"] = measure(kind, true, said, self.positive(labels))
                except UserError as error:
                    raise UserError(f"{name}: {error}") from None
        return scores

    def measured_in(self, name: str) -> tuple[Measure, ...]:
        return self.measured


# ------------------------------------------------------------------------------------- predictions


def logits_of(predicted: Predicted) -> np.ndarray:
    """[N, C] float64.  Raises Failure where one is no number."""
    logits = predicted.outputs["logits"].astype(np.float64)
    if not np.isfinite(logits).all():
        raise Failure("the model's predictions are not finite: it diverged, or its weights are damaged")
    return logits


def answers(predicted: Predicted, labels: Sequence[str]) -> np.ndarray:
    """[N]: the name of each likeliest class, or where there are no classes the number."""
    logits = logits_of(predicted)
    return np.array(labels)[logits.argmax(1)] if labels else logits[:, 0]


def probabilities(predicted: Predicted) -> np.ndarray:
    """[N, C]"""
    return softmax(logits_of(predicted))


def true_labels(predicted: Predicted) -> np.ndarray:
    return np.array([row.label for row in predicted.rows])


def write_tsv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([header, *rows])
    return path


# ----------------------------------------------------------------------------------------- records


def records_of(
    sheet: Sheet,
    texts: Sequence[Names],
    label: Names,
    parse: Callable[[str], Label | None],
    *,
    number: Names = (),
    labelled: bool = True,
    lenient: bool = False,
) -> list[Record]:
    """The examples of a sheet; field `row` is the column `number`, or else counts from 0.

    parse: a label's cell to what it means, None where that says it isn't known.
    labelled: all must have a label; otherwise all or none.
    lenient: a text may be empty, and of labelled rows those that lack a text or the label are left out.
    Raises UserError with file and line.
    """
    columns = [sheet.index(*names) for names in texts]
    answer = sheet.index(*label) if labelled else sheet.find(*label)
    identity = sheet.find(*number)
    found = []
    for count, (line, cells) in enumerate(sheet.rows):
        place, read = sheet.place(line), tuple(cells[i] for i in columns)
        if lenient and labelled and (None in read or not cells[answer]):
            continue
        empty = [i for i in columns if cells[i] is None or not (lenient or cells[i].strip())]
        if empty:
            raise UserError(f"{place}: column {sheet.names[empty[0]]} is empty")
        known = None
        if answer is not None and cells[answer] == "":
            raise UserError(f"{place}: column {sheet.names[answer]} is empty")
        if answer is not None and cells[answer] is not None:
            try:
                known = parse(cells[answer].strip())
            except ValueError as error:
                raise UserError(f"{place}: column {sheet.names[answer]}: {error}") from None
        row = str(count) if identity is None else cells[identity]
        found.append(Record(read, known, {"row": row}, place))
    if not found:
        raise UserError(f"{sheet.name} names columns and holds no example")
    check_known(found, labelled)
    return found


def check_known(records: Sequence[Record], labelled: bool) -> None:
    """Raises UserError where a label is missing that should be there, or where all are the same."""
    unknown = [record for record in records if record.label is None]
    if unknown and (labelled or len(unknown) < len(records)):
        raise UserError(
            f"{unknown[0].place}: the label is missing; a split without any label can only be a test"
        )
    if labelled and len({record.label for record in records}) == 1:
        one = records[0]
        raise UserError(
            f"{one.place}: all {len(records)} labels from here on are {one.label}; give it two or more"
        )


def parse_number(cell: str, low: float = -np.inf, high: float = np.inf) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not (np.isfinite(value) and low <= value <= high):
        within = "" if high == np.inf else f" from {low:g} to {high:g}"
        raise ValueError(f"{cell!r} is no number{within}")
    return value


def parse_class(cell: str, classes: Sequence[str]) -> str:
    """A class by its name, or by its number where it is no name."""
    if cell in classes:
        return cell
    if cell.isdecimal() and int(cell) < len(classes):
        return classes[int(cell)]
    raise ValueError(f"there is no label {cell!r}; the labels are {', '.join(classes)}")
