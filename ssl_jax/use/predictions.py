# SPDX-License-Identifier: Apache-2.0
"""What models say of texts.  str() is for people, as_json for programs."""

import dataclasses
from dataclasses import dataclass
from typing import Any

SHOWN = 5  # places of each distribution that people see


@dataclass(frozen=True)
class Labels:
    """The likeliest label, and the probability of each.  cut: not all of the text fits the model."""

    label: str
    probabilities: dict[str, float]
    cut: bool

    def __str__(self) -> str:
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        return "  ".join(f"{label} {p:.1%}" for label, p in ranked)


@dataclass(frozen=True)
class Number:
    """What a regression says.  cut: not all of the text fits the model."""

    value: float
    cut: bool

    def __str__(self) -> str:
        return f"{self.value:.4g}"


@dataclass(frozen=True)
class Follows:
    """The probability that the second text follows the first.  cut: not all of them fits the model."""

    probability: float
    cut: bool

    def __str__(self) -> str:
        return f"B follows A: {self.probability:.1%}"


@dataclass(frozen=True)
class Tags:
    """The words of a text, and a label for each; None where a word has no token of its own."""

    words: tuple[str, ...]
    labels: tuple[str | None, ...]
    cut: bool

    def __str__(self) -> str:
        return " ".join(f"{word}/{label or '-'}" for word, label in zip(self.words, self.labels, strict=True))


@dataclass(frozen=True)
class Place:
    """A token of the context, its characters, and the probabilities that the answer starts and ends there."""

    text: str
    begin: int
    end: int
    starts: float
    ends: float


@dataclass(frozen=True)
class Answer:
    """The part [begin, end) of the context that answers the question; "" where the model says that none does.

    probability: that it starts and that it ends there, multiplied.  null_odds: by how much the logits of no
    answer are above the answer's (means something only in models trained on such questions).  tokens: of
    the window of the context in which the answer was found; what is missing to a sum of 1 is no answer, or
    lies in the question.
    """

    text: str
    begin: int
    end: int
    probability: float
    null_odds: float
    tokens: tuple[Place, ...]
    cut: bool

    def __str__(self) -> str:
        answer = f"{self.text}  {self.probability:.1%}" if self.text else "(no answer)"
        lines = [answer]
        for what in ("starts", "ends"):
            ranked = sorted(self.tokens, key=lambda place: -getattr(place, what))[:SHOWN]
            lines.append(f"{what}: " + "  ".join(f"{p.text} {getattr(p, what):.1%}" for p in ranked))
        return "\n  ".join(lines)


Prediction = Labels | Number | Follows | Tags | Answer


def as_json(texts: tuple[str, ...], prediction: Prediction) -> dict[str, Any]:
    return {"texts": list(texts), **dataclasses.asdict(prediction)}
