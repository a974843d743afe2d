# SPDX-License-Identifier: Apache-2.0
"""The interface of `ssl_jax.text` with bytes as tokens: id = byte + 3, so what a store must hold is plain."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ssl_jax.types import Specials


@dataclass(frozen=True, kw_only=True)
class Bytes:
    """The tokenizer's config.  vocab_size above 65,536 makes the store use four bytes a token."""

    vocab_size: int = 259
    sample_chars: int = 1_000_000
    trains: bool = field(default=True, init=False, repr=False)

    def train(self, texts, out_dir, progress=None):
        seen = sorted({text for text in texts})
        out_dir.mkdir(parents=True, exist_ok=True)
        meta = {"kind": "bytes", "vocab_size": self.vocab_size}
        (out_dir / "tokenizer_meta.json").write_text(json.dumps(meta))
        (out_dir / "seen.json").write_text(json.dumps(seen))


@dataclass(frozen=True, kw_only=True)
class Text:
    tokenizer: Bytes = Bytes()


class Tokenizer:
    specials = Specials(pad=0, unk=1, mask=2)
    undrawable = frozenset((0, 1, 2))

    def __init__(self, folder):
        meta = (Path(folder) / "tokenizer_meta.json").read_bytes()
        self.vocab_size = json.loads(meta)["vocab_size"]
        self.seen = json.loads((Path(folder) / "seen.json").read_bytes())
        self.fingerprint = hashlib.sha256(meta).hexdigest()

    def encode(self, text):
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32) + 3

    def decode(self, ids):
        return bytes(i - 3 for i in ids).decode()


@dataclass
class Encoded:
    tokens: np.ndarray
    sentence_starts: np.ndarray
    word_starts: np.ndarray
    characters: int
    unknown: int = 0
    byte_fallback: int = 0
    sampled_characters: int = 0
    sampled_lost: int = 0


class Encoder:
    """Sentences end behind ". "; words begin behind a space.  A text without a letter has no tokens."""

    def __init__(self, tokenizer, text):
        self.tokenizer = tokenizer

    def encode_documents(self, texts, num_threads=1):
        return [self._encode(text) for text in texts]

    def _encode(self, text):
        if not any(char.isalnum() for char in text):
            none = np.zeros(0, np.int64)
            return Encoded(none.astype(np.int32), none, none.astype(bool), len(text))
        tokens = self.tokenizer.encode(text)
        words = np.concatenate([[True], tokens[:-1] == ord(" ") + 3])
        raw = text.encode()
        starts = [0]
        while (at := raw.find(b". ", starts[-1])) >= 0 and at + 2 < len(raw):
            starts.append(at + 2)
        return Encoded(tokens, np.array(starts, np.int64), words, len(text))


def load(folder):
    return Tokenizer(folder)
