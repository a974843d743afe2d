# SPDX-License-Identifier: Apache-2.0
"""sentencepiece: unigram and BPE (Kudo and Richardson 2018), trained on a sample, deterministic."""

import dataclasses
import enum
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from ssl_jax.text import sample, store
from ssl_jax.text.chars import CharTable, clean
from ssl_jax.text.pieces import BARE, BYTE, INSIDE, UNKNOWN, Aligned, concatenate
from ssl_jax.text.word_cache import WHITE, WordCache
from ssl_jax.types import Progress, Specials, UserError

KIND = "sentencepiece"
FILE = "spm.model"
MASK = "[MASK]"
SPACE = "▁"
# The order is the ids' order; the last is both first and last token of a document.
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", MASK, "<|endoftext|>")
LEAST = 512  # pieces: a smaller vocabulary for a large alphabet is refused
# Written into the model file, and unigram's float sums depend on it: one number everywhere.
_TRAIN_THREADS = 4
# NormalizerSpec.add_dummy_prefix, appended to a ModelProto: protobuf merges, the last value wins.
_PREFIX, _NO_PREFIX = b"\x1a\x02\x18\x01", b"\x1a\x02\x18\x00"


class SpmModel(enum.Enum):
    BPE = "bpe"
    UNIGRAM = "unigram"


