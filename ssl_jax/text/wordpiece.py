# SPDX-License-Identifier: Apache-2.0
"""WordPiece, trained or BERT's own, and any `tokenizer.json`: configs that need the `tokenizers` library."""

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_jax.text import sample, store
from ssl_jax.text.spm import SPECIALS
from ssl_jax.types import Progress, UserError

KIND = "tokenizers"
FILE = "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class WordPiece:
    """A WordPiece tokenizer to be trained (BERT's normaliser and pre-tokeniser).

    vocab_size: pieces, the six specials included.  Accents stay unless strip_accents is set (BERT's
    uncased models set it; it also takes the vowel signs of many scripts away).
    alphabet: at most this many characters get a piece; words with any other become [UNK].
    sample_chars: characters of the training sample.
    """

    vocab_size: int = 8192
    lowercase: bool = False
    strip_accents: bool = False
    alphabet: int = 5000
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
        tokenizer = self._train(lines)
        size = tokenizer.get_vocab_size()
        if size < self.vocab_size:
            raise UserError(
                f"text.tokenizer.vocab_size={self.vocab_size} is more than the text allows: "
                f"{size} is the largest that works"
            )
        if size > self.vocab_size:
            raise UserError(
                f"text.tokenizer.vocab_size={self.vocab_size} is too small for the text's characters: "
                f"{size} is the smallest that works, or lower text.tokenizer.alphabet={self.alphabet}"
            )
        store.write_dir(out_dir, {FILE: tokenizer.to_str().encode()}, KIND, dataclasses.asdict(self))

    def _train(self, lines: list[str]) -> Any:
        """The library's trainer numbers pieces by a hash map's order, and ties depend on the numbers.

        So it is told the alphabet, and in a second pass the alphabet's ##pieces, in their order.
        """
        from tokenizers import trainers

        tokenizer = bert({"[UNK]": 0}, self.lowercase, self.strip_accents)
        counts = Counter(itertools.chain.from_iterable(map(tokenizer.normalizer.normalize_str, lines)))
        ranked = sorted((c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c))
        alphabet = ranked[: self.alphabet]
        first = list(SPECIALS)
        for size in (1, self.vocab_size):
            trainer = trainers.WordPieceTrainer(
                vocab_size=size,
                special_tokens=first,
                initial_alphabet=alphabet,
                limit_alphabet=len(alphabet),
                show_progress=False,
            )
            tokenizer.train_from_iterator(lines, trainer)
            vocab = tokenizer.get_vocab()
            first += sorted(piece for piece in vocab if piece.startswith("##") and len(piece) == 3)
        result = bert(vocab, self.lowercase, self.strip_accents)
        result.add_special_tokens(list(SPECIALS))
        return result


@dataclass(frozen=True, kw_only=True)
class WordPieceVocab:
    """BERT's `vocab.txt`, one piece a line.  Google's uncased models want lowercase and strip_accents."""

    path: str
    lowercase: bool = False
    strip_accents: bool = False

    @property
    def trains(self) -> bool:
        return False

    def train(self, texts: Iterable[str], out_dir: Path, progress: Progress | None = None) -> None:
        """Writes out_dir from the file; texts are not read.  UserError where it is no vocabulary."""
        vocab = read_vocab(self.path)
        tokenizer = bert(vocab, self.lowercase, self.strip_accents)
        tokenizer.add_special_tokens([name for name in SPECIALS if name in vocab])
        settings = {"lowercase": self.lowercase, "strip_accents": self.strip_accents}
        store.write_dir(out_dir, {FILE: tokenizer.to_str().encode()}, KIND, settings)


@dataclass(frozen=True, kw_only=True)
class TokenizerJson:
    """Any `tokenizer.json` of the `tokenizers` library; its special tokens are known by their usual names."""

    path: str

    @property
    def trains(self) -> bool:
        return False

    def train(self, texts: Iterable[str], out_dir: Path, progress: Progress | None = None) -> None:
        """Copies the file to out_dir; texts are not read.  Raises UserError where it can't be used."""
        from ssl_jax.text.hf import HfTokenizer

        data = _read(self.path)
        try:
            json.loads(data)
            HfTokenizer({FILE: data}, {})
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None
        except Exception as error:  # the library raises bare Exception
            raise UserError(f"{self.path} is no tokenizer.json that `tokenizers` can open: {error}") from None
        store.write_dir(out_dir, {FILE: data}, KIND, {})


def read_vocab(path: str) -> dict[str, int]:
    """Piece -> id of a BERT's vocab.txt; UserError where it is no vocabulary."""
    lines = _read(path).decode("utf-8").rstrip("\n").split("\n")
    vocab = {piece.rstrip("\r"): i for i, piece in enumerate(lines)}
    if len(vocab) < len(lines):
        raise UserError(f"{path}: {len(lines) - len(vocab)} pieces appear twice; a vocab.txt names each once")
    if missing := [name for name in ("[PAD]", "[UNK]") if name not in vocab]:
        raise UserError(f"{path} is no BERT vocabulary: it lacks {' and '.join(missing)}")
    return vocab


def _read(path: str) -> bytes:
    try:
        data = Path(path).expanduser().read_bytes()
        data.decode("utf-8")
    except OSError as error:
        raise UserError(f"text.tokenizer.path={path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"text.tokenizer.path={path} is not UTF-8 at byte {error.start}") from None
    return data


def bert(vocab: dict[str, int], lowercase: bool, strip_accents: bool) -> Any:
    """The library's tokenizer of a vocabulary, as BERT normalises and cuts text."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer
