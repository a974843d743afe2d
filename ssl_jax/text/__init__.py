# SPDX-License-Identifier: Apache-2.0
"""Text to tokens, words and sentences.  numpy only; no jax."""

from ssl_jax.text.config import Text, load
from ssl_jax.text.encoder import EncodedDoc, Encoder
from ssl_jax.text.given import TokenizerDir
from ssl_jax.text.sentences import RegexSentences, Sentences, UnicodeSentences
from ssl_jax.text.spm import SentencePiece, SpmModel, SpmTokenizer
from ssl_jax.text.wordpiece import TokenizerJson, WordPiece, WordPieceVocab
from ssl_jax.text.words import RegexWords, UnicodeWords, Words

__all__ = [
    "EncodedDoc",
    "Encoder",
    "RegexSentences",
    "RegexWords",
    "SentencePiece",
    "Sentences",
    "SpmModel",
    "SpmTokenizer",
    "Text",
    "TokenizerDir",
    "TokenizerJson",
    "UnicodeSentences",
    "UnicodeWords",
    "WordPiece",
    "WordPieceVocab",
    "Words",
    "load",
]
