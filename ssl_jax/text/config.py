# SPDX-License-Identifier: Apache-2.0
"""The recipe's `text` section, and opening what it trained."""

from dataclasses import dataclass, field
from pathlib import Path

from ssl_jax.text import spm, store, wordpiece
from ssl_jax.text.given import TokenizerDir
from ssl_jax.text.pieces import Aligned
from ssl_jax.text.sentences import RegexSentences, UnicodeSentences
from ssl_jax.text.spm import SentencePiece
from ssl_jax.text.wordpiece import TokenizerJson, WordPiece, WordPieceVocab
from ssl_jax.text.words import RegexWords, UnicodeWords
from ssl_jax.types import UserError


@dataclass(frozen=True, kw_only=True)
class Text:
    """How text becomes tokens, words and sentences.

    tokenizer: None is that of the MODEL which the run starts from.
    max_sentence_chars: a longer sentence is cut, at the beginning of a word where there is one.
    """

    tokenizer: SentencePiece | WordPiece | WordPieceVocab | TokenizerJson | TokenizerDir | None = field(
        default_factory=SentencePiece
    )
    words: UnicodeWords | RegexWords = field(default_factory=UnicodeWords)
    sentences: UnicodeSentences | RegexSentences = field(default_factory=UnicodeSentences)
    max_sentence_chars: int = 1000

    def __post_init__(self):
        if self.max_sentence_chars < 1:
            raise UserError(f"text.max_sentence_chars={self.max_sentence_chars}: must be 1 or more")


def load(directory: Path) -> Aligned:
    """The tokenizer (a types.Tokenizer) in a directory that some config's `train` wrote."""
    meta, files = store.read_dir(Path(directory))
    if meta["kind"] == spm.KIND:
        return spm.SpmTokenizer(files, meta["settings"])
    if meta["kind"] == wordpiece.KIND:
        from ssl_jax.text.hf import HfTokenizer

        return HfTokenizer(files, meta["settings"])
    raise UserError(f"{directory}: tokenizer kind {meta['kind']!r} is unknown to this version of ssl-jax")
