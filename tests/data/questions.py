# SPDX-License-Identifier: Apache-2.0
"""Questions about contexts of many scripts, and two kinds of tokenizers for them."""

import functools
import itertools
import tempfile
from pathlib import Path

from ssl_jax import text
from ssl_jax.data import Record, Table

# "e\u0301" is a letter and its accent; the last two become more and fewer characters when normalised.
LATIN = ("the", "River", "flows,", "1,000", "miles.", "(south)", "Größe", "e\u0301te\u0301", "x", "don't")
WORDS = (*LATIN, "苹果很好", "今日は", "👩\u200d👧", "🇫🇷", "½", "ﬁn")
KINDS = ("sentencepiece", "wordpiece")


@functools.cache
def tokenizer(kind: str):
    """Small: most words are several tokens, and characters seldom seen are bytes or [UNK]."""
    config = {
        "sentencepiece": text.SentencePiece(vocab_size=340, character_coverage=0.98),
        "wordpiece": text.WordPiece(vocab_size=80, alphabet=60),
    }[kind]
    lines = [" ".join(pair) for pair in itertools.permutations(WORDS[:11], 2)]
    with tempfile.TemporaryDirectory() as folder:
        config.train(lines, Path(folder) / kind)
        return text.load(Path(folder) / kind)


def table(records: list[Record], kind: str = "sentencepiece") -> Table:
    return Table(records, tokenizer(kind), text.Text())


def record(context: str, answer: tuple[int, int] | tuple[()] | None = None, question: str = "x?") -> Record:
    return Record((question, context), answer, {"id": "q"})