@dataclass(frozen=True, kw_only=True)
class SentencePiece:
    """A sentencepiece tokenizer to be trained.

    vocab_size: pieces, the six specials and (with byte_fallback) the 256 bytes included.
    normalization: nmt_nfkc, nmt_nfkc_cf (lower case), nfkc, nfkc_cf or identity; none strips accents.
    collapse_spaces: runs of white space become one space and the ends are trimmed; no for code.
    dummy_prefix: a text's first word gets a word's leading mark too; no for scripts without spaces.
    character_coverage: share of the sample's characters that get a piece; the rest becomes bytes, or
    [UNK] without byte_fallback.  With byte_fallback, characters that would fill more than three quarters of
    the vocabulary leave the rest to pieces of several, and the rarest of them become bytes too.
    split_digits: every digit is a piece of its own.
    sample_chars: characters of the training sample.
    """

    vocab_size: int = 8192
    model: SpmModel = SpmModel.BPE
    normalization: str = "nmt_nfkc"
    byte_fallback: bool = True
    dummy_prefix: bool = True
    collapse_spaces: bool = True
    character_coverage: float = 0.9995
    split_digits: bool = False
    sample_chars: int = 20_000_000

    @property
    def trains(self) -> bool:
        return True

    def train(self, texts: Iterable[str], out_dir: Path, progress: Progress | None = None) -> None:
        """Trains on a sample of texts and writes out_dir.  The same texts give the same bytes.

        Raises UserError where the vocabulary is larger or smaller than the sample allows.
        """
        lines = sample.sample(texts, self.sample_chars, progress)
        if progress is not None:
            progress("train tokenizer", 0, None, "characters")
        room = self.vocab_size - len(SPECIALS) - 256
        if self.byte_fallback and room >= LEAST:
            lines = sample.of_frequent_characters(lines, 3 * room // 4, self.character_coverage)
        settings = {**dataclasses.asdict(self), "model": self.model.value}
        store.write_dir(Path(out_dir), {FILE: self._train(lines)}, KIND, settings)

    def _train(self, lines: list[str]) -> bytes:
        pad, unk, *control = SPECIALS
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.Train(
                sentence_iterator=iter(lines),
                model_writer=model,
                model_type=self.model.value,
                vocab_size=self.vocab_size,
                byte_fallback=self.byte_fallback,
                normalization_rule_name=self.normalization,
                add_dummy_prefix=self.dummy_prefix,
                remove_extra_whitespaces=self.collapse_spaces,
                character_coverage=self.character_coverage,
                split_digits=self.split_digits,
                pad_id=0,
                unk_id=1,
                bos_id=-1,
                eos_id=-1,
                pad_piece=pad,
                unk_piece=unk,
                control_symbols=",".join(control),
                max_sentence_length=8 * sample.LINE,  # bytes; longer lines would be skipped
                num_threads=_TRAIN_THREADS,
                minloglevel=2,
            )
        except (RuntimeError, OSError) as error:
            raise UserError(self._explain(str(error))) from None
        return model.getvalue()

    def _explain(self, message: str) -> str:
        size = f"text.tokenizer.vocab_size={self.vocab_size}"
        if found := re.search(r"value <= (\d+)", message):
            return f"{size} is more than the text allows: {found[1]} is the largest that works"
        if found := re.search(r"required_chars\. \d+ vs (\d+)", message):
            return (
                f"{size} is too small for the text's characters: {found[1]} is the smallest that works, "
                f"or lower text.tokenizer.character_coverage={self.character_coverage}"
            )
        return f"sentencepiece could not train with {self}: {message}"


class SpmTokenizer(Aligned):
    """A trained sentencepiece model.  `[MASK]` and the other specials are control pieces: no text
    produces them."""

    def __init__(self, files: dict[str, bytes], settings: dict[str, Any]):
        self._source = (files, settings)
        model = files[FILE]
        make = sentencepiece.SentencePieceProcessor
        self._plain = make(model_proto=model)
        # The same model for the middle of a text: after a space (prefix), and after anything else.
        self._spaced = make(model_proto=model + _PREFIX)
        self._glued = make(model_proto=model + _NO_PREFIX)
        self._collapse = bool(settings["collapse_spaces"])
        self._fingerprint = store.fingerprint(KIND, files, settings)
        self.model_proto = model
        ids = {piece: self._plain.piece_to_id(piece) for piece in SPECIALS}
        end = ids["<|endoftext|>"]
        self._specials = Specials(
            pad=ids["[PAD]"],
            unk=ids["[UNK]"],
            cls=ids["[CLS]"],
            sep=ids["[SEP]"],
            mask=ids[MASK],
            bos=end,
            eos=end,
        )
        size = self._plain.get_piece_size()
        self.normal_length = CharTable(
            lambda c: len(self._glued.normalize(c).replace(SPACE, "").replace(" ", ""))
        )
        self.piece_lengths = np.zeros(size, np.int32)
        self.piece_flags = np.zeros(size, np.uint8)
        for i in range(size):
            self.piece_lengths[i], self.piece_flags[i] = self._measure(i)
        exact = all(settings[name] for name in ("dummy_prefix", "collapse_spaces", "byte_fallback"))
        self._words = self._word_cache() if exact and settings["model"] == SpmModel.BPE.value else None

    def __reduce__(self) -> Any:
        return type(self), self._source

    def _measure(self, i: int) -> tuple[int, int]:
        if self._plain.is_unknown(i):
            return 0, UNKNOWN
        if self._plain.is_control(i):
            return 0, 0
        piece = self._plain.id_to_piece(i)
        if self._plain.is_byte(i):
            inside = 0x80 <= int(piece[3:5], 16) < 0xC0
            return (0, BYTE | INSIDE) if inside else (1, BYTE)
        length = len(piece.replace(SPACE, ""))
        return length, 0 if length else BARE

    def _word_cache(self) -> WordCache | None:
        """Where every piece holds the space mark at its front or nowhere, no merge reaches over one."""
        if any(SPACE in piece[1:] for piece in self.pieces(range(self.vocab_size))):
            return None
        foreign = "".join(c for c in WHITE if self._plain.normalize(f"a{c}b") != f"{SPACE}a{SPACE}b")
        encode = lambda words, threads: self._plain.encode(words, num_threads=threads, return_type="numpy")
        return WordCache(encode, str.split, foreign)

    @property
    def vocab_size(self) -> int:
        return self._plain.get_piece_size()

    @property
    def specials(self) -> Specials:
        return self._specials

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def undrawable(self) -> frozenset[int]:
        return self._specials.ids()

    def encode(self, text: str) -> np.ndarray:
        return np.asarray(self._plain.encode(clean(text)), np.int32)

    def encode_batch(self, texts: Sequence[str], num_threads: int = 1) -> list[np.ndarray]:
        return self._plain.encode(
            [clean(text) for text in texts], num_threads=num_threads, return_type="numpy"
        )

    def encode_flat(
        self, texts: list[str], continues: Sequence[bool], num_threads: int
    ) -> tuple[np.ndarray, np.ndarray]:
        glued = any(on and not text[:1].isspace() for text, on in zip(texts, continues))
        if self._words is not None and not glued:
            found = self._words.encode(texts, num_threads)
            if found is not None:
                return found
        if any(continues):
            return self._encode_mixed(texts, continues, num_threads)
        return concatenate(self._plain.encode(texts, num_threads=num_threads, return_type="numpy"))

    def _encode_mixed(
        self, texts: list[str], continues: Sequence[bool], num_threads: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """encode_flat where some texts follow other text: one call for each of the three models."""
        chosen = [self._processor(text, on) for text, on in zip(texts, continues)]
        arrays: list[np.ndarray] = [np.zeros(0, np.int32)] * len(texts)
        for processor in (self._plain, self._spaced, self._glued):
            where = [i for i, this in enumerate(chosen) if this is processor]
            found = processor.encode([texts[i] for i in where], num_threads=num_threads, return_type="numpy")
            for i, ids in zip(where, found):
                arrays[i] = ids
        return concatenate(arrays)

    def _processor(self, text: str, continues: bool) -> Any:
        """The model for a text; in the middle of one, only a space in it makes a leading mark."""
        if not continues:
            return self._plain
        if not self._collapse:
            return self._glued
        # Normal forms are local: the text's first characters decide what its start becomes.  A typed mark
        # is no space: _spaced puts another before it.
        head = text[:32] + "a"
        follows_space = self._spaced.normalize(head) == self._glued.normalize("a" + head)[1:]
        return self._spaced if follows_space else self._glued

    def encode_offsets(self, texts: list[str], continues: Sequence[bool]) -> Iterator[np.ndarray]:
        for text, on in zip(texts, continues):
            found = self._processor(text, on).encode(text, return_type="offset_mapping")["offsets"]
            yield np.fromiter((first for first, _ in found), np.int64, len(found))

    def encode_with_masks(self, text: str) -> np.ndarray:
        """As encode, but every typed `[MASK]` is the mask id.

        A mask takes the place of a word with its leading mark, so that the ids around it are those of
        the same text with any word in its place.
        """
        *parts, last = clean(text).split(MASK)
        ids: list[int] = []
        for i, part in enumerate(parts):
            ids += [*self._without_last_space(self._processor(part, i > 0).encode(part)), self._specials.mask]
        ids += self._processor(last, bool(parts)).encode(last)
        return np.asarray(ids, np.int32)

    def _without_last_space(self, ids: list[int]) -> list[int]:
        """The ids without the one space that the mask's own piece stands for."""
        space = self._glued.encode(SPACE)
        return ids[: -len(space)] if space and ids[-len(space) :] == space else ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids; specials appear by their names, as people read them."""
        parts: list[str] = []
        run: list[int] = []
        named = self._specials.ids()
        for i in [*map(int, ids), -1]:
            if i >= 0 and i not in named:
                run.append(i)
                continue
            if run:
                part = self._plain.decode(run)
                # The library drops the space that begins a text; after a special it is part of it.
                dropped = parts and self._plain.id_to_piece(run[0]).startswith(SPACE) and part[:1] != " "
                parts.append(" " + part if dropped else part)
                run = []
            if i >= 0:
                parts.append(self._plain.id_to_piece(i))
        return "".join(parts)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [self._plain.id_to_piece(int(i)) for i in ids]
