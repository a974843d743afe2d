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
    """(word, tag): words that begin with a or b are persons, a run of them one entity; so are places of c."""
    rng = random.Random(seed)
    out = []
    for _ in range(count):
        rows, before = [], "O"
        for _ in range(rng.randint(2, 7)):
            word = "".join(rng.choices(LETTERS, k=rng.randint(1, 3)))
            kind = {"a": "PER", "b": "PER", "c": "LOC"}.get(word[0], "O")
            tag = "O" if kind == "O" else f"I-{kind}" if before == kind else f"B-{kind}"
            rows.append((word, tag))
            before = kind
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
