# SPDX-License-Identifier: Apache-2.0
"""A tokenizer of the `tokenizers` library, such that no text produces a special token."""

import functools
import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ssl_jax.text import store
from ssl_jax.text.chars import CharTable, clean
from ssl_jax.text.hf_json import find_specials, for_masks, hide_specials, parts, without_prefix
from ssl_jax.text.pieces import BARE, BYTE, INSIDE, UNKNOWN, Aligned, concatenate
from ssl_jax.text.word_cache import WHITE, WordCache
from ssl_jax.text.wordpiece import FILE, KIND
from ssl_jax.types import Specials, UserError

_MASK = re.compile(r"\[MASK\]|<mask>|<\|mask\|>")
_UNUSED = re.compile(r"\[unused\d+\]|<unused\d+>|<extra_id_\d+>")
_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
_ASCII_SPACES = " \t\n\r\x0b\x0c"


def _byte_alphabet() -> dict[str, int]:
    """Character -> byte of GPT-2's byte-level alphabet."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


_ALPHABET = _byte_alphabet()


class HfTokenizer(Aligned):
    """A `tokenizer.json`.  Raises UserError where no padding token is found.

    settings["specials"]: role -> name, where the special tokens aren't to be known by their usual names.
    """

    def __init__(self, files: dict[str, bytes], settings: dict[str, Any]):
        from tokenizers import Tokenizer

        self._source = (files, settings)
        config = json.loads(files[FILE])
        self._shown = Tokenizer.from_str(files[FILE].decode())
        names = settings.get("specials") or {}
        hidden = hide_specials(config, names.values())
        glued = without_prefix(hidden)
        self._plain = Tokenizer.from_str(json.dumps(hidden))
        self._glued = Tokenizer.from_str(json.dumps(glued)) if glued != hidden else self._plain
        for tokenizer in (self._plain, self._glued):
            tokenizer.encode_special_tokens = True
        self._fingerprint = store.fingerprint(KIND, files, settings)
        vocab = self._shown.get_vocab()
        self._size = max(vocab.values()) + 1
        self._specials = find_specials(config, vocab, names)
        # id_to_token names a token by its normal form.
        self._named = {i: piece for piece, i in vocab.items() if i in self._specials.ids()}
        added = {token["id"] for token in config.get("added_tokens") or [] if token["special"]}
        unused = {i for piece, i in vocab.items() if _UNUSED.fullmatch(piece)}
        self._undrawable = self._specials.ids() | added | unused
        self._measure_pieces(config, vocab)
        self._words = self._word_cache(config)

    def __reduce__(self) -> Any:
        return type(self), self._source

    def _word_cache(self, config: dict[str, Any]) -> WordCache | None:
        """For the pre-tokenisers known to look at one word at a time: BERT's, and GPT-2's, whose words
        hold the white space before them."""
        normalizer, kind = (config[name] or {} for name in ("normalizer", "pre_tokenizer"))
        added = any(not token["special"] for token in config.get("added_tokens") or [])
        if added or config["model"].get("dropout"):
            return None
        if kind.get("type") == "BertPreTokenizer" and normalizer.get("type") in (None, "BertNormalizer"):
            apart = self.encode("a b").tolist()
            foreign = [c for c in WHITE if self.encode(f"a{c}b").tolist() != apart]
            return WordCache(self._encode_words, str.split, "".join(foreign))
        if kind.get("type") == "ByteLevel" and kind.get("use_regex", True) and not normalizer:
            cut = self._plain.pre_tokenizer.pre_tokenize_str
            foreign = [c for c in WHITE if cut(f"!{c}!")[0][1] != (0, 1)]
            return WordCache(self._encode_words, re.compile(r"\s*\S+|\s+").findall, "".join(foreign))
        return None

    def _measure_pieces(self, config: dict[str, Any], vocab: dict[str, int]) -> None:
        model = config["model"]
        kinds = {part.get("type") for part in parts([config["pre_tokenizer"], config["normalizer"]])}
        self._byte_level = "ByteLevel" in kinds
        strips = (model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or "")
        self.piece_lengths = np.zeros(self._size, np.int32)
        self.piece_flags = np.zeros(self._size, np.uint8)
        for piece, i in vocab.items():
            self.piece_lengths[i], self.piece_flags[i] = self._measure(piece, *strips)
        if self._specials.unk is not None:
            self.piece_lengths[self._specials.unk], self.piece_flags[self._specials.unk] = 0, UNKNOWN
        self.normal_length = CharTable(self._normal_length)

    def _measure(self, piece: str, prefix: str, suffix: str) -> tuple[int, int]:
        if self._byte_level and all(c in _ALPHABET for c in piece):
            raw = bytes(_ALPHABET[c] for c in piece)
            inside = 0x80 <= raw[0] < 0xC0 if raw else False
            length = sum(not 0x80 <= b < 0xC0 and chr(b) not in _ASCII_SPACES for b in raw)
            return length, INSIDE if inside else 0 if length else BARE
        if found := _BYTE_PIECE.fullmatch(piece):
            inside = 0x80 <= int(found[1], 16) < 0xC0
            return (0, BYTE | INSIDE) if inside else (1, BYTE)
        bare = piece.removeprefix(prefix).removesuffix(suffix) if piece != prefix else piece
        length = self._visible(bare)
        return length, 0 if length else BARE

    def _visible(self, text: str) -> int:
        if self._byte_level:
            return sum(c not in _ASCII_SPACES for c in text)
        return sum(not c.isspace() and c != "▁" for c in text)

    def _normal_length(self, char: str) -> int:
        normalizer = self._glued.normalizer
        return self._visible(normalizer.normalize_str(char) if normalizer is not None else char)

    @property
    def vocab_size(self) -> int:
        return self._size

    @property
    def specials(self) -> Specials:
        return self._specials

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def undrawable(self) -> frozenset[int]:
        return self._undrawable

    @property
    def tokenizer_json(self) -> bytes:
        """The file as it was given."""
        return self._shown.to_str().encode()

    def encode(self, text: str) -> np.ndarray:
        return np.asarray(self._plain.encode(clean(text), add_special_tokens=False).ids, np.int32)

    def encode_batch(self, texts: Sequence[str], num_threads: int = 1) -> list[np.ndarray]:
        os.environ.setdefault("RAYON_NUM_THREADS", str(num_threads))
        return self._encode_batch([clean(text) for text in texts], num_threads)

    def encode_flat(
        self, texts: list[str], continues: Sequence[bool], num_threads: int
    ) -> tuple[np.ndarray, np.ndarray]:
        # The library's thread pool is made once, at its first use.
        os.environ.setdefault("RAYON_NUM_THREADS", str(num_threads))
        if self._glued is not self._plain and any(continues):
            models = [self._glued if on else self._plain for on in continues]
            found = [model.encode(text, add_special_tokens=False) for model, text in zip(models, texts)]
            return concatenate([np.asarray(encoding.ids, np.int32) for encoding in found])
        found = self._words.encode(texts, num_threads) if self._words is not None else None
        return found if found is not None else concatenate(self._encode_batch(texts, num_threads))

    def _encode_batch(self, texts: list[str], num_threads: int) -> list[np.ndarray]:
        # Not encode_batch_fast: without offsets, byte-level models are slower (tokenizers 0.23).
        found = self._plain.encode_batch(texts, add_special_tokens=False)
        return [np.asarray(encoding.ids, np.int32) for encoding in found]

    def _encode_words(self, words: list[str], num_threads: int) -> list[np.ndarray]:
        """As _encode_batch, for many short texts: an Encoding a hundred of them, not one each."""
        groups = [words[i : i + 100] for i in range(0, len(words), 100)]
        result: list[np.ndarray] = []
        for group, found in zip(
            groups, self._plain.encode_batch(groups, is_pretokenized=True, add_special_tokens=False)
        ):
            ends = np.cumsum(np.bincount(np.asarray(found.word_ids, np.int64), minlength=len(group)))
            result += np.split(np.asarray(found.ids, np.int32), ends[:-1])
        return result

    def encode_offsets(self, texts: list[str], continues: Sequence[bool]) -> Iterator[np.ndarray]:
        for text, on in zip(texts, continues):
            found = (self._glued if on else self._plain).encode(text, add_special_tokens=False).offsets
            yield np.fromiter((first for first, _ in found), np.int64, len(found))

    def encode_with_masks(self, text: str) -> np.ndarray:
        """As encode, but every typed `[MASK]` (or the tokenizer's own name for it) is the mask id.

        What stands around it is read as the library does (see `for_masks`), so that `transformers` reads
        the same from what is exported.
        """
        text = clean(text)
        if self._specials.mask is None:
            if _MASK.search(text):
                raise UserError("this tokenizer has no mask token: train one, or use a next-token model")
            return self.encode(text)
        mask = self._named[self._specials.mask]
        text = _MASK.sub(lambda _: mask, text)
        return np.asarray(self._masked.encode(text, add_special_tokens=False).ids, np.int32)

    @functools.cached_property
    def _masked(self) -> Any:
        """The tokenizer that finds its mask in a text, and no other special token."""
        from tokenizers import Tokenizer

        files, settings = self._source
        mask = self._named[self._specials.mask]
        names = (settings.get("specials") or {}).values()
        hidden = hide_specials(json.loads(files[FILE]), names, shown=mask)
        return Tokenizer.from_str(json.dumps(for_masks(hidden, mask, self._specials.mask)))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids; specials appear by their names, as people read them."""
        return self._shown.decode([int(i) for i in ids], skip_special_tokens=False)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Readable pieces: a byte-level tokenizer's characters in place of its bytes, where whole."""
        names = [self._named.get(int(i)) or self._shown.id_to_token(int(i)) or f"<{int(i)}>" for i in ids]
        return [self._readable(name) for name in names] if self._byte_level else names

    def _readable(self, piece: str) -> str:
        if not all(c in _ALPHABET for c in piece):
            return piece
        try:
            return bytes(_ALPHABET[c] for c in piece).decode()
        except UnicodeDecodeError:
            return piece
