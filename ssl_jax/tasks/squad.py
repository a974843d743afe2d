# SPDX-License-Identifier: Apache-2.0
"""Extractive question answering: SQuAD 1.1 and 2.0, and sets in their schema in any language.

Rajpurkar et al. 2016 (arXiv:1606.05250) and 2018 (arXiv:1806.03822).
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from ssl_jax.data import Record
from ssl_jax.data.files import write_json
from ssl_jax.objectives import answers
from ssl_jax.tasks import squad_files
from ssl_jax.tasks.base import CONSTANT, DEV, HELDOUT, TRAIN, TUNING, Predicted, Task, place_of
from ssl_jax.tasks.squad_score import AnswerWords, best_threshold, exact, f1, f1_or_null
from ssl_jax.types import UserError

THRESHOLD = f"{TUNING}/null_threshold"


class Judged(NamedTuple):
    """A question, what was found, and the gold answers as words: [()] where it has none."""

    id: str
    found: answers.Found
    gold: Sequence[Sequence[str]]

    @property
    def text(self) -> str:
        return self.found.best[0].text if self.found.best else ""


@dataclass(frozen=True, kw_only=True)
class Squad(Task):
    """Questions about a paragraph, answered by a part of it, or in version 2 perhaps by nothing.

    data: a folder with train*.json, dev*.json and for a test split test*.json (.gz too), or one such file,
    whose paragraphs are parted: dev_share of them, by a hash of each, are the dev split (as a test split it
    is all of them).  None is tfds:squad/v1.1 or tfds:squad/v2.0; tfds:NAME is a builder with their features.

    version2: questions may have no answer.  One has none where the null odds (the lowest score of [CLS] in
    any window less the best answer's score) are above null_threshold.  None tunes it, for the highest F1,
    whenever the model is measured: on the tuning share of the training paragraphs, chosen by a hash of each
    and never trained on; a checkpoint keeps it as `tuning/null_threshold`.

    n_best: answers in nbest_predictions.json; max_tokens: of an answer; words: how answers are compared.
    Metrics: exact and f1, the best over a question's gold answers, as the official script of the version has
    them, in shares of 1; in version 2 also has_answer_f1 and no_answer_f1, of those questions alone.
    """

    version2: bool = False
    dev_share: float = 0.1
    tuning: float = 0.1
    null_threshold: float | None = None
    n_best: int = 20
    max_tokens: int = 30
    words: AnswerWords = AnswerWords.SPACES

    @property
    def metrics(self) -> tuple[str, ...]:
        return f"{HELDOUT}/f1", f"{HELDOUT}/exact"

    @property
    def tunes(self) -> bool:
        return self.version2 and self.null_threshold is None

    @property
    def evaluations(self) -> Mapping[str, str]:
        return {HELDOUT: DEV, **({TUNING: TUNING} if self.tunes else {})}

    def labels(self, train: Sequence[Record]) -> tuple[str, ...]:
        return ()

    def tuned(self, measured: Mapping[str, float]) -> Self:
        known = measured.get(THRESHOLD) if self.tunes else None
        return self if known is None else dataclasses.replace(self, null_threshold=known)

    # ------------------------------------------------------------------------------------- reading

    def read(self, split: str) -> list[Record]:
        """One record a question: texts (question, context), label (see data.Windows), id and answers."""
        if self.n_best < 1 or self.max_tokens < 1:
            raise UserError("task.n_best and task.max_tokens must be 1 or more")
        records, ids = [], set()
        for question in self._questions(split):
            if question.id in ids:
                raise UserError(f"{question.where}: its id occurs twice")
            ids.add(question.id)
            records.append(squad_files.record(question, version2=self.version2, answered=split != "test"))
        if not records:
            shares = f"task.tuning={self.tuning}, task.dev_share={self.dev_share}"
            raise UserError(f"{self.data or self._builder}: no question in its {split} split ({shares})")
        return records

    @property
    def _builder(self) -> str:
        return "squad/v2.0" if self.version2 else "squad/v1.1"

    def _questions(self, split: str) -> Iterator[squad_files.Question]:
        learns = split in (TRAIN, TUNING)
        for question in self._all(TRAIN if learns else split):
            if (
                self._parted
                and split != "test"
                and (place_of(f"{DEV}\0{question.context}") < self.dev_share) == learns
            ):
                continue
            set_aside = self.tunes and place_of(f"{TUNING}\0{question.context}") < self.tuning
            if not learns or set_aside == (split == TUNING):
                yield question

    @property
    def _parted(self) -> bool:
        return self.data is not None and Path(self.data).expanduser().is_file()

    def _all(self, split: str) -> Iterable[squad_files.Question]:
        if self.data is None or self.data.startswith("tfds:"):
            return squad_files.of_tfds((self.data or self._builder).removeprefix("tfds:"), split)
        path = Path(self.data).expanduser()
        if not path.exists():
            raise UserError(f"task.data: {path}: no such file or folder")
        return squad_files.of_file(
            path if path.is_file() else squad_files.find_file(path, split, self.version2)
        )

    # ------------------------------------------------------------------------------------- judging

    def judge(self, predicted: Predicted, n_best: int) -> Iterator[Judged]:
        """One a question, from the rows of all its windows."""
        start, end = predicted.outputs["start"], predicted.outputs["end"]
        for row, where in answers.questions(predicted.rows):
            windows = [r.fields["window"] for r in predicted.rows[where]]
            found = answers.find(windows, start[where], end[where], n_best=n_best, max_tokens=self.max_tokens)
            gold = [self.words.of(text) for text in row.fields["answers"]]
            if self.version2:  # as the official script: an answer without a word is none
                gold = [words for words in gold if words]
            yield Judged(row.fields["id"], found, gold or [()])

    def points(self, text: str, gold: Sequence[Sequence[str]]) -> tuple[float, float]:
        """(exact match, F1) of a predicted text, "" for no answer: the best over the gold answers."""
        words, overlap = self.words.of(text), f1_or_null if self.version2 else f1
        return max(exact(words, one) for one in gold), max(overlap(words, one) for one in gold)

    def score(self, predicted: Mapping[str, Predicted], labels: tuple[str, ...]) -> dict[str, float]:
        """Of the questions whose windows are in `predicted`; and `tuning/null_threshold`, where it tunes."""
        judged = {name: list(self.judge(split, 1)) for name, split in predicted.items()}
        threshold, metrics = self.null_threshold or 0.0, {}
        if self.tunes and TUNING in judged:
            threshold = metrics[THRESHOLD] = self.threshold(judged[TUNING])
        for name, questions in judged.items():
            said = [self._said(q, threshold) for q in questions]
            points = np.array([self.points(text, q.gold) for text, q in zip(said, questions)])
            metrics |= {f"{name}/exact": points[:, 0].mean(), f"{name}/f1": points[:, 1].mean()}
            metrics[f"{name}/{CONSTANT}"] = len(set(said)) == 1
            answered = np.array([q.gold != [()] for q in questions])
            for kind, these in (("has_answer_f1", answered), ("no_answer_f1", ~answered)):
                if self.version2 and these.any():
                    metrics[f"{name}/{kind}"] = points[these, 1].mean()
        return {name: float(value) for name, value in metrics.items()}

    def threshold(self, judged: Sequence[Judged]) -> float:
        answered = [self.points(q.text, q.gold)[1] for q in judged]
        silent = [self.points("", q.gold)[1] for q in judged]
        return best_threshold([q.found.null_odds for q in judged], answered, silent)

    def _said(self, judged: Judged, threshold: float) -> str:
        return "" if self.version2 and judged.found.null_odds > threshold else judged.text

    # ------------------------------------------------------------------------------------- writing

    def write(self, split: str, predicted: Predicted, labels: tuple[str, ...], folder: Path) -> list[Path]:
        """predictions.json, nbest_predictions.json and in version 2 null_odds.json, as BERT's run_squad.py.

        The threshold is null_threshold, after `tuned` the checkpoint's; 0 where there is neither.  Of the
        tuning share nothing is written.
        """
        if split == TUNING:
            return []
        threshold = self.null_threshold or 0.0
        files: dict[str, dict[str, Any]] = {"predictions": {}, "nbest_predictions": {}}
        if self.version2:
            files["null_odds"] = {}
        for q in self.judge(predicted, self.n_best):
            files["predictions"][q.id] = self._said(q, threshold)
            files["nbest_predictions"][q.id] = self.n_best_of(q.found)
            if self.version2:
                files["null_odds"][q.id] = q.found.null_odds
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{name}.json" for name in files]
        for path, tree in zip(paths, files.values()):
            write_json(path, tree)
        return paths

    def n_best_of(self, found: answers.Found) -> list[dict[str, Any]]:
        """Best first; in version 2 no answer is one of them, with the text ""."""
        ranked = sorted([*found.best, *([found.null] if self.version2 else [])], key=lambda a: -a.score)
        keys = ("text", "start_logit", "end_logit")
        shares = answers.probabilities(ranked).tolist()
        return [
            {"probability": share} | {key: getattr(answer, key) for key in keys}
            for answer, share in zip(ranked, shares)
        ]
