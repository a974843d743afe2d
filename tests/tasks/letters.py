# SPDX-License-Identifier: Apache-2.0
"""A WordPiece tokenizer in which every letter a to i is a token, and files of made-up tagged sentences."""

import random
from pathlib import Path
from typing import Any

from ssl_jax import text

LETTERS = "abcdefghi"
PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS))


def tokenizer(folder: Path) -> Any:
    (folder / "vocab.txt").write_text("\n".join(PIECES), encoding="utf-8")
    text.WordPieceVocab(path=str(folder / "vocab.txt")).train([], folder / "tokenizer")
    return text.load(folder / "tokenizer")


def sentences(count: int, seed: int) -> list[list[tuple[str, str]]]:
    """(word, tag): a word with a begins a person, the words with b behind it go on with it; c is a place."""
    rng = random.Random(seed)

    def word(first: str) -> str:
        return first + "".join(rng.choices(LETTERS, k=rng.randint(0, 2)))

    out = []
    for _ in range(count):
        rows = []
        for _ in range(rng.randint(2, 5)):
            person = [(word("a"), "B-PER"), *((word("b"), "I-PER") for _ in range(rng.randint(0, 2)))]
            rows += rng.choice([person, [(word("c"), "B-LOC")], [(word(rng.choice("defghi")), "O")]])
        out.append(rows)
    return out


def columns(sentences: list[list[tuple[str, str]]]) -> str:
    return "".join("".join(f"{word} {tag}\n" for word, tag in rows) + "\n" for rows in sentences)


def write_splits(folder: Path) -> Path:
    """A folder with eng.train, eng.testa and eng.testb."""
    folder.mkdir()
    for seed, (name, count) in enumerate({"eng.train": 120, "eng.testa": 30, "eng.testb": 20}.items()):
        (folder / name).write_text(columns(sentences(count, seed)), encoding="utf-8")
    return folder
