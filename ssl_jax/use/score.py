# SPDX-License-Identifier: Apache-2.0
"""Measures of a language model: perplexity and bits per byte, last words, multiple choice.

n tokens of a text.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.objectives.reading import SPACE_IN_CJK
from ssl_jax.types import Tokenizer, UserError
from ssl_jax.use.likelihood import Reader, Request, Scored


@dataclass
class Perplexity:
    """Sums over documents: nats of all their tokens, each given those before it; what closes a document is
    not counted.  bytes: of the text as it was read, in UTF-8."""

    documents: int = 0
    tokens: int = 0
    bytes: int = 0
    nats: float = 0.0

    @property
    def perplexity(self) -> float:
        """exp(nats / tokens): a token's, so that it compares models with one tokenizer only."""
        return math.exp(self.nats / self.tokens)

    @property
    def bits_per_byte(self) -> float:
        """nats / ln 2 / bytes: compares any models on the same text."""
        return self.nats / math.log(2) / self.bytes

    def summary(self) -> dict[str, float]:
        counts = {"documents": self.documents, "tokens": self.tokens, "bytes": self.bytes}
        return {"perplexity": self.perplexity, "bits_per_byte": self.bits_per_byte, **counts}


def perplexity(
    reader: Reader,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    window: int | None = None,
    stride: int | None = None,
) -> Perplexity:
    """Of documents, read through a window that slides over each.

    window: tokens that the model sees at most, the document's opening token among them (default: all its
    positions).  stride: tokens by which it moves on (default: half the window).  Each token is scored once,
    in the first window that holds it: after window - stride tokens or more, or all that are before it.
    Raises UserError where window and stride don't fit the model or there is no text.
    """
    window = reader.positions if window is None else window
    stride = max(1, window // 2) if stride is None else stride
    if not 1 <= stride <= window <= reader.positions:
        raise UserError(
            f"window {window} and stride {stride}: the stride must be 1 or more, the window no shorter "
            f"and at most the model's {reader.positions} positions"
        )
    total = Perplexity()

    def requests() -> Iterator[Request]:
        for text in texts:
            ids = np.concatenate([[reader.opening], tokenizer.encode(text)]).astype(np.int32)
            if len(ids) > 1:
                total.documents += 1
                total.bytes += len(text.encode())
                yield from windows(ids, window, stride)

    for scored in reader(requests()):
        total.tokens += len(scored.log_p)
        total.nats -= float(scored.log_p.sum(dtype=np.float64))
    if not total.tokens:
        raise UserError("there is no text in it to measure")
    return total


def windows(ids: np.ndarray, window: int, stride: int) -> Iterator[Request]:
    """Every token but the first is asked for once; at most `window` tokens stand before the last one."""
    begin, told = 0, 1
    while told < len(ids):
        stop = min(begin + window + 1, len(ids))
        yield Request(ids[begin:stop], told - begin)
        begin, told = begin + stride, stop


# ---------------------------------------------------------------------------------------------- last word


_LAST_WORD = re.compile(r"(?s)(.*\S)(\s+\S+)\s*")


def last_words(reader: Reader, tokenizer: Tokenizer, texts: Iterable[str]) -> dict[str, float]:
    """How well the last word of each text is told from what stands before it (LAMBADA, Paperno et al. 2016).

    accuracy: share of the texts whose last word is the likeliest, token by token.  perplexity: exp of the
    mean nats of a last word.  A word is what white space parts; one text must have two.  Of a text longer
    than the model its beginning is left out.
    """
    hits, nats = 0, []
    for scored in reader(last_word(reader, tokenizer, text) for text in texts):
        hits += bool(scored.likeliest.all())
        nats.append(-float(scored.log_p.sum(dtype=np.float64)))
    if not nats:
        raise UserError("there is no text in it to measure")
    return {"accuracy": hits / len(nats), "perplexity": math.exp(np.mean(nats)), "texts": len(nats)}


def last_word(reader: Reader, tokenizer: Tokenizer, text: str) -> Request:
    found = _LAST_WORD.fullmatch(text)
    if found is None:
        raise UserError(f"{text[:40]!r} has no last word behind another: words are parted by white space")
    return continued(reader, tokenizer, found[1], found[2])


def continued(reader: Reader, tokenizer: Tokenizer, context: str, rest: str) -> Request:
    """The tokens of context + rest; asked for are those from the first on that context alone doesn't have."""
    ids, before = tokenizer.encode(context + rest), tokenizer.encode(context)
    same = 0
    while same < min(len(ids) - 1, len(before)) and ids[same] == before[same]:
        same += 1
    ids = np.concatenate([[reader.opening], ids]).astype(np.int32)
    cut = max(0, len(ids) - (reader.positions + 1))
    if cut > same:
        raise UserError(f"{rest[:40]!r}... alone is longer than the model's {reader.positions} positions")
    return Request(ids[cut:], same + 1 - cut)


# ----------------------------------------------------------------------------------------- multiple choice


class Choice(NamedTuple):
    """A context, what may follow it, and the number of what does."""

    context: str
    choices: tuple[str, ...]
    answer: int


def choice_of(value: Mapping[str, Any], where: str) -> Choice:
    """From a JSON object with context, choices, and answer: its number from 0, or its text."""
    missing = [name for name in ("context", "choices", "answer") if name not in value]
    if missing:
        raise UserError(f"{where}: no field {missing[0]!r}; a choice has context, choices and answer")
    context, choices, answer = value["context"], list(value["choices"]), value["answer"]
    if not isinstance(context, str) or len(choices) < 2 or not all(isinstance(c, str) and c for c in choices):
        raise UserError(f"{where}: context must be a text, choices two texts or more")
    if isinstance(answer, str):
        answer = choices.index(answer) if answer in choices else -1
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise UserError(
            f"{where}: answer is none of the {len(choices)} choices: give its text, or its number from 0"
        )
    return Choice(context, tuple(choices), answer)


def multiple_choice(reader: Reader, tokenizer: Tokenizer, questions: Iterable[Choice]) -> dict[str, float]:
    """Share of the questions whose answer is the likeliest choice after the context.

    accuracy: by the log p of all its tokens.  accuracy_normalised: by that divided by the choice's bytes, so
    that long choices stand a chance.  Context and choice are joined by one space, unless there is white
    space or one of them is empty, or both letters are of a script written without.
    """
    here, again = itertools.tee(questions)
    scores = reader(
        continued(reader, tokenizer, question.context, joint(question.context, choice))
        for question in here
        for choice in question.choices
    )
    raw = normalised = count = 0
    for question in again:
        mine = [total(scored) for scored in itertools.islice(scores, len(question.choices))]
        sizes = [len(choice.encode()) for choice in question.choices]
        count += 1
        raw += int(np.argmax(mine)) == question.answer
        normalised += int(np.argmax(np.divide(mine, sizes))) == question.answer
    if not count:
        raise UserError("there is no question in it to measure")
    return {"accuracy": raw / count, "accuracy_normalised": normalised / count, "questions": count}


def joint(context: str, choice: str) -> str:
    """The choice with the space that parts it from the context, where one is due."""
    if not context or context[-1].isspace() or choice[0].isspace():
        return choice
    return SPACE_IN_CJK.sub("", f"{context[-1]} {choice}")[1:]


def total(scored: Scored) -> float:
    return float(scored.log_p.sum(dtype=np.float64))
